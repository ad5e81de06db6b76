"""Events as one Responses answer: the last snapshot of the stream (TRANSLATION 3.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmux.formats.client import ClientCtx
from llmux.formats.events import Event
from llmux.formats.responses.encode_stream import StreamEncoder


def encode_response(events: Iterable[Event], ctx: ClientCtx) -> tuple[dict[str, Any], list[str]]:
    """The body of the answer, and warnings. The events must not hold a `Fail`."""
    encoder = StreamEncoder(ctx)
    for event in events:
        encoder.feed(event)
    return encoder.response, encoder.warnings
