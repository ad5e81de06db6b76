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
_LOGINS = "log-ins to consumer subscriptions are not reused"
_WHY = {
    "antigravity": _LOGINS,
    "auth-dir": _LOGINS,
    "oauth-excluded-models": _LOGINS,
    "oauth-model-alias": _LOGINS,
    "oauth-model-mappings": _LOGINS,
    "oauth-request-scoped-errors": _LOGINS,
    "interactions-api-key": "llmux does not speak the Interactions API",
    "vertex-api-key": "llmux does not speak Vertex AI; a provider of kind gemini may serve the same models",
    "payload": "llmux leaves a request's parameters to the client",
    "proxy-url": "llmux connects to providers directly",
    "remote-management": "llmux is managed with a client key",
    "pprof": "see /metrics and the status page",
    "usage-statistics-enabled": "the ledger counts in any case; usage.enabled switches it off",
    "debug": "twistd llmux has --log-level",
    "logging-to-file": "twistd has --logfile",
    "logs-max-total-size-mb": "twistd's --logfile is rotated at a size of its own",
    "request-log": "see `capture`",
}


def convert(document: Json) -> Imported:
    """Carry the file over; raises NotThatFormat when it has none of the Go proxy's sections."""
    if not any(name in document for name in _MARKS):
        raise NotThatFormat(f"it has none of {', '.join(_MARKS)}")
    result = Imported()
    for name, value in document.items():
        if name in IGNORED:
            result.lose(name, _WHY.get(name, "llmux has no use for it"))
        else:
            result.config[name] = value
    return result
