"""Readers: functions from a node to a typed value. A schema is a dict of keys and readers.

A reader raises `Fault`; `fields` and `list_of` turn it into an entry of the ledger and go on, so that one pass finds
every problem of a file. No fault ever quotes what the file says, because it may be a credential.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from llmux.config import document
from llmux.config.document import Scalar
from llmux.config.environment import Unset, Unsupported, expand
from llmux.config.problem import Ledger, shown, suggest

T = TypeVar("T")

_TRUE = {"true", "yes", "on"}
_FALSE = {"false", "no", "off"}
_INTEGER = re.compile(r"-?(?:0|[1-9](?:_?[0-9])*)")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]*)?")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(b|[kmg]i?b)", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_DIGITS = 18  # longer numbers are refused unread


class Fault(Exception):
    """What is wrong with a value, for the ledger."""

    def __init__(self, value: Value, problem: str, suggestion: str | None = None) -> None:
        super().__init__(problem)
        self.value = value
        self.problem = problem
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Value:
    """A node with its dotted key, the environment to expand it with and the ledger of its file."""

    node: document.Node
    key: str
    ledger: Ledger
    environ: Mapping[str, str]

    def entry(self, name: str) -> Value:
        """The value of a key of this mapping, which must be there."""
        assert isinstance(self.node, document.Mapping)
        return Value(self.node.entries[name][1], self._under(name), self.ledger, self.environ)

    def item(self, index: int) -> Value:
        """An item of this sequence, which must be there."""
        assert isinstance(self.node, document.Sequence)
        return Value(self.node.items[index], f"{self.key}[{index}]", self.ledger, self.environ)

    def _under(self, name: str) -> str:
        return f"{self.key}.{shown(name)}" if self.key else shown(name)

    def warn(self, problem: str) -> None:
        self.ledger.warn(self.node, self.key, problem)

    def refuse(self, fault: Fault) -> None:
        at = fault.value
        self.ledger.error(at.node, at.key, fault.problem, fault.suggestion)

    def has(self, name: str) -> bool:
        """Whether this mapping gives a key a value, readable or not."""
        return isinstance(self.node, document.Mapping) and name in self.node.entries and not self.entry(name).null

    @property
    def null(self) -> bool:
        return isinstance(self.node, Scalar) and self.node.null

    @property
    def blank(self) -> bool:
        """Whether this is null or text without a visible character."""
        return isinstance(self.node, Scalar) and (self.node.null or not self.node.text.strip())


Reader: TypeAlias = Callable[[Value], T]
Schema: TypeAlias = Mapping[str, Reader[Any]]


def fields(value: Value, schema: Schema, useless: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read a mapping by its schema; keys that are absent, null or faulty are absent from the result.

    `useless` are keys that are accepted with a warning, each with the reason. Any other key is an error.
    """
    node = value.node
    if not isinstance(node, document.Mapping):
        raise Fault(value, f"expected keys with values, found {_kind(node)}")
    found: dict[str, Any] = {}
    for name, (written, _) in node.entries.items():
        inner = value.entry(name)
        if name in schema:
            if inner.null:
                continue
            try:
                found[name] = schema[name](inner)
            except Fault as fault:
                value.refuse(fault)
        elif useless is not None and name in useless:
            value.ledger.warn(written, inner.key, useless[name])
        else:
            value.ledger.error(written, inner.key, "unknown key", suggest(name, schema))
    return found


def missing(value: Value, *names: str) -> bool:
    """Report those of the keys that a mapping has to have and has not; whether there were any."""
    absent = [name for name in names if not value.has(name)]
    for name in absent:
        value.ledger.error(value.node, f"{value.key}.{name}", "is missing")
    return bool(absent)


def list_of(reader: Reader[T], *, least: int = 0) -> Reader[tuple[T, ...]]:
    """A list whose items are all read alike."""

    def read(value: Value) -> tuple[T, ...]:
        return tuple(inner for _, inner in each(value, reader, least))

    return read


def each(value: Value, reader: Reader[T], least: int = 0) -> list[tuple[Value, T]]:
    """The items of a list that could be read, each with its place."""
    if not isinstance(value.node, document.Sequence):
        raise Fault(value, f"expected a list, found {_kind(value.node)}")
    if len(value.node.items) < least:
        raise Fault(value, "the list is empty")
    found = []
    for index in range(len(value.node.items)):
        item = value.item(index)
        try:
            found.append((item, reader(item)))
        except Fault as fault:
            value.refuse(fault)
    return found


def one_or_list(reader: Reader[T]) -> Reader[tuple[T, ...]]:
    """A list, or one item without the brackets."""
    several = list_of(reader, least=1)
    return lambda value: several(value) if isinstance(value.node, document.Sequence) else (reader(value),)


def held(value: Value) -> Value:
    """Put a value off: it is read later, when what it depends on is known."""
    return value


def text(value: Value) -> str:
    """Text without blanks around it, possibly empty. A number that is written without quotes is text as well."""
    try:
        return raw_text(value)
    except Unset as unset:
        raise Fault(value, str(unset)) from None


def raw_text(value: Value) -> str:
    """Like `text`, but an unset variable raises `Unset` for callers that can do without the value."""
    found, _ = _scalar(value, "text")
    node = value.node
    if isinstance(node, Scalar) and node.plain and node.text.lower() in _TRUE | _FALSE:
        raise Fault(value, "expected text, found a boolean; put it in quotes")
    return found.strip()


def filled(value: Value) -> str:
    """Text that says something."""
    found = text(value)
    if not found:
        raise Fault(value, "must not be blank")
    return found


def boolean(value: Value) -> bool:
    """`true` or `false`, and the other words YAML has for them."""
    found, plain = _typed(value, "true or false")
    if plain and found.lower() in _TRUE:
        return True
    if plain and found.lower() in _FALSE:
        return False
    raise Fault(value, "expected true or false")


def integer(least: int, most: int) -> Reader[int]:
    """A whole number in a range."""

    def read(value: Value) -> int:
        found, plain = _typed(value, "a whole number")
        if not plain or not _INTEGER.fullmatch(found):
            raise Fault(value, "expected a whole number")
        if len(found) > _DIGITS or not least <= int(found) <= most:
            raise Fault(value, f"must be between {least} and {most}")
        return int(found)

    return read


def number(least: float, most: float, unit: str) -> Reader[float]:
    """A number in a range; `unit` is what it counts, for the message."""

    def read(value: Value) -> float:
        found, plain = _typed(value, f"a number of {unit}")
        if not plain or not _NUMBER.fullmatch(found):
            raise Fault(value, f"expected a number of {unit}, without a unit")
        if len(found) > _DIGITS or not least <= float(found) <= most:
            raise Fault(value, f"must be between {least:g} and {most:g} {unit}")
        return float(found)

    return read


def size(least: int, most: int) -> Reader[int]:
    """A number of bytes: `65536`, `512kB` (thousands) or `64MiB` (powers of 1024)."""

    def read(value: Value) -> int:
        found, plain = _typed(value, "a size")
        with_unit = _SIZE.fullmatch(found)
        if len(found) > _DIGITS:
            raise Fault(value, f"must be between {least} and {most} bytes")
        if with_unit is not None:
            count = int(float(with_unit.group(1)) * _UNITS[with_unit.group(2).lower()])
        elif plain and _INTEGER.fullmatch(found):
            count = int(found)
        else:
            raise Fault(value, "expected a size such as 65536, 512kB or 64MiB")
        if not least <= count <= most:
            raise Fault(value, f"must be between {least} and {most} bytes")
        return count

    return read


def one_of(words: Iterable[str]) -> Reader[str]:
    """One of a few words, spelled exactly."""
    known = tuple(words)

    def read(value: Value) -> str:
        found, _ = _typed(value, "a word")
        if found not in known:
            raise Fault(value, f"expected {_either(known)}", suggest(found, known))
        return found

    return read


def _typed(value: Value, wanted: str) -> tuple[str, bool]:
    try:
        found, plain = _scalar(value, wanted)
    except Unset as unset:
        raise Fault(value, str(unset)) from None
    return found.strip(), plain


def _scalar(value: Value, wanted: str) -> tuple[str, bool]:
    """The expanded text, and whether it may be something else than text; a variable's content always may."""
    node = value.node
    if not isinstance(node, Scalar):
        raise Fault(value, f"expected {wanted}, found {_kind(node)}")
    if node.null:
        raise Fault(value, f"expected {wanted}, found nothing")
    try:
        found, expanded = expand(node.text, value.environ)
    except Unsupported as problem:
        raise Fault(value, str(problem)) from None
    return found, node.plain or expanded


def _kind(node: document.Node) -> str:
    if isinstance(node, document.Mapping):
        return "keys with values"
    if isinstance(node, document.Sequence):
        return "a list"
    return "nothing" if node.null else "a single value"


def _either(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
