"""Replacing spans of a byte string and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from llmux.rewrite.spans import Buffer, InvalidJSON, hide_surrogates

Edit = tuple[int, int, bytes]


def splice(data: Buffer, edits: Iterable[Edit]) -> Buffer:
    """Apply edits `(start, end, replacement)` that do not overlap; without any, the same object comes back."""
    ordered = sorted(edits)
    if not ordered:
        return data
    pieces: list[bytes | memoryview] = []
    done = 0
    with memoryview(data) as view:
        for start, end, replacement in ordered:
            pieces.append(view[done:start])
            pieces.append(replacement)
            done = end
        pieces.append(view[done:])
        joined = b"".join(pieces)
        pieces.clear()
    return joined


def splice_json(data: Buffer, find: Callable[[Buffer], Sequence[Edit]]) -> Buffer:
    """Apply the edits that `find` has for a JSON text; text that is not JSON stays as it is (SPEC R-RQ-2, R-RJ-2)."""
    return splice(data, json_edits(data, find))


def json_edits(data: Buffer, find: Callable[[Buffer], Sequence[Edit]]) -> Sequence[Edit]:
    """The edits of `find`, tried again with lone surrogates out of the way; none for text that is not JSON."""
    try:
        return find(data)
    except InvalidJSON:
        hidden = hide_surrogates(data)
    if hidden is None:
        return ()
    try:
        return find(hidden)
    except InvalidJSON:
        return ()


def removals(spans: Sequence[tuple[int, int]], doomed: frozenset[int] | set[int]) -> list[Edit]:
    """The edits that take elements (or members) out of a comma-separated list together with their commas."""
    edits: list[Edit] = []
    kept_before = False
    for index, (start, end) in enumerate(spans):
        if index not in doomed:
            kept_before = True
        elif kept_before:
            edits.append((spans[index - 1][1], end, b""))
        elif index + 1 < len(spans):
            edits.append((start, spans[index + 1][0], b""))
        else:
            edits.append((start, end, b""))
    return edits


def literal(text: str) -> bytes:
    """A JSON string with this text: UTF-8 unescaped where possible, escapes for what UTF-8 cannot hold."""
    try:
        return json.dumps(text, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(text).encode()
