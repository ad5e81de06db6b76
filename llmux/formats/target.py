"""What a request is encoded for, and what comes of it (TRANSLATION 2.1)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmux.formats.capabilities import Capabilities
from llmux.formats.losses import too_deep
from llmux.formats.neutral import Format, Request

_USER_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Target:
    """The upstream model, what it understands, and whether every loss is a refusal (`translate.strict`)."""

    model: str
    capabilities: Capabilities
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request in the upstream's format: its body, path with query below the service's root, and headers.

    `warnings` are the codes for `x-llmux-warning`, in order, each once.
    """

    body: dict[str, Any] = field(repr=False)
    path: str
    headers: list[tuple[bytes, bytes]]
    warnings: tuple[str, ...]


def guarded(encode: Callable[[Request, Target], Encoded], request: Request, target: Target) -> Encoded:
    """Run an encoder so that it raises RequestRefused and nothing else."""
    try:
        return encode(request, target)
    except RecursionError:
        raise too_deep() from None


_TO_ANTHROPIC: Mapping[str, str] = {
    "auto": "auto",
    "default": "standard_only",
    "priority": "auto",
    "fast": "auto",
    "scale": "auto",
    "ultrafast": "auto",
}
_TO_GEMINI: Mapping[str, str | None] = {
    "auto": None,
    "default": "standard",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
    "scale": "priority",
    "ultrafast": "priority",
}
_OPENAI: Mapping[str, str] = {tier: tier for tier in ("auto", "default", "flex", "scale", "priority", "fast")}
_TIERS: Mapping[Format, Mapping[str, str | None]] = {
    "anthropic": _TO_ANTHROPIC,
    "gemini": _TO_GEMINI,
    "chat": _OPENAI,
    "responses": {**_OPENAI, "ultrafast": "ultrafast"},
}


def tier(asked: str | None, target: Format) -> tuple[str | None, bool]:
    """The target's word for a service tier given in OpenAI's words, and whether the wish was lost (TRANSLATION 3.1)."""
    if asked is None:
        return None, False
    words = _TIERS[target]
    return words.get(asked), asked not in words


def user_id(user: str | None) -> str | None:
    """An end user's id as vendors take it: what is longer than 64 characters becomes its sha256 in hex."""
    if user is None or len(user) <= _USER_LENGTH:
        return user
    return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


def said(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that have a value: None means not said."""
    return {name: value for name, value in members.items() if value is not None}
