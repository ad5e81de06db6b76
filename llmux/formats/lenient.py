"""Reading of JSON that others wrote: a member of a wrong type counts as absent; nothing here raises but `parse`."""

from __future__ import annotations

import re
from typing import Any

from msgspec.json import encode

from llmux.formats import jsontext

_STRUCTURE = re.compile(r'["\\{}\[\]]')


def parse(data: bytes | str) -> Any:
    """The value of a JSON text; ValueError when it is none, or nested too deeply.

    Lone surrogates in escapes are kept as they are, because some servers cut a character into two pieces.
    """
    try:
        return jsontext.parse(data)
    except RecursionError as problem:
        raise ValueError("nested too deeply") from problem


def dump(value: Any) -> bytes:
    """Compact JSON; characters beyond ASCII as they are, but lone surrogates escaped."""
    try:
        return encode(value)
    except UnicodeEncodeError:
        return jsontext.compact(value).encode("utf-8", "backslashreplace")


def string(value: Any) -> str:
    """The value if it is text, else the empty text."""
    return value if type(value) is str else ""


def maybe(value: Any) -> str | None:
    """The value if it is text that is not empty."""
    return value if type(value) is str and value else None


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if type(value) is dict else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    """The objects in a list; nothing for anything else."""
    return [entry for entry in value if type(entry) is dict] if type(value) is list else []


def count(value: Any) -> int | None:
    """A number of tokens or a position: an integer from 0 up to 2**53, or None."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= 1 << 53 else None


def arguments(text: str) -> tuple[dict[str, Any], bool]:
    """A call's arguments as an object, and whether they were broken (TRANSLATION 4.6).

    Nothing is `{}`, JSON of another type goes under `value`, what is no JSON under `_raw`.
    """
    if not text.strip():
        return {}, False
    try:
        value = parse(text.encode("utf-8", "surrogatepass"))
    except ValueError:
        return {"_raw": text}, True
    return (value, False) if type(value) is dict else ({"value": value}, False)


class BracketCount:
    """Says of a growing JSON object or list whether its last bracket has come. Costs one pass over the text."""

    __slots__ = ("_depth", "_escaped", "_quoted", "complete")

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = self._escaped = False
        self.complete = False

    def feed(self, text: str) -> None:
        """Take the next piece; what comes after the end is ignored."""
        at = 0
        size = len(text)
        while not self.complete and at < size:
            if self._escaped:
                self._escaped = False
                at += 1
                continue
            found = _STRUCTURE.search(text, at)
            if found is None:
                return
            at = found.end()
            mark = found[0]
            if self._quoted:
                if mark == '"':
                    self._quoted = False
                elif mark == "\\":
                    self._escaped = True
            elif mark == '"':
                self._quoted = True
            elif mark in "{[":
                self._depth += 1
            elif mark in "}]":
                self._depth -= 1
                self.complete = self._depth <= 0
