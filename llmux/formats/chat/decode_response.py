"""A whole Chat Completions answer, unfolded into events (TRANSLATION 2.1.3)."""

from __future__ import annotations

from typing import Any

from llmux.formats.chat.decode_stream import StreamDecoder
from llmux.formats.events import Event
from llmux.formats.lenient import mapping, mappings


def decode_response(body: dict[str, Any]) -> tuple[list[Event], list[str]]:
    """The events of an answer, and warnings; the last is `Fail` for a 200 that holds an error or no choice."""
    decoder = StreamDecoder()
    events = decoder.feed_object(
        None, {**body, "choices": [_as_chunk(entry) for entry in mappings(body.get("choices"))]}
    )
    return events + decoder.feed(None, b"[DONE]"), decoder.warnings


def _as_chunk(entry: dict[str, Any]) -> dict[str, Any]:
    message = mapping(entry.get("message"))
    calls = [{**call, "index": number} for number, call in enumerate(mappings(message.get("tool_calls")))]
    delta = {**message, "tool_calls": calls} if calls else {**message, "tool_calls": None}
    return {**entry, "delta": delta, "message": None}
