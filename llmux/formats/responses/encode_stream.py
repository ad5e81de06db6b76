"""Events as a Responses stream (TRANSLATION 3.8, 5.2 to 5.4 R)."""

from __future__ import annotations

from typing import Any, TypeVar

from llmux.formats import ids, stops, tiers
from llmux.formats import usage as counts
from llmux.formats.client import ClientCtx
from llmux.formats.events import (
    Args,
    Cite,
    Delta,
    End,
    Fail,
    Finish,
    Ground,
    PartStart,
    PartStop,
    Sign,
    Start,
    Stop,
)
from llmux.formats.lenient import dump
from llmux.formats.logprobs import to_responses_event
from llmux.formats.neutral import Opaque
from llmux.formats.opaque import tag
from llmux.formats.responses.errors import encode_stream_error
from llmux.formats.responses.output_items import Call, Content, Item, Message, Reasoning, Search, Status
from llmux.formats.stream_encoder import Encoder

_ItemT = TypeVar("_ItemT", bound=Item)


class StreamEncoder(Encoder):
    """Writes the events of a Responses stream. Only choice 0 is written.

    The closing events of the item that came last wait for the next part or the finish, which tells its status.
    """

    __slots__ = (
        "_base",
        "_calls",
        "_items",
        "_last",
        "_late",
        "_length",
        "_parts",
        "_prefixes",
        "_refused",
        "_sequence",
        "_stop",
        "response",
    )

    def __init__(self, ctx: ClientCtx) -> None:
        super().__init__(ctx)
        self.response: dict[str, Any] = {}  # the last snapshot
        self._base: dict[str, Any] = {}
        self._items: list[Item] = []
        self._parts: dict[int, Item] = {}
        self._prefixes: dict[int, bytes] = {}
        self._last: Item | None = None
        self._late: list[Opaque] = []
        self._length = 0
        self._calls = 0
        self._sequence = 0
        self._refused = False
        self._stop = Stop("end")

    def _send(self, name: str, members: dict[str, Any]) -> None:
        data = {"type": name, "sequence_number": self._sequence, **members}
        self._sequence += 1
        self._out.append((name, dump(data)))

    def _snapshot(self, status: str, output: list[dict[str, Any]]) -> dict[str, Any]:
        base = self._base
        echo = {name: value for name, value in self.ctx.request.echo.items() if value is not None}
        self.response = {
            **base,
            "status": status,
            "model": self.ctx.model,
            "output": output,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            **echo,
        }
        return self.response

    def _start(self, event: Start) -> None:
        super()._start(event)
        self._base = {
            "id": ids.message_id("responses", self.stem),
            "object": "response",
            "created_at": event.created or self.ctx.created,
        }
        self._send("response.created", {"response": self._snapshot("in_progress", [])})
        self._send("response.in_progress", {"response": self.response})

    # ------------------------------------------------------------------------------------------------------- parts

    def _part_start(self, event: PartStart) -> None:
        if event.choice:
            return
        if event.signature is not None:
            self._signed_part(event.signature)
        last = self._last
        if event.kind in ("text", "refusal"):
            self._refused = self._refused or event.kind == "refusal"
            if not (isinstance(last, Message) and last.stopped and last.status is None):
                last = self._new_item(Message(self._item_id("msg"), len(self._items)))
            self._open_content(event, last)
        elif event.kind == "call":
            call_id = self.ctx.call_id(event, self.stem, self._calls)
            self._calls += 1
            item_id = self._item_id("ctc" if event.custom else "fc")
            last = self._new_item(Call(item_id, len(self._items), call_id, event.name, event.custom, event.namespace))
            name = "response.custom_tool_call_input" if event.custom else "response.function_call_arguments"
            self._prefixes[event.i] = self._place(name, last)
        else:
            last = self._new_item(Reasoning(self._item_id("rs"), len(self._items)))
        last.stopped = False
        self._parts[event.i] = last

    def _item_id(self, kind: ids.ItemKind) -> str:
        return ids.item_id(kind, self.stem, len(self._items))

    def _new_item(self, item: _ItemT) -> _ItemT:
        self._close_last("completed")
        self._items.append(item)
        self._last = item
        self._send("response.output_item.added", {"output_index": item.index, "item": item.opening()})
        return item

    def _place(self, name: str, item: Item, place: bytes = b"") -> bytes:
        """The bytes of a delta around its sequence number: made once per part, since deltas are most of a stream."""
        known = b',"item_id":%s,"output_index":%d%s,"delta":' % (dump(item.id), item.index, place)
        return b'{"type":"%s.delta","sequence_number":%%d%s%%s' % (name.encode(), known)

    def _open_content(self, event: PartStart, message: Message) -> None:
        refusal = event.kind == "refusal"
        if message.contents and message.contents[-1].refusal == refusal:
            content = message.contents[-1]
        else:
            if message.contents:
                self._close_content(message)
            content = Content(refusal, self._length)
            message.contents.append(content)
            self._send(
                "response.content_part.added",
                {
                    "item_id": message.id,
                    "output_index": message.index,
                    "content_index": len(message.contents) - 1,
                    "part": content.part(),
                },
            )
        name = "response.refusal" if refusal else "response.output_text"
        place = b',"content_index":%d' % (len(message.contents) - 1)
        self._prefixes[event.i] = self._place(name, message, place)

    def _delta(self, event: Delta) -> None:
        item = self._parts.get(event.i)
        if isinstance(item, Message):
            content = item.contents[-1]
            content.pieces.append(event.text)
            tail = b"}"
            if not content.refusal:
                self._length += len(event.text)
                content.logprobs += event.logprobs or ()
                tail = (
                    b',"logprobs":%s}' % dump(to_responses_event(event.logprobs))
                    if event.logprobs
                    else b',"logprobs":[]}'
                )
            name = "response.refusal.delta" if content.refusal else "response.output_text.delta"
            self._piece(event.i, name, event.text, tail)
        elif isinstance(item, Reasoning):
            if not item.pieces:
                self._send("response.reasoning_summary_part.added", self._summary(item, "part", ""))
                place = b',"summary_index":0'
                self._prefixes[event.i] = self._place("response.reasoning_summary_text", item, place)
            item.pieces.append(event.text)
            self._piece(event.i, "response.reasoning_summary_text.delta", event.text, b"}")

    def _piece(self, i: int, name: str, text: str, tail: bytes) -> None:
        self._out.append((name, self._prefixes[i] % (self._sequence, dump(text) + tail)))
        self._sequence += 1

    def _args(self, event: Args) -> None:
        item = self._parts.get(event.i)
        if isinstance(item, Call):
            item.pieces.append(event.json_text)
            name = "response.custom_tool_call_input" if item.custom else "response.function_call_arguments"
            self._piece(event.i, f"{name}.delta", event.json_text, b"}")

    def _cite(self, event: Cite) -> None:
        item = self._parts.get(event.i)
        if isinstance(item, Message) and item.status is None:
            item.contents[-1].citations.append(event.citation)

    def _ground(self, event: Ground) -> None:
        if event.choice or not event.queries:
            return
        if self._last is not None and self._last.stopped:
            self._close_last("completed")
        search = Search(self._item_id("ws"), len(self._items), event.queries)
        self._items.append(search)
        self._send("response.output_item.added", {"output_index": search.index, "item": search.opening()})
        self._close(search, "completed")

    def _part_stop(self, event: PartStop) -> None:
        item = self._parts.get(event.i)
        if item is None:
            return
        item.stopped = True
        if isinstance(item, Call) and not item.custom and not item.pieces:
            self._args(Args(event.i, "{}"))
        if item is not self._last:
            self._close(item, "completed")

    # -------------------------------------------------------------------------------------------------- signatures

    def _sign(self, event: Sign) -> None:
        item = self._parts.get(event.i)
        if isinstance(item, Reasoning):
            item.secret = slot(event.opaque)
        elif item is not None:
            self._late.append(event.opaque)

    def _signed_part(self, opaque: Opaque) -> None:
        last = self._last
        if isinstance(last, Reasoning) and last.stopped and last.status is None and last.secret is None:
            last.secret = slot(opaque)
        else:
            self._empty_reasoning(opaque)

    def _empty_reasoning(self, opaque: Opaque) -> None:
        item = self._new_item(Reasoning(self._item_id("rs"), len(self._items)))
        item.secret = slot(opaque)
        item.stopped = True
        self._close(item, "completed")

    # ----------------------------------------------------------------------------------------------------- closing

    def _close_last(self, status: Status) -> None:
        if self._last is not None and self._last.stopped:
            self._close(self._last, status)

    def _close(self, item: Item, status: Status) -> None:
        if item.status is not None:
            return
        item.status = status
        if isinstance(item, Message):
            self._close_content(item)
        elif isinstance(item, Reasoning) and item.pieces:
            self._send("response.reasoning_summary_text.done", self._summary(item, "text", item.text))
            self._send("response.reasoning_summary_part.done", self._summary(item, "part", item.text))
        elif isinstance(item, Call):
            self._close_call(item)
        self._send("response.output_item.done", {"output_index": item.index, "item": item.final(status)})

    def _close_content(self, message: Message) -> None:
        content = message.contents[-1]
        place = {
            "item_id": message.id,
            "output_index": message.index,
            "content_index": len(message.contents) - 1,
        }
        if content.refusal:
            self._send("response.refusal.done", {**place, "refusal": content.text})
        else:
            done = {**place, "text": content.text, "logprobs": to_responses_event(content.logprobs)}
            self._send("response.output_text.done", done)
        self._send("response.content_part.done", {**place, "part": content.part()})

    def _close_call(self, call: Call) -> None:
        place: dict[str, Any] = {"item_id": call.id, "output_index": call.index}
        if call.custom:
            self._send("response.custom_tool_call_input.done", {**place, "input": call.text})
        else:
            done = {**place, "name": call.name, "arguments": call.text}
            self._send("response.function_call_arguments.done", done)

    def _summary(self, item: Reasoning, member: str, text: str) -> dict[str, Any]:
        value = {"type": "summary_text", "text": text} if member == "part" else text
        return {"item_id": item.id, "output_index": item.index, "summary_index": 0, member: value}

    # --------------------------------------------------------------------------------------------------------- end

    def _finish(self, event: Finish) -> None:
        if event.choice:
            return
        self._stop = event.stop
        incomplete = stops.responses_incomplete(event.stop, self._refused) is not None
        if self._last is not None and self._last.status is None:
            self._close(self._last, "incomplete" if incomplete else "completed")
        for opaque in self._late:
            self._empty_reasoning(opaque)
        self._late.clear()

    def _end(self, event: End) -> None:
        reason = stops.responses_incomplete(self._stop, self._refused)
        status = "completed" if reason is None else "incomplete"
        response = self._snapshot(status, [item.final(item.status or "completed") for item in self._items])
        # Zeros when the upstream said nothing (TRANSLATION 6, case 5): some clients' types require the member.
        response["usage"] = counts.to_responses(self.usage)
        tier = tiers.to_openai(self.tier)
        if tier is not None:
            response["service_tier"] = tier
        if reason is not None:
            response["incomplete_details"] = {"reason": reason}
        self._send(f"response.{status}", {"response": response})

    def _fail(self, event: Fail) -> None:
        if not self.started:
            self._start(Start())
        output = [item.final(item.status or "incomplete") for item in self._items]
        response = self._snapshot("failed", output)
        response["error"] = encode_stream_error(event.error)
        self._send("response.failed", {"response": response})


def slot(opaque: Opaque) -> str:
    """The blob for `encrypted_content`: raw when it is OpenAI's own, else tagged (TRANSLATION 2.7)."""
    return opaque.raw.partition("|")[2] if opaque.origin == "openai" else tag(opaque)
