"""Reads members of a client's JSON leniently: absent and null are None, a wrong type is a refusal with its path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from llmux.formats.losses import malformed


def at(path: str, key: str | int) -> str:
    """The path of a member of what `path` names."""
    return f"{path}.{key}" if path else str(key)


def text(body: Mapping[str, Any], key: str, path: str = "") -> str | None:
    """A string. Raises RequestRefused for anything else but null."""
    value = body.get(key)
    if value is None or isinstance(value, str):
        return value
    raise malformed(at(path, key), "a string")


def needed_text(body: Mapping[str, Any], key: str, path: str) -> str:
    """A string that must be there. Raises RequestRefused otherwise."""
    value = body.get(key)
    if isinstance(value, str):
        return value
    raise malformed(at(path, key), "a string")


def flag(body: Mapping[str, Any], key: str, path: str = "") -> bool | None:
    """A boolean. Raises RequestRefused for anything else but null."""
    value = body.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise malformed(at(path, key), "a boolean")


def number(body: Mapping[str, Any], key: str, path: str = "") -> float | None:
    """A finite number, as it was written (int or float). Raises RequestRefused for anything else but null."""
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(_float(value)):
        raise malformed(at(path, key), "a number")
    return value


def integer(body: Mapping[str, Any], key: str, path: str = "") -> int | None:
    """A whole number; `3.0` counts as one. Raises RequestRefused for anything else but null."""
    value = number(body, key, path)
    if value is None or isinstance(value, int):
        return value
    if not value.is_integer():
        raise malformed(at(path, key), "an integer")
    return int(value)


def mapping(body: Mapping[str, Any], key: str, path: str = "") -> Mapping[str, Any] | None:
    """An object. Raises RequestRefused for anything else but null."""
    value = body.get(key)
    if value is None or isinstance(value, Mapping):
        return value
    raise malformed(at(path, key), "an object")


def needed_mapping(body: Mapping[str, Any], key: str, path: str) -> Mapping[str, Any]:
    """An object that must be there. Raises RequestRefused otherwise."""
    value = body.get(key)
    if isinstance(value, Mapping):
        return value
    raise malformed(at(path, key), "an object")


def sequence(body: Mapping[str, Any], key: str, path: str = "") -> list[Any]:
    """A list, empty when absent. Raises RequestRefused for anything else but null."""
    value = body.get(key)
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise malformed(at(path, key), "a list")


def mappings(body: Mapping[str, Any], key: str, path: str = "") -> list[Mapping[str, Any]]:
    """A list of objects, empty when absent. Raises RequestRefused for anything else but null."""
    items = sequence(body, key, path)
    for index, item in enumerate(items):
        if not isinstance(item, Mapping):
            raise malformed(at(at(path, key), index), "an object")
    return items


def texts(body: Mapping[str, Any], key: str, path: str = "") -> tuple[str, ...]:
    """A list of strings, or one string for a list of one. Raises RequestRefused for anything else but null."""
    if isinstance(body.get(key), str):
        return (body[key],)
    items = sequence(body, key, path)
    for index, item in enumerate(items):
        if not isinstance(item, str):
            raise malformed(at(at(path, key), index), "a string")
    return tuple(items)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf
