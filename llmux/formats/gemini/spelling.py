"""Member names of Gemini's JSON: clients may write them in camel or in snake case, as protobuf JSON allows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any


def camel(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object with its own member names in camel case; what they hold is untouched."""
    if not any("_" in name for name in members):
        return members
    return {_camel_name(name) if len(name) < 64 else name: value for name, value in members.items()}


@lru_cache(maxsize=512)
def _camel_name(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)
