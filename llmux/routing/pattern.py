"""Regular expressions whose search takes time linear in the text (SPEC B-40).

Users write the expression and clients the text; a backtracking engine lets the two together stop the daemon. So the
expression becomes a non-deterministic automaton that is followed on all its ways at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MOST_STATES = 300
LONGEST_PATTERN = 1000
DEEPEST_GROUP = 30

_MEMO = 512
_ACCEPT = 0
_BRACES = re.compile(r"\{(?:(\d+)|(\d*),(\d*))\}")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|N\{[^}]*\}|\D)", re.DOTALL)
_GROUP = re.compile(r"\((?!\?)|\(\?:|\(\?P<\w+>|\(\?i:")
_POSIX = re.compile(r"\[\[:\^?\w+:\]|\[:\^?\w+:\]\]")
_BOUNDS = {"\\A": "start", "^": "start", "\\Z": "end", "$": "end", "\\b": "edge", "\\B": "inside"}


class PatternError(ValueError):
    """The expression is malformed, or cannot be searched in bounded time; the text says why."""


@dataclass(frozen=True, slots=True)
class _Char:
    test: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class _Bound:
    kind: str


@dataclass(frozen=True, slots=True)
class _Sequence:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Choice:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Repeat:
    part: _Node
    low: int
    high: int | None


_Node = _Char | _Bound | _Sequence | _Choice | _Repeat
_State = tuple[_Char | _Bound | None, tuple[int, ...]]  # what is asked of the text, and where it leads


class Pattern:
    """One expression in Python's syntax, letters ignoring case, `$` only at the very end.

    Look-around, back-references, possessive and atomic groups, flags other than `i`, and expressions of more than
    MOST_STATES states raise PatternError. A search costs at most states times characters, and with its small memory of
    past steps about 0.1 us per character.
    """

    def __init__(self, text: str) -> None:
        self._states: list[_State] = [(None, ())]
        self._entry = self._build(_parse(text), _ACCEPT)
        self._memo: dict[tuple[frozenset[int], int, str], frozenset[int] | None] = {}

    def search(self, text: str) -> bool:
        """Whether the expression matches anywhere in `text`."""
        memo = self._memo
        here, before = frozenset((self._entry,)), 0
        for char in (*text, ""):
            key = (here, before, char)
            try:
                there = memo[key]
            except KeyError:
                if len(memo) >= _MEMO:
                    memo.clear()
                there = memo[key] = self._step(*key)
            if there is None:
                return True
            here, before = there, 2 if _is_word(char) else 1
        return False

    def _step(self, here: frozenset[int], before: int, char: str) -> frozenset[int] | None:
        """Where `char` leads from `here`; None once the expression has matched.

        `before` says what stands there: 0 the start, 1 no character of a word, 2 one.
        """
        reached, waiting, there = set(here), list(here), {self._entry}
        while waiting:
            number = waiting.pop()
            if number == _ACCEPT:
                return None
            asked, leads = self._states[number]
            if isinstance(asked, _Char):
                if char and asked.test(char):
                    there.update(leads)
            elif asked is None or _holds(asked.kind, before, char):
                waiting.extend(lead for lead in leads if lead not in reached)
                reached.update(leads)
        return frozenset(there)

    def _add(self, asked: _Char | _Bound | None, *leads: int) -> int:
        self._states.append((asked, leads))
        return len(self._states) - 1

    def _build(self, node: _Node, after: int) -> int:
        """Add the states of `node`, which continue at `after`, and say where they begin."""
        match node:
            case _Char() | _Bound():
                return self._add(node, after)
            case _Sequence(parts):
                for part in reversed(parts):
                    after = self._build(part, after)
                return after
            case _Choice(parts):
                return self._add(None, *[self._build(part, after) for part in parts])
            case _Repeat(part, low, high):
                if high is None:
                    entry = self._add(None)
                    self._states[entry] = (None, (self._build(part, entry), after))
                else:
                    entry = after
                    for _ in range(high - low):
                        entry = self._add(None, self._build(part, entry), after)
                for _ in range(low):
                    entry = self._build(part, entry)
                return entry


def _holds(kind: str, before: int, char: str) -> bool:
    if kind == "start":
        return before == 0
    if kind == "end":
        return not char
    return ((before == 2) != _is_word(char)) == (kind == "edge")


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _parse(text: str) -> _Node:
    if len(text) > LONGEST_PATTERN:
        raise PatternError(f"it is longer than {LONGEST_PATTERN} characters")
    if _POSIX.search(text):
        raise PatternError(r"it uses a POSIX class; write \d, \w, \s or a range")
    try:
        re.compile(text, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError) as error:
        raise PatternError(str(error)) from None
    node = _Parser(text.removeprefix("(?i)")).choice()
    if _size(node) > MOST_STATES:
        raise PatternError(f"it has more than {MOST_STATES} states; use fewer or smaller repeats")
    return node


def _size(node: _Node) -> int:
    """How many states `Pattern` builds for `node`; counted first, since repeats of repeats multiply."""
    match node:
        case _Char() | _Bound():
            return 1
        case _Sequence(parts):
            return sum(map(_size, parts))
        case _Choice(parts):
            return 1 + sum(map(_size, parts))
        case _Repeat(part, low, high):
            loop = 1 if high is None else high - low
            return low * _size(part) + loop * (_size(part) + 1)


class _Parser:
    """Reads an expression that `re` has accepted, so only its structure is of interest here."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def choice(self) -> _Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else _Choice(tuple(parts))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while self._at < len(self._text) and self._text[self._at] not in "|)":
            parts.append(self._repeated(self._atom()))
        return parts[0] if len(parts) == 1 else _Sequence(tuple(parts))

    def _repeated(self, part: _Node) -> _Node:
        low, high = 0, None
        if self._take("+"):
            low = 1
        elif self._take("?"):
            high = 1
        elif found := _BRACES.match(self._text, self._at):
            self._at = found.end()
            exact, least, most = found.groups()
            low = int(exact or least or 0)
            high = int(exact or most) if exact or most else None
        elif not self._take("*"):
            return part
        self._take("?")  # whether it is greedy changes what is matched, not whether
        if self._take("+"):
            raise PatternError("it uses a possessive repeat, which has no bound here")
        return _Repeat(part, low, high)

    def _atom(self) -> _Node:
        char = self._text[self._at]
        if char == "(":
            return self._group()
        taken = char
        if char in "[\\":
            found = (_CLASS if char == "[" else _ESCAPE).match(self._text, self._at)
            if found is None:
                raise PatternError("it uses a back-reference or an octal escape")
            taken = found[0]
        self._at += len(taken)
        if taken in _BOUNDS:
            return _Bound(_BOUNDS[taken])
        literal = re.escape(taken) if taken in "{}]" else taken
        return _Char(re.compile(literal, re.IGNORECASE).fullmatch)

    def _group(self) -> _Node:
        found = _GROUP.match(self._text, self._at)
        if found is None:
            raise PatternError("it uses look-around, a back-reference or a flag, which are not supported")
        self._at = found.end()
        self._depth += 1
        if self._depth > DEEPEST_GROUP:
            raise PatternError(f"its groups are nested more than {DEEPEST_GROUP} deep")
        node = self.choice()
        self._depth -= 1
        self._take(")")
        return node

    def _take(self, char: str) -> bool:
        if self._text.startswith(char, self._at):
            self._at += 1
            return True
        return False
