"""A whole Messages answer, unfolded into events (TRANSLATION 2.1.3)."""

from __future__ import annotations

from typing import Any

from llmux.formats.anthropic.decode_stream import StreamDecoder
from llmux.formats.events import Event
from llmux.formats.lenient import mappings


def decode_response(body: dict[str, Any]) -> tuple[list[Event], list[str]]:
    """The events of an answer, and warnings; the last is `Fail` for a 200 that holds an error or no message."""
    decoder = StreamDecoder()
    if body.get("type") == "error" or "error" in body:
        return decoder.feed_object("error", {**body, "type": "error"}), decoder.warnings
    if "content" not in body:
        return decoder.close(), decoder.warnings
    events = decoder.feed_object(None, {"type": "message_start", "message": body})
    for index, block in enumerate(mappings(body.get("content"))):
        events += decoder.feed_object(None, {"type": "content_block_start", "index": index, "content_block": block})
        events += decoder.feed_object(None, {"type": "content_block_stop", "index": index})
    events += decoder.feed_object(None, {"type": "message_delta", "delta": body})
    events += decoder.feed_object(None, {"type": "message_stop"})
    return events, decoder.warnings
