"""A key that cannot be printed by accident."""

from __future__ import annotations


def mask(value: str) -> str:
    """Show at most the first and last four characters of a long value, and nothing of a short one (SPEC R-LG-2)."""
    if len(value) <= 8:
        return "*" * 4
    shown = min(4, (len(value) - 4) // 4)
    if shown < 1:
        return "*" * 4
    return f"{value[:shown]}...{value[-shown:]}"


class Secret:
    """Holds a credential; `reveal()` gives it, `str()` and `repr()` give the masked form."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The credential itself, for the wire only."""
        return self._value

    def __str__(self) -> str:
        return mask(self._value)

    def __repr__(self) -> str:
        return f"Secret({mask(self._value)})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)
