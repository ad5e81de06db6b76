"""The service tier that an answer names, in the client's words (TRANSLATION 3.1, 3.4)."""

from __future__ import annotations

_TO_OPENAI = {
    "standard": "default",
    "standard_only": "default",
    **{tier: tier for tier in ("auto", "default", "flex", "scale", "priority")},
}
_TO_ANTHROPIC = {"default": "standard", **{tier: tier for tier in ("standard", "priority", "batch")}}


def to_openai(tier: str | None) -> str | None:
    """`service_tier` of Chat and Responses; None where the word has no counterpart."""
    return _TO_OPENAI.get(tier) if tier else None


def to_anthropic(tier: str | None) -> str | None:
    """`usage.service_tier` of Messages; None where the word has no counterpart."""
    return _TO_ANTHROPIC.get(tier) if tier else None
