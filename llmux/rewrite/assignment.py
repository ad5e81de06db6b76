"""Setting members of JSON objects in place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Union

from llmux.rewrite.spans import OBJECT, Buffer, Object, members
from llmux.rewrite.splice import Edit, removals

Value = Union[bytes, None, "Assignments"]
Assignments = Mapping[bytes, Value]
"""For each key: JSON text to put there, None to take the member away, or assignments inside the object there."""


def assign(data: Buffer, start: int, values: Assignments, known: Object | None = None) -> list[Edit]:
    """The edits that make these assignments in the object at `start`; every other member keeps its bytes.

    Each occurrence of a key is set. Missing members are added at the end, in the order given; keys must be plain ASCII.
    `known` is all of `members(data, start)`, if the caller has it.
    """
    found, last, _ = members(data, start) if known is None else known
    edits: list[Edit] = []
    doomed: set[int] = set()
    present: set[bytes] = set()
    for index, (key, _, value_start, value_end) in enumerate(found):
        if key not in values:
            continue
        present.add(key)
        value = values[key]
        if value is None:
            doomed.add(index)
        elif isinstance(value, bytes):
            edits.append((value_start, value_end, value))
        elif data[value_start] == OBJECT:
            edits += assign(data, value_start, value)
        elif (text := _text(value)) is not None:
            edits.append((value_start, value_end, text))
    edits += removals([(member.at, member.end) for member in found], doomed)
    added = [
        b'"' + key + b'":' + text
        for key, value in values.items()
        if key not in present and (text := _text(value)) is not None
    ]
    if added:
        comma = b"," if len(doomed) < len(found) else b""
        place = last if last >= 0 else start + 1
        edits.append((place, place, comma + b",".join(added)))
    return edits


def _text(value: Value) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    parts = [b'"' + key + b'":' + text for key, inner in value.items() if (text := _text(inner)) is not None]
    return b"{" + b",".join(parts) + b"}" if parts else None
