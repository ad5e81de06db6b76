"""A whole generateContent answer, unfolded into events (TRANSLATION 2.1.3)."""

from __future__ import annotations

from typing import Any

from llmux.formats.events import Event
from llmux.formats.gemini.decode_stream import StreamDecoder


def decode_response(body: dict[str, Any]) -> tuple[list[Event], list[str]]:
    """The events of an answer, and warnings; the last is `Fail` for a 200 that holds an error or nothing."""
    decoder = StreamDecoder()
    events = decoder.feed_object(None, body)
    return events + decoder.close(), decoder.warnings
