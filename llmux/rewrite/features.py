"""Feature flags taken out of the upstream's `getUserInfo` answer (DESIGN D-51)."""

from __future__ import annotations

from collections.abc import Collection

from llmux.rewrite.spans import ARRAY, OBJECT, Buffer, decode_string, elements, ends, members, root
from llmux.rewrite.splice import Edit, removals, splice_json

_RESULT = frozenset((b"result",))
_FEATURES = frozenset((b"features",))
_NAME = frozenset((b"name",))


def remove_features(body: Buffer, names: Collection[str]) -> Buffer:
    """The answer without the entries of `result.features` that have one of these names; the same object otherwise."""
    if not names or len(body) < 2:
        return body

    def edits(data: Buffer) -> list[Edit]:
        found: list[Edit] = []
        start = root(data)
        answer = members(data, start, _RESULT)
        ends(data, answer.end)
        for result in answer.members:
            if data[result.start] != OBJECT:
                continue
            for features in members(data, result.start, _FEATURES).members:
                if data[features.start] == ARRAY:
                    found += _doomed(data, features.start, features.end, names)
        return found

    return splice_json(body, edits)


def _doomed(data: Buffer, start: int, end: int, names: Collection[str]) -> list[Edit]:
    spans = elements(data, start, end)
    doomed: set[int] = set()
    for index, (feature, _) in enumerate(spans):
        if data[feature] == OBJECT:
            name = members(data, feature, _NAME).last_of(b"name")
            if name is not None and decode_string(data, name.start, name.end) in names:
                doomed.add(index)
    return removals(spans, doomed)
