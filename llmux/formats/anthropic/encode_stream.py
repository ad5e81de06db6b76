"""Events as a Messages stream (TRANSLATION 3.8, 5.2 to 5.4 A)."""

from __future__ import annotations

from typing import Any

from llmux.formats import ids, stops
from llmux.formats import usage as counts
from llmux.formats.anthropic.errors import encode_stream_error
from llmux.formats.client import ClientCtx
from llmux.formats.events import Args, Delta, End, Event, Fail, Finish, PartStart, PartStop, Ping, Sign, Start, Stop
from llmux.formats.jsontext import compact
from llmux.formats.lenient import dump
from llmux.formats.neutral import Opaque
from llmux.formats.opaque import tag
from llmux.formats.stream_encoder import Encoder
from llmux.formats.toolset import CUSTOM_INPUT

_TEXT_DELTA = (b'{"type":"text_delta","text":', b'{"type":"thinking_delta","thinking":')


class StreamEncoder(Encoder):
    """Writes the events of a Messages stream: blocks one after the other, numbered by their place.

    Only choice 0 is written. What belongs to a part that started while another was open waits till that one stops.
    """

    __slots__ = (
        "_calls",
        "_current",
        "_free",
        "_index",
        "_late",
        "_open_thought",
        "_prefix",
        "_signed",
        "_stop",
        "_waiting",
    )

    def __init__(self, ctx: ClientCtx) -> None:
        super().__init__(ctx)
        self._index = -1  # of the block that was opened last
        self._current: PartStart | None = None
        self._prefix = b""
        self._free: list[str] = []  # the text of an open free-form call
        self._signed = False
        self._open_thought = False  # a thinking part is over, its block waits for the signature of the next part
        self._waiting: dict[int, list[Event]] = {}
        self._late: list[Opaque] = []
        self._calls = 0
        self._stop = Stop("end")

    def _send(self, name: str, data: dict[str, Any]) -> None:
        self._out.append((name, dump({"type": name, **data})))

    def _start(self, event: Start) -> None:
        super()._start(event)
        known = counts.to_anthropic(self.usage)
        known.pop("output_tokens_details", None)
        known["output_tokens"] = 0
        self._send(
            "message_start",
            {
                "message": {
                    "id": ids.message_id("anthropic", self.stem),
                    "type": "message",
                    "role": "assistant",
                    "model": self.ctx.model,
                    "content": [],
                    "stop_reason": None,
                    "stop_sequence": None,
                    "usage": known,
                }
            },
        )

    # ------------------------------------------------------------------------------------------------------- parts

    def _part_start(self, event: PartStart) -> None:
        if event.choice:
            return
        if self._current is not None:
            self._waiting[event.i] = [event]
            return
        if event.signature is not None and not self._open_thought:
            self._empty_thought(event.signature)
        elif event.signature is not None:
            self._signature(event.signature)
        self._close_thought()
        self._current = event
        self._signed = False
        if event.kind == "redacted":
            return
        self._open_block(self._block(event))
        member = _TEXT_DELTA[event.kind == "thinking"]
        if event.kind == "call":
            member = b'{"type":"input_json_delta","partial_json":'
        self._prefix = b'{"type":"content_block_delta","index":%d,"delta":%s' % (self._index, member)

    def _block(self, event: PartStart) -> dict[str, Any]:
        if event.kind == "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        if event.kind != "call":
            return {"type": "text", "text": ""}
        call_id = self.ctx.call_id(event, self.stem, self._calls)
        self._calls += 1
        return {"type": "tool_use", "id": call_id, "name": event.name, "input": {}}

    def _open_block(self, block: dict[str, Any]) -> None:
        self._index += 1
        self._send("content_block_start", {"index": self._index, "content_block": block})

    def _close_block(self) -> None:
        self._send("content_block_stop", {"index": self._index})

    def _delta(self, event: Delta) -> None:
        if self._current is not None and self._current.i == event.i:
            self._out.append(("content_block_delta", b"%s%s}}" % (self._prefix, dump(event.text))))
        elif event.i in self._waiting:
            self._waiting[event.i].append(event)

    def _args(self, event: Args) -> None:
        if self._current is not None and self._current.i == event.i:
            if self._current.custom:
                self._free.append(event.json_text)
                return
            self._out.append(("content_block_delta", b"%s%s}}" % (self._prefix, dump(event.json_text))))
        elif event.i in self._waiting:
            self._waiting[event.i].append(event)

    def _sign(self, event: Sign) -> None:
        if event.i in self._waiting:
            self._waiting[event.i].append(event)
        elif self._current is not None and self._current.i == event.i:
            if self._current.kind == "thinking":
                self._signature(event.opaque)
                self._signed = True
            elif self._current.kind == "redacted":
                self._redacted(event.opaque)
            else:
                self._late.append(event.opaque)

    def _part_stop(self, event: PartStop) -> None:
        if event.i in self._waiting:
            self._waiting[event.i].append(event)
            return
        if self._current is None or self._current.i != event.i:
            return
        kind = self._current.kind
        if self._current.custom:
            text = compact({CUSTOM_INPUT: "".join(self._free)})
            self._free.clear()
            self._out.append(("content_block_delta", b"%s%s}}" % (self._prefix, dump(text))))
        self._current = None
        if kind == "thinking" and not self._signed:
            self._open_thought = True
        elif kind != "redacted":
            self._close_block()
        while self._waiting and self._current is None:
            first = next(iter(self._waiting))
            for held in self._waiting.pop(first):
                self._replay(held)

    def _replay(self, event: Event) -> None:
        if isinstance(event, PartStart):
            self._part_start(event)
        elif isinstance(event, Delta):
            self._delta(event)
        elif isinstance(event, Args):
            self._args(event)
        elif isinstance(event, Sign):
            self._sign(event)
        elif isinstance(event, PartStop):
            self._part_stop(event)

    # -------------------------------------------------------------------------------------------------- signatures

    def _signature(self, opaque: Opaque) -> None:
        delta = {"type": "signature_delta", "signature": slot(opaque)}
        self._send("content_block_delta", {"index": self._index, "delta": delta})

    def _close_thought(self) -> None:
        if self._open_thought:
            self._open_thought = False
            self._close_block()

    def _empty_thought(self, opaque: Opaque) -> None:
        self._close_thought()
        self._open_block({"type": "thinking", "thinking": "", "signature": ""})
        self._signature(opaque)
        self._close_block()

    def _redacted(self, opaque: Opaque) -> None:
        if opaque.origin == "anthropic" and opaque.kind == "redacted":
            self._open_block({"type": "redacted_thinking", "data": opaque.raw})
            self._close_block()
        else:
            self._empty_thought(opaque)

    # --------------------------------------------------------------------------------------------------------- end

    def _finish(self, event: Finish) -> None:
        if event.choice:
            return
        self._stop = event.stop
        self._close_thought()
        for opaque in self._late:
            self._empty_thought(opaque)
        self._late.clear()

    def _end(self, event: End) -> None:
        delta = {"stop_reason": stops.TO_ANTHROPIC[self._stop.kind], "stop_sequence": self._stop.sequence}
        delta.update(stop_details(self._stop))
        self._send("message_delta", {"delta": delta, "usage": counts.to_anthropic(self.usage)})
        self._send("message_stop", {})

    def _fail(self, event: Fail) -> None:
        self._out.append(("error", dump(encode_stream_error(event.error))))

    def _ping(self, event: Ping) -> None:
        self._out.append(("ping", b'{"type":"ping"}'))


def slot(opaque: Opaque) -> str:
    """The blob for `signature`: raw when it is Anthropic's own, else tagged (TRANSLATION 2.7)."""
    return opaque.raw if opaque.origin == "anthropic" and opaque.kind == "think" else tag(opaque)


def stop_details(stop: Stop) -> dict[str, Any]:
    """`stop_details` for an answer that a filter ended: the provider's own word for the reason."""
    explanation = stop.raw if stop.kind == "filter" else stop.detail
    if explanation is None or stop.kind not in ("filter", "refusal"):
        return {}
    return {"stop_details": {"type": "refusal", "category": None, "explanation": explanation}}
