"""Whose turn it is among equals: round-robin, fill-first, weighted."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import count
from typing import TypeVar

STRATEGIES = ("round-robin", "fill-first", "weighted")

Member = TypeVar("Member", bound=Hashable)


class Turns:
    """Picks one of several ready members of a group; which members are ready may differ each time.

    Round-robin takes the one that waited longest, fill-first the first, weighted spreads by weight and as evenly as
    possible. Raises ValueError for any other strategy.
    """

    def __init__(self, strategy: str = "round-robin") -> None:
        if strategy not in STRATEGIES:
            raise ValueError(f"unknown strategy {strategy!r}")
        self.strategy = strategy
        self._number = count(1)
        self._used: dict[tuple[Hashable, Hashable], int] = {}
        self._credit: dict[tuple[Hashable, Hashable], int] = {}

    def pick(self, group: Hashable, members: Sequence[Member], weights: Sequence[int] | None = None) -> Member:
        """Choose from `members`, which is not empty, and remember it; `weights` are 1 each if not given."""
        if self.strategy == "fill-first" or len(members) == 1:
            return members[0]
        if self.strategy == "weighted":
            return self._by_weight(group, members, weights or [1] * len(members))
        chosen = min(members, key=lambda member: self._used.get((group, member), 0))
        self._used[group, chosen] = next(self._number)
        return chosen

    def _by_weight(self, group: Hashable, members: Sequence[Member], weights: Sequence[int]) -> Member:
        for member, weight in zip(members, weights, strict=True):
            self._credit[group, member] = self._credit.get((group, member), 0) + max(weight, 0)
        chosen = max(members, key=lambda member: self._credit[group, member])
        self._credit[group, chosen] -= sum(max(weight, 0) for weight in weights)
        return chosen

    def forget(self) -> None:
        """Start anew, after a configuration change."""
        self._used.clear()
        self._credit.clear()
