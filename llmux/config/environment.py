"""Environment variables inside configuration text: `${NAME}`, `os.environ/NAME` and `env.NAME` (DESIGN 6)."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_WHOLE = re.compile(r"(?:os\.environ/|env\.)([A-Za-z_][A-Za-z0-9_]*)")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Unset(Exception):
    """A variable that is not set; `name` is the variable's."""

    def __init__(self, name: str) -> None:
        super().__init__(f"environment variable {name} is not set")
        self.name = name


class Unsupported(Exception):
    """A reference in a notation of some other program, such as `${NAME:-default}`."""


def expand(text: str, environ: Mapping[str, str]) -> tuple[str, bool]:
    """The text with its references replaced, and whether there were any.

    What a variable holds is not expanded again. `$` before anything but a braced name stays, as regular expressions
    need it. Raises `Unset` and `Unsupported`.
    """
    whole = _WHOLE.fullmatch(text)
    if whole is not None:
        return _look_up(whole.group(1), environ), True
    if "${" not in text:
        return text, False
    pieces: list[str] = []
    end = 0
    for match in _REFERENCE.finditer(text):
        name = match.group(1)
        if _NAME.fullmatch(name):
            pieces += (text[end : match.start()], _look_up(name, environ))
            end = match.end()
        elif re.match(r"[A-Za-z_]\w*\s*[:?+=-]", name):
            raise Unsupported("only ${NAME} is understood, without a default or a test")
    pieces.append(text[end:])
    return "".join(pieces), end > 0


def _look_up(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name)
    if value is None:
        raise Unset(name)
    return value
