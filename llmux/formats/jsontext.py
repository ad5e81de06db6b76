"""JSON text in and out: integers exact, no ASCII escaping, lone surrogates tolerated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from llmux.formats.losses import malformed, too_deep


def parse_body(raw: bytes | bytearray | memoryview) -> dict[str, Any]:
    """The object in a request body. Raises RequestRefused (400) when it is no JSON object."""
    try:
        value = parse(bytes(raw))
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


def dump_body(body: Mapping[str, Any]) -> bytes:
    """A compact UTF-8 body. Raises RequestRefused when it is nested too deeply."""
    try:
        try:
            return msgspec.json.encode(body)
        except UnicodeEncodeError:
            return _dump(body).encode("utf-8", "backslashreplace")  # a lone surrogate becomes its JSON escape
    except RecursionError:
        raise too_deep() from None


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
