"""Messages streams of a provider, as events (TRANSLATION 5.1 A)."""

from __future__ import annotations

from typing import Any

from llmux.formats import stops, usage
from llmux.formats.anthropic.errors import decode_stream_error
from llmux.formats.events import (
    Citation,
    Cite,
    Delta,
    Finish,
    Ground,
    PartKind,
    PartStart,
    Ping,
    Sign,
    Stop,
    Use,
)
from llmux.formats.jsontext import compact
from llmux.formats.lenient import arguments, count, mapping, mappings, maybe, string
from llmux.formats.neutral import Opaque
from llmux.formats.stream_decoder import Decoder, StreamFailed


class _Block:
    """One open block: `kind` None is one that the client never sees, whose input is kept only for a web search."""

    __slots__ = ("first", "has_input", "i", "kind", "query", "signature", "sources")

    def __init__(self, kind: PartKind | None, i: int, first: int) -> None:
        self.kind = kind
        self.i = i
        self.first = first
        self.signature: list[str] = []
        self.sources: list[dict[str, Any]] = []
        self.has_input = False
        self.query: list[str] | None = None


class StreamDecoder(Decoder):
    """Reads the events of a Messages stream; the `type` in the data counts, not the name of the event."""

    __slots__ = ("_blocks", "_called", "_finished", "_length", "_usage")

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[int, _Block] = {}
        self._usage: dict[str, Any] = {}
        self._called = False
        self._length = 0
        self._finished = False

    def _at_end(self) -> None:
        if not self._finished:
            super()._at_end()
        self._end()

    def _message_stop(self) -> None:
        if not self.started:
            self._start(None, None, None, None)
        if not self._finished:  # no reason was given, but the end was
            self._finish(stops.settled("end", None, self._called, False, self.warnings))
        self._end()

    def _finish(self, stop: Stop) -> None:
        for index in list(self._blocks):
            self._block_stop(index)
        self._finished = True
        self._out.append(Finish(0, stop))

    def _read(self, event: str | None, chunk: dict[str, Any]) -> None:
        kind = chunk.get("type") or event
        if kind == "content_block_delta":
            self._block_delta(count(chunk.get("index")) or 0, mapping(chunk.get("delta")))
        elif kind == "content_block_start":
            if not self.started:
                self._start(None, None, None, None)
            self._block_start(count(chunk.get("index")) or 0, mapping(chunk.get("content_block")))
        elif kind == "content_block_stop":
            self._block_stop(count(chunk.get("index")) or 0)
        elif kind == "message_start":
            self._message_start(mapping(chunk.get("message")))
        elif kind == "message_delta":
            self._message_delta(chunk)
        elif kind == "message_stop":
            self._message_stop()
        elif kind == "ping":
            self._out.append(Ping())
        elif kind == "error" or (kind is None and "error" in chunk):
            raise StreamFailed(decode_stream_error(chunk))

    def _message_start(self, message: dict[str, Any]) -> None:
        if self.started:
            return
        raw = mapping(message.get("usage"))
        self._usage = usage.merge_anthropic({}, raw)
        known = usage.from_anthropic(raw) if raw else None
        tier = maybe(raw.get("service_tier"))
        self._start(maybe(message.get("id")), maybe(message.get("model")), None, known, tier)
        if known is not None:
            self._out.append(Use(known, tier))

    def _message_delta(self, chunk: dict[str, Any]) -> None:
        raw = mapping(chunk.get("usage"))
        if raw and self.started:
            self._usage = usage.merge_anthropic(self._usage, raw)
            self._out.append(Use(usage.from_anthropic(self._usage), maybe(self._usage.get("service_tier"))))
        delta = mapping(chunk.get("delta"))
        reason = maybe(delta.get("stop_reason"))
        if reason is None or self._finished:
            return
        if not self.started:
            self._start(None, None, None, None)
        kind = stops.from_anthropic(reason)
        settled = stops.settled(kind, reason, self._called, False, self.warnings)
        details = mapping(delta.get("stop_details"))
        sequence, explanation = maybe(delta.get("stop_sequence")), maybe(details.get("explanation"))
        self._finish(Stop(settled.kind, sequence, explanation, settled.raw))

    def _block_start(self, index: int, block: dict[str, Any]) -> None:
        if self._finished:
            return
        for other in [other for other, open_block in self._blocks.items() if open_block.kind != "call"]:
            self._block_stop(other)  # blocks follow each other; one that never stopped must not stay open
        self._block_stop(index)
        kind = block.get("type")
        if kind == "text":
            found = self._blocks[index] = self._part("text")
            self._text(found, string(block.get("text")))
            found.sources.extend(mappings(block.get("citations")))
        elif kind == "thinking":
            found = self._blocks[index] = self._part("thinking")
            self._text(found, string(block.get("thinking")))
            self._sign(found, block.get("signature"))
        elif kind == "redacted_thinking":
            found = self._blocks[index] = self._part("redacted")
            data = maybe(block.get("data"))
            if data is not None:
                self._out.append(Sign(found.i, Opaque("anthropic", "redacted", data)))
        elif kind == "tool_use":
            found = self._blocks[index] = self._call(block)
            given = block.get("input")
            if type(given) is dict and given:
                found.has_input = True
                self._args(found.i, compact(given))
        else:
            hidden = self._blocks[index] = _Block(None, -1, 0)
            if kind == "server_tool_use" and block.get("name") == "web_search":
                given = mapping(block.get("input"))
                hidden.query = [compact(given)] if given else []

    def _part(self, kind: PartKind) -> _Block:
        return _Block(kind, self._open(PartStart(self._next, kind)), self._length)

    def _call(self, block: dict[str, Any]) -> _Block:
        call_id = self._unique(maybe(block.get("id")))
        self._called = True
        i = self._open(PartStart(self._next, "call", call_id, string(block.get("name"))))
        return _Block("call", i, self._length)

    def _block_delta(self, index: int, delta: dict[str, Any]) -> None:
        block = self._blocks.get(index)
        if block is None:
            return
        kind = delta.get("type")
        if kind == "text_delta" and block.kind == "text":
            self._text(block, string(delta.get("text")))
        elif kind == "input_json_delta":
            piece = string(delta.get("partial_json"))
            if piece and block.kind == "call" and not block.has_input:
                self._args(block.i, piece)
            elif piece and block.query is not None:
                self._count(-1, len(piece))
                block.query.append(piece)
        elif kind == "thinking_delta" and block.kind == "thinking":
            self._text(block, string(delta.get("thinking")))
        elif kind == "signature_delta" and block.kind == "thinking":
            self._sign(block, delta.get("signature"))
        elif kind == "citations_delta" and block.kind == "text":
            self._count(-1, 1024)
            block.sources.append(mapping(delta.get("citation")))

    def _text(self, block: _Block, text: str) -> None:
        if text:
            if block.kind == "text":
                self._length += len(text)
            self._out.append(Delta(block.i, text))

    def _sign(self, block: _Block, piece: object) -> None:
        text = string(piece)
        if text:
            self._count(-1, len(text))
            block.signature.append(text)

    def _block_stop(self, index: int) -> None:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        if block.kind is None:
            if block.query is not None:
                query = maybe(arguments("".join(block.query))[0].get("query"))
                if query is not None:
                    self._out.append(Ground(0, (query,)))
            return
        if block.kind == "call" and not block.has_input and not self._sizes.get(block.i):
            self._args(block.i, "{}")
        if block.signature:
            self._out.append(Sign(block.i, Opaque("anthropic", "think", "".join(block.signature))))
        for source in block.sources:
            url = maybe(source.get("url"))
            if url is not None:
                quoted = maybe(source.get("cited_text"))
                self._out.append(
                    Cite(block.i, Citation(url, maybe(source.get("title")), quoted, block.first, self._length))
                )
        self._stop(block.i)
