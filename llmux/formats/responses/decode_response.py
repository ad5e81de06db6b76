"""A whole Responses answer, unfolded into events (TRANSLATION 2.1.3)."""

from __future__ import annotations

from typing import Any

from llmux.formats.events import Event
from llmux.formats.responses.decode_stream import StreamDecoder


def decode_response(body: dict[str, Any]) -> tuple[list[Event], list[str]]:
    """The events of an answer, and warnings; the last is `Fail` for a failed answer or a 200 that holds an error."""
    decoder = StreamDecoder()
    failed = body.get("status") == "failed"
    if failed or ("output" not in body and body.get("error")):
        wrapped = {"type": "response.failed", "response": body} if failed else {**body, "type": "error"}
        return decoder.feed_object(None, wrapped), decoder.warnings
    if type(body.get("output")) is not list:
        return decoder.close(), decoder.warnings
    kind = "response.incomplete" if body.get("status") == "incomplete" else "response.completed"
    return decoder.feed_object(None, {"type": kind, "response": body}), decoder.warnings
