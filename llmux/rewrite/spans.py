"""Byte spans of JSON values, found without building the values.

Everything here is exact: keys are compared after their escapes are decoded, duplicates are all reported, and text that
is not JSON raises `InvalidJSON` instead of giving a guess. Containers and long strings are skipped by msgspec, which
reads about 2 GB/s; only the members of the objects that are asked for cost Python time.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import msgspec

Buffer = bytes | bytearray
BOM = b"\xef\xbb\xbf"
OBJECT, ARRAY, STRING = b'{["'


class InvalidJSON(ValueError):
    """The text is not JSON at the place that was asked for."""


class Member(NamedTuple):
    """One member of an object: its key as UTF-8, where the key's quote is, and the span of its value."""

    key: bytes
    at: int
    start: int
    end: int


class Object(NamedTuple):
    """The wanted members of an object in file order, where its last value ends (-1: empty), and its own end."""

    members: list[Member]
    last: int
    end: int

    def last_of(self, key: bytes) -> Member | None:
        """The member that counts when a key occurs more than once: the last (SPEC R-EX-8)."""
        return next((member for member in reversed(self.members) if member.key == key), None)


_WS = rb"[ \t\r\n]*+"
_SHORT = (
    rb'"[^"\\\x00-\x1f]{0,200}+'
    rb'(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]{0,200}+){0,8}+"'
)
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+"
_SPACE = re.compile(_WS)
_KEY = re.compile(_WS + rb'"([^"\\\x00-\x1f]{0,200}+)"' + _WS + rb":" + _WS)
_SCALAR = re.compile(rb"(" + _SHORT + rb"|" + _NUMBER + rb"|true|false|null)" + _WS + rb"([,}])")
_SEPARATOR = re.compile(_WS + rb"([,}])" + _WS)
_COLON = re.compile(_WS + rb":" + _WS)
_COMMA = re.compile(_WS + rb"," + _WS)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_TRAILING = "JSON is malformed: trailing characters (byte "
_CLOSERS = {OBJECT: b"}", ARRAY: b"]", STRING: b'"'}

_RAW = msgspec.json.Decoder(msgspec.Raw)
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])


def end_of_value(data: Buffer, start: int) -> int:
    """The end of the container or string that begins at `start`; raises InvalidJSON.

    msgspec tells where a value ends only in the text of its complaint about what follows;
    `tests/test_spans.py` holds that text fast.
    """
    try:
        _RAW.decode(memoryview(data)[start:])
        stop = len(data)
    except msgspec.DecodeError as error:
        text = str(error)
        if not text.startswith(_TRAILING):
            raise InvalidJSON from None
        stop = start + int(text[len(_TRAILING) : -1]) - 1
    except RecursionError:
        raise InvalidJSON from None
    closer = _CLOSERS.get(data[start])
    if closer is None:
        raise InvalidJSON
    return data.rfind(closer, start, stop) + 1


def decode_string(data: Buffer, start: int, end: int) -> str | None:
    """The text of the JSON string in a span; None when the value there is not a string."""
    if data[start] != STRING:
        return None
    try:
        return json.loads(bytes(data[start:end]), strict=True)  # type: ignore[no-any-return]  # a string by its quote
    except ValueError:
        return None


def members(data: Buffer, start: int = 0, wanted: frozenset[bytes] | None = None) -> Object:
    """Walk the object that begins at `start` and report its members (all of them, or those whose key is wanted)."""
    if data[start : start + 1] != b"{":
        raise InvalidJSON
    found: list[Member] = []
    pos = _end_of_space(data, start + 1)
    if data[pos : pos + 1] == b"}":
        return Object(found, -1, pos + 1)
    while True:
        match = _KEY.match(data, pos)
        if match is not None:
            key = match[1]
            at = match.start(1) - 1
            value = match.end()
        else:
            at = _end_of_space(data, pos)
            key, value = _long_key(data, at)
        scalar = _SCALAR.match(data, value)
        if scalar is not None:
            end = scalar.end(1)
            more = scalar[2] == b","
            pos = scalar.end()
        else:
            end = end_of_value(data, value) if value < len(data) else _fail()
            separator = _SEPARATOR.match(data, end)
            if separator is None:
                raise InvalidJSON
            more = separator[1] == b","
            pos = separator.end(1)
        if wanted is None or key in wanted:
            found.append(Member(bytes(key), at, value, end))
        if not more:
            return Object(found, end, pos)


def elements(data: Buffer, start: int, end: int) -> list[tuple[int, int]]:
    """The spans of the elements of the array that fills `start` to `end`."""
    try:
        raws = _RAWS.decode(memoryview(data)[start:end])
    except (msgspec.DecodeError, RecursionError):
        raise InvalidJSON from None
    pos = _end_of_space(data, start + 1)
    spans: list[tuple[int, int]] = []
    comma = ord(",")
    for raw in raws:
        stop = pos + len(raw)
        spans.append((pos, stop))
        if data[stop] == comma and data[stop + 1] > 0x20:
            pos = stop + 1
        else:
            match = _COMMA.match(data, stop)
            pos = stop if match is None else match.end()
    return spans


def root(data: Buffer) -> int:
    """Where the value of a JSON text begins: after a byte order mark and white space; `len(data)` for none."""
    return _end_of_space(data, 3 if data.startswith(BOM) else 0)


def ends(data: Buffer, end: int) -> None:
    """Raise InvalidJSON unless only white space follows `end`."""
    if _end_of_space(data, end) != len(data):
        raise InvalidJSON


def find_spans(data: Buffer, *paths: tuple[bytes, ...]) -> list[tuple[int, int]]:
    """The spans of all values at these paths of member names, in file order; none when the text is not JSON.

    An object that occurs twice on a path is entered twice. Values that are in the way (a string where an object is
    needed) have no spans.
    """
    try:
        start = root(data)
        spans, end = _descend(data, start, paths)
        ends(data, end)
    except InvalidJSON:
        hidden = hide_surrogates(data)
        return find_spans(hidden, *paths) if hidden is not None else []
    return spans


def hide_surrogates(data: Buffer) -> bytes | None:
    r"""The same text with every escaped surrogate made a harmless escape of equal length; None when there is none.

    A lone `\ud83d` is what a program writes that cut an emoji in half. The grammar of JSON allows it and msgspec does
    not, so a text that was refused is read once more in this form, whose offsets are those of the original.
    """
    hidden, count = _SURROGATE.subn(rb"\\uff", data)
    return bytes(hidden) if count else None


def _descend(data: Buffer, start: int, paths: tuple[tuple[bytes, ...], ...]) -> tuple[list[tuple[int, int]], int]:
    branches: dict[bytes, list[tuple[bytes, ...]]] = {}
    for path in paths:
        branches.setdefault(path[0], []).append(path[1:])
    found, _, end = members(data, start, frozenset(branches))
    spans: list[tuple[int, int]] = []
    for member in found:
        tails = branches[member.key]
        if () in tails:
            spans.append((member.start, member.end))
        longer = tuple(tail for tail in tails if tail)
        if longer and data[member.start] == OBJECT:
            spans += _descend(data, member.start, longer)[0]
    return spans, end


def _end_of_space(data: Buffer, pos: int) -> int:
    match = _SPACE.match(data, pos)
    assert match is not None
    return match.end()


def _long_key(data: Buffer, at: int) -> tuple[bytes, int]:
    """A key with escapes or of great length: its decoded form and where its value begins."""
    if data[at : at + 1] != b'"':
        raise InvalidJSON
    end = end_of_value(data, at)
    colon = _COLON.match(data, end)
    text = decode_string(data, at, end)
    if colon is None or text is None:
        raise InvalidJSON
    return text.encode("utf-8", "surrogatepass"), colon.end()


def _fail() -> int:
    raise InvalidJSON
