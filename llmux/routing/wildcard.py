"""Model names with `*` in them, as configuration files write them (DESIGN D-13)."""

from __future__ import annotations


def is_pattern(text: str) -> bool:
    """Whether `text` stands for more than the one name it spells."""
    return "*" in text


def matches(pattern: str, name: str) -> bool:
    """Whether `name` is what `pattern` says, where each `*` is any text, also none; case counts.

    Nothing else is special. Each piece is searched once from the left, so the cost is bounded by the two lengths.
    """
    first, *rest = pattern.split("*")
    if not rest:
        return first == name
    last = rest.pop()
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    position, end = len(first), len(name) - len(last)
    for piece in rest:
        found = name.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True


def matches_any(patterns: tuple[str, ...], name: str) -> bool:
    """Whether one of `patterns` matches `name`."""
    return any(matches(pattern, name) for pattern in patterns)
