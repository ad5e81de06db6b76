"""What is wrong with a configuration file, where, and what the author probably meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

from llmux.config.secret import mask

_PLAIN_KEY = re.compile(r"[A-Za-z][A-Za-z_-]{0,39}")


class Position(Protocol):
    """A place in a file; both numbers count from 1."""

    @property
    def line(self) -> int: ...

    @property
    def column(self) -> int: ...


@dataclass(frozen=True, slots=True)
class At:
    """A position without a node."""

    line: int
    column: int = 1


class ConfigError(Exception):
    """One problem, printed as `llmux: FILE:LINE:COLUMN: key: problem`.

    `problem` never quotes a value, and ends with the suggestion if there is one. `all` holds every problem that was
    found in the same file, this one first.
    """

    def __init__(
        self, file: str, line: int, column: int, key: str, problem: str, suggestion: str | None = None
    ) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.key = key
        self.problem = f"{problem}; did you mean {suggestion}?" if suggestion else problem
        self.suggestion = suggestion
        self.all: tuple[ConfigError, ...] = (self,)
        super().__init__(f"llmux: {file}:{line}:{column}: {key}: {self.problem}")


class EmptyConfig(ConfigError):
    """The file holds no configuration at all, as while an editor is writing it (SPEC R-HR-6)."""


class Ledger:
    """Collects the problems and warnings of one file, so that a reader can go on after the first."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._errors: dict[tuple[int, int, str, str], ConfigError] = {}
        self._warnings: dict[tuple[int, int, str], None] = {}

    def error(self, at: Position, key: str, problem: str, suggestion: str | None = None) -> None:
        """Note a problem that refuses the file; noting it again makes no difference."""
        error = ConfigError(self.file, at.line, at.column, key, problem, suggestion)
        self._errors.setdefault((at.line, at.column, key, problem), error)

    def warn(self, at: Position, key: str, problem: str) -> None:
        """Note something that the author should know and that does not refuse the file."""
        self._warnings[(at.line, at.column, f"{self.file}:{at.line}:{at.column}: {key}: {problem}")] = None

    def settle(self) -> tuple[str, ...]:
        """The warnings in file order; raises the first `ConfigError` in file order when there was a problem."""
        if self._errors:
            found = tuple(self._errors[place] for place in sorted(self._errors))
            found[0].all = found
            raise found[0]
        return tuple(text for _, _, text in sorted(self._warnings))


def suggest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is spelled most like this one, or None."""
    folded = {name.lower(): name for name in known}
    close = get_close_matches(word.lower().replace("_", "-")[:60], list(folded), n=1)
    return folded[close[0]] if close else None


def shown(key: str) -> str:
    """A key that is safe to print: one that might be a misplaced credential is masked, and it stays on one line."""
    return key if _PLAIN_KEY.fullmatch(key) else ascii(mask(key))[1:-1]
