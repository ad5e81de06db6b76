"""Tool call arguments as text and as objects (TRANSLATION 4.6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmux.formats.jsontext import compact, parse
from llmux.formats.losses import Losses
from llmux.formats.neutral import Call
from llmux.formats.toolset import CUSTOM_INPUT


def as_text(call: Call) -> str:
    """JSON text: what came as text leaves byte for byte (`{}` for none), free-form input becomes a member `input`."""
    if call.custom:
        return compact({CUSTOM_INPUT: call.arguments or ""})
    if call.arguments is None:
        return compact(_object(call.value))
    return call.arguments if call.arguments.strip() else "{}"


def as_value(call: Call, losses: Losses) -> Any:
    """The JSON value; empty text is an empty object, text that is no JSON goes under `_raw` with a warning."""
    if call.custom:
        return {CUSTOM_INPUT: call.arguments or ""}
    if call.arguments is None:
        return call.value
    if not call.arguments.strip():
        return {}
    try:
        return parse(call.arguments)
    except (ValueError, RecursionError):
        losses.warn("changed:tool_arguments")
        return {"_raw": call.arguments}


def as_object(call: Call, losses: Losses) -> dict[str, Any]:
    """Like `as_value`, but JSON of another kind than object goes under `value`."""
    return _object(as_value(call, losses))


def _object(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {"value": value}
