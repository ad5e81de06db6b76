"""JSON text in and out: integers exact, no ASCII escaping, lone surrogates tolerated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from llmux.formats.losses import malformed, too_deep

LONG_BODY = 256 * 1024
_LONG_LIST = 64
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_LIST = ord("[")


def parse_body(raw: bytes | bytearray | memoryview) -> dict[str, Any]:
    """The object in a request body. Raises RequestRefused (400) when it is no JSON object."""
    try:
        value = parse(bytes(raw)) if len(raw) < LONG_BODY else _parse_in_pieces(bytes(raw))
    except ValueError:
        raise malformed("", "valid JSON") from None
    except RecursionError:
        raise too_deep() from None
    if not isinstance(value, dict):
        raise malformed("", "a JSON object")
    return value


def parse(text: str | bytes) -> Any:
    """Any JSON value. Raises ValueError for text that is none (also NaN, numbers beyond a double), or RecursionError.

    The fast parser refuses lone surrogates, which clients do send (a cut emoji); the slow one reads them.
    """
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)


def _parse_in_pieces(raw: bytes) -> Any:
    """The same as `parse` for an object, but message by message.

    The parser keeps the interpreter to itself until it returns. A long conversation is read in a thread, and every
    other stream of the process would wait for tens of milliseconds.
    """
    try:
        return {name: _parse_list(value) for name, value in _MEMBERS.decode(raw).items()}
    except (msgspec.DecodeError, UnicodeError):
        return parse(raw)


def _parse_list(raw: msgspec.Raw) -> Any:
    if len(raw) < LONG_BODY or memoryview(raw)[0] != _LIST:
        return msgspec.json.decode(raw)
    return [msgspec.json.decode(item) for item in _ITEMS.decode(raw)]


def dump_body(body: Mapping[str, Any]) -> bytes:
    """A compact UTF-8 body. Raises RequestRefused when it is nested too deeply."""
    try:
        try:
            return _dump_in_pieces(body)
        except UnicodeEncodeError:
            return _dump(body).encode("utf-8", "backslashreplace")  # a lone surrogate becomes its JSON escape
    except RecursionError:
        raise too_deep() from None


def _dump_in_pieces(body: Mapping[str, Any]) -> bytes:
    """The body; a long list of messages one by one, for the reason that `_parse_in_pieces` gives."""
    encode = msgspec.json.encode
    if not any(type(value) is list and len(value) > _LONG_LIST for value in body.values()):
        return encode(body)
    members = []
    for name, value in body.items():
        if type(value) is list and len(value) > _LONG_LIST:
            items = [encode(item) for item in value]  # no `map`: between two rounds of this loop others may run
            members.append(encode(name) + b":[" + b",".join(items) + b"]")
        else:
            members.append(encode(name) + b":" + encode(value))
    return b"{" + b",".join(members) + b"}"


def compact(value: Any) -> str:
    """JSON text without spaces, member order kept, non-ASCII as it is."""
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        return _dump(value)


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError("number out of range")
    return value
