"""What an import yields, and the small readers that all of them use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Mapping[str, Any]


@dataclass(slots=True)
class Imported:
    """A configuration of ours as plain values, and a line for each thing that could not be carried over, with why."""

    config: dict[str, Any] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)

    def lose(self, what: str, why: str) -> None:
        """Note one thing that stays behind."""
        self.lost.append(f"{what}: {why}")

    def lose_unknown(self, place: str, found: Json, known: Iterable[str], why: str) -> None:
        """Note every member beyond those that are understood."""
        for name in found:
            if name not in set(known):
                self.lose(f"{place}{name}", why)


class NotThatFormat(Exception):
    """The file does not look like one of the tool it is said to belong to."""


def mapping(value: object) -> dict[str, Any]:
    """A mapping with text keys, empty for anything else."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """A list, empty for anything else."""
    return value if isinstance(value, list) else []


def text(value: object) -> str | None:
    """Text that is not blank, else None."""
    return value.strip() if isinstance(value, str) and value.strip() else None


def unique(name: str, taken: Iterable[str]) -> str:
    """A name that is not taken yet."""
    used = set(taken)
    candidate, number = name, 1
    while candidate in used:
        number += 1
        candidate = f"{name}-{number}"
    return candidate
