"""Arguments of a call that Vertex sends in pieces, each with a JSON path (TRANSLATION 5.1 G)."""

from __future__ import annotations

import itertools
import re
from typing import Any

from llmux.formats.lenient import maybe, string

_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d{1,4})\]|\[['\"]([^'\"]*)['\"]\]")
_MAX_DEPTH = 64


class PartialArguments:
    """Collects `partialArgs` into one object; pieces of text for one path are joined."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: dict[str, Any] = {}

    def add(self, pieces: list[dict[str, Any]]) -> None:
        """Take `[{jsonPath, stringValue | numberValue | ...}]`; what makes no sense is passed over."""
        for piece in pieces:
            steps = _steps(maybe(piece.get("jsonPath")) or "")
            if not steps or type(steps[0]) is not str:
                continue
            if "stringValue" in piece:
                self._put(steps, string(piece["stringValue"]), joined=True)
            elif type(piece.get("numberValue")) in (int, float):
                self._put(steps, piece["numberValue"])
            elif type(piece.get("boolValue")) is bool:
                self._put(steps, piece["boolValue"])
            elif "nullValue" in piece:
                self._put(steps, None)

    def _put(self, steps: list[str | int], value: Any, joined: bool = False) -> None:
        place: Any = self.value
        for step, following in itertools.pairwise(steps):
            empty: Any = [] if type(following) is int else {}
            place = _enter(place, step, empty)
            if type(place) is not type(empty):
                return
        last = steps[-1]
        if joined:
            before = _enter(place, last, "")
            value = before + value if type(before) is str else value
        if type(place) is dict:
            place[last] = value
        elif type(place) is list and type(last) is int and last <= len(place):
            place[last : last + 1] = [value]


def _enter(place: Any, step: str | int, empty: Any) -> Any:
    """What stands at a step, made if absent; None where the step leads nowhere (a list grows by one at a time)."""
    if type(place) is dict and type(step) is str:
        return place.setdefault(step, empty)
    if type(place) is list and type(step) is int and step <= len(place):
        if step == len(place):
            place.append(empty)
        return place[step]
    return None


def _steps(path: str) -> list[str | int]:
    """The steps of `$.a[0].b`; nothing for a path that is not of this kind."""
    if not path.startswith("$"):
        return []
    found = _STEP.findall(path[1:])
    if len(found) > _MAX_DEPTH:
        return []
    return [int(number) if number else name or quoted for name, number, quoted in found]
