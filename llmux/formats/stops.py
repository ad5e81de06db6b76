"""Why an answer ended, in the words of each format (TRANSLATION 3.6)."""

from __future__ import annotations

from llmux.formats.events import Stop, StopKind

_FROM_CHAT: dict[str, StopKind] = {
    "stop": "end",
    "length": "max",
    "tool_calls": "tool",
    "function_call": "tool",
    "content_filter": "filter",
}
TO_CHAT: dict[StopKind, str] = {
    "end": "stop",
    "sequence": "stop",
    "max": "length",
    "window": "length",
    "tool": "tool_calls",
    "filter": "content_filter",
    "refusal": "content_filter",
    "pause": "stop",
    "error": "stop",
    "cancelled": "stop",
}
_FROM_ANTHROPIC: dict[str, StopKind] = {
    "end_turn": "end",
    "max_tokens": "max",
    "stop_sequence": "sequence",
    "tool_use": "tool",
    "pause_turn": "pause",
    "refusal": "refusal",
    "model_context_window_exceeded": "window",
}
TO_ANTHROPIC: dict[StopKind, str] = {
    "end": "end_turn",
    "sequence": "stop_sequence",
    "max": "max_tokens",
    "window": "model_context_window_exceeded",
    "tool": "tool_use",
    "filter": "refusal",
    "refusal": "refusal",
    "pause": "pause_turn",
    "error": "end_turn",
    "cancelled": "end_turn",
}
_GEMINI_FILTERS = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MODEL_ARMOR",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
    }
)
_GEMINI_ERRORS = frozenset(
    {
        "MALFORMED_FUNCTION_CALL",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "MALFORMED_RESPONSE",
        "MISSING_THOUGHT_SIGNATURE",
        "NO_IMAGE",
        "OTHER",
    }
)
_FROM_GEMINI: dict[str, StopKind] = {
    "STOP": "end",
    "FINISH_REASON_UNSPECIFIED": "end",
    "UNSPECIFIED": "end",
    "MAX_TOKENS": "max",
    "CONTINUATION": "max",
}
TO_GEMINI: dict[StopKind, str] = {
    "end": "STOP",
    "sequence": "STOP",
    "max": "MAX_TOKENS",
    "window": "MAX_TOKENS",
    "tool": "STOP",
    "filter": "SAFETY",
    "refusal": "SAFETY",
    "pause": "STOP",
    "error": "OTHER",
    "cancelled": "OTHER",
}
CHANGED = "changed:stop_reason"


def from_chat(reason: str) -> StopKind | None:
    """Kind of a `finish_reason`; None when nobody knows it."""
    return _FROM_CHAT.get(reason)


def from_anthropic(reason: str) -> StopKind | None:
    """Kind of a `stop_reason`; None when nobody knows it."""
    return _FROM_ANTHROPIC.get(reason)


def from_gemini(reason: str) -> StopKind | None:
    """Kind of a `finishReason`; None when nobody knows it."""
    if reason in _GEMINI_FILTERS or reason.startswith("IMAGE_"):
        return "filter"
    return "error" if reason in _GEMINI_ERRORS else _FROM_GEMINI.get(reason)


def settled(kind: StopKind | None, raw: str | None, called: bool, refused: bool, warnings: list[str]) -> Stop:
    """The stop of a choice from the provider's word and from what the choice holds.

    A call turns `end` into `tool`, as several servers say `stop` there; a refusal turns `end` into `refusal`; `tool`
    without a call would leave an agent waiting for one. What nobody knows is an end, with a warning.
    """
    if kind is None:
        warnings.append(CHANGED)
        kind = "end"
    if kind in ("end", "tool"):
        kind = "tool" if called else "refusal" if refused else "end"
    return Stop(kind, raw=raw)


def responses_incomplete(stop: Stop, refused: bool) -> str | None:
    """Reason in `incomplete_details` of a Responses answer; None when it is complete."""
    if stop.kind in ("max", "window"):
        return "max_output_tokens"
    if stop.kind == "filter" or (stop.kind == "refusal" and not refused):
        return "content_filter"
    return None
