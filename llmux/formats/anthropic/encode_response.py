"""Events as one Messages answer (TRANSLATION 3.4): the blocks of the stream, put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmux.formats import stops, tiers
from llmux.formats import usage as counts
from llmux.formats.anthropic.encode_stream import StreamEncoder, stop_details
from llmux.formats.client import ClientCtx
from llmux.formats.events import Event, Finish, Stop
from llmux.formats.lenient import arguments, parse

BROKEN_ARGUMENTS = "changed:tool_arguments"


def encode_response(events: Iterable[Event], ctx: ClientCtx) -> tuple[dict[str, Any], list[str]]:
    """The body of the answer, and warnings. The events must not hold a `Fail`."""
    encoder = StreamEncoder(ctx)
    folder = _Folder()
    stop = Stop("end")
    for event in events:
        if isinstance(event, Finish) and event.choice == 0:
            stop = event.stop
        for _, data in encoder.feed(event):
            folder.take(parse(data))
    usage = counts.to_anthropic(encoder.usage)
    tier = tiers.to_anthropic(encoder.tier)
    if tier is not None:
        usage["service_tier"] = tier
    body = {
        **folder.message,
        "content": folder.blocks(),
        "stop_reason": stops.TO_ANTHROPIC[stop.kind],
        "stop_sequence": stop.sequence,
        **stop_details(stop),
        "usage": usage,
    }
    return body, encoder.warnings + folder.warnings


class _Folder:
    """Puts deltas back into their blocks."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.warnings: list[str] = []
        self._blocks: list[dict[str, Any]] = []
        self._pieces: list[list[str]] = []

    def take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "message_start":
            self.message = event["message"]
        elif kind == "content_block_start":
            self._blocks.append(event["content_block"])
            self._pieces.append([])
        elif kind == "content_block_delta":
            delta = event["delta"]
            if delta["type"] == "signature_delta":
                self._blocks[event["index"]]["signature"] = delta["signature"]
            else:
                piece = delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
                self._pieces[event["index"]].append(piece)

    def blocks(self) -> list[dict[str, Any]]:
        """The blocks that hold anything."""
        out = []
        for block, pieces in zip(self._blocks, self._pieces, strict=True):
            whole = "".join(pieces)
            if block["type"] == "tool_use":
                block["input"], broken = arguments(whole)
                if broken and BROKEN_ARGUMENTS not in self.warnings:
                    self.warnings.append(BROKEN_ARGUMENTS)
            elif block["type"] == "thinking":
                block["thinking"] = whole
                if not whole and not block["signature"]:
                    continue
            elif block["type"] == "text":
                block["text"] = whole
                if not whole:
                    continue
            out.append(block)
        return out
