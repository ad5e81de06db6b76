"""The Go proxy's file: it loads here unchanged, so that the import only leaves out what has no use."""

from __future__ import annotations

from llmux.config.goproxy import IGNORED
from llmux.daemon.importing.imported import Imported, Json, NotThatFormat

_MARKS = (
    "claude-api-key",
    "gemini-api-key",
    "codex-api-key",
    "openai-compatibility",
    "ampcode",
    "amp-upstream-url",
    "auth-dir",
)


def convert(document: Json) -> Imported:
    """Carry the file over; raises NotThatFormat when it has none of the Go proxy's sections."""
    if not any(name in document for name in _MARKS):
        raise NotThatFormat(f"it has none of {', '.join(_MARKS)}")
    result = Imported()
    for name, value in document.items():
        if name in IGNORED:
            result.lose(name, "llmux has no use for it")
        else:
            result.config[name] = value
    return result
