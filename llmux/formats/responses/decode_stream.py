"""Responses streams of a provider, as events (TRANSLATION 5.1 R)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmux.formats import stops, usage
from llmux.formats.citations import from_annotation
from llmux.formats.events import Cite, Delta, Finish, Ground, PartKind, PartStart, Sign, Stop, StopKind, Use
from llmux.formats.lenient import count, mapping, mappings, maybe, string
from llmux.formats.logprobs import from_openai
from llmux.formats.neutral import Opaque
from llmux.formats.responses.errors import decode_stream_error
from llmux.formats.stream_decoder import Decoder, StreamFailed

_INCOMPLETE: dict[str, StopKind] = {"max_output_tokens": "max", "content_filter": "filter"}
_TEXTUAL = ("message", "reasoning")
_CALLS = ("function_call", "custom_tool_call")


class _Text:
    """One text, refusal or thinking part: `i` None means closed or not open yet, `length` what was delivered of it."""

    __slots__ = ("cited", "first", "i", "kind", "length")

    def __init__(self, kind: PartKind) -> None:
        self.kind = kind
        self.i: int | None = None
        self.length = 0
        self.first = 0
        self.cited = 0


class _Item:
    """One output item; `texts` by content index, a reasoning item has one under 0."""

    __slots__ = ("done", "gap", "i", "kind", "length", "summaries", "texts")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.i: int | None = None
        self.length = 0
        self.texts: dict[int, _Text] = {}
        self.summaries = 0
        self.gap = False
        self.done = False


class StreamDecoder(Decoder):
    """Reads the events of a Responses stream; unknown events and items are passed over."""

    __slots__ = ("_called", "_items", "_length", "_refused", "_text")

    def __init__(self) -> None:
        super().__init__()
        self._items: dict[int, _Item] = {}
        self._text: _Text | None = None  # the one open part that is no call
        self._called = self._refused = False
        self._length = 0

    def _read(self, event: str | None, chunk: dict[str, Any]) -> None:
        kind = string(chunk.get("type") or event)
        if kind == "error" or kind == "response.failed" or (not kind and "error" in chunk):
            raise StreamFailed(decode_stream_error(chunk))
        handler = _HANDLERS.get(kind)
        if handler is None:
            return
        if not self.started:
            response = mapping(chunk.get("response"))
            self._start(
                maybe(response.get("id")),
                maybe(response.get("model")),
                count(response.get("created_at")),
                None,
                maybe(response.get("service_tier")),
            )
        handler(self, chunk)

    # ------------------------------------------------------------------------------------------------------ items

    def _find(self, chunk: dict[str, Any], kind: str) -> _Item:
        index = count(chunk.get("output_index")) or 0
        item = self._items.get(index)
        if item is None:
            self._count(-1, 64)
            item = self._items[index] = _Item(kind)
        return item

    def _item_added(self, chunk: dict[str, Any]) -> None:
        raw = mapping(chunk.get("item"))
        kind = string(raw.get("type"))
        index = count(chunk.get("output_index")) or 0
        known = self._items.get(index)
        if known is not None and known.kind == kind:
            return
        if known is not None and known.i is not None:
            self._stop(known.i)
        item = self._items[index] = _Item(kind)
        self._count(-1, 64)
        if kind in _CALLS:
            self._open_call(item, raw)
        elif kind == "reasoning":
            self._open_text(item, 0, "thinking")

    def _open_call(self, item: _Item, raw: dict[str, Any]) -> None:
        self._close_text()
        call_id = self._unique(maybe(raw.get("call_id")) or maybe(raw.get("id")))
        self._called = True
        item.i = self._open(
            PartStart(
                self._next,
                "call",
                call_id,
                string(raw.get("name")),
                custom=item.kind == "custom_tool_call",
                namespace=maybe(raw.get("namespace")),
            )
        )

    def _item_done(self, chunk: dict[str, Any]) -> None:
        raw = mapping(chunk.get("item"))
        self._item_added(chunk)
        item = self._items[count(chunk.get("output_index")) or 0]
        if item.done:
            return
        item.done = True
        if item.kind in _CALLS:
            self._rest_of_call(item, string(raw.get("input" if item.kind == "custom_tool_call" else "arguments")))
            if item.i is not None:
                self._stop(item.i)
                item.i = None
        elif item.kind == "reasoning":
            self._reasoning_done(item, raw)
        elif item.kind == "message":
            for index, part in enumerate(mappings(raw.get("content"))):
                self._whole_part(item, index, part)
        elif item.kind == "web_search_call":
            self._search(mapping(raw.get("action")))

    def _search(self, action: dict[str, Any]) -> None:
        queries = action.get("queries")
        found = [query for query in queries if type(query) is str] if type(queries) is list else []
        if not found and maybe(action.get("query")):
            found = [string(action.get("query"))]
        if found:
            self._out.append(Ground(0, tuple(found)))

    # ------------------------------------------------------------------------------------------------------ texts

    def _open_text(self, item: _Item, index: int, kind: PartKind) -> _Text:
        text = item.texts.get(index)
        if text is None:
            self._count(-1, 64)
            text = item.texts[index] = _Text(kind)
            text.first = self._length
        if text.i is None:
            self._close_text()
            text.i = self._open(PartStart(self._next, text.kind))
            self._text = text
            self._refused = self._refused or kind == "refusal"
        return text

    def _close_text(self) -> None:
        text = self._text
        if text is not None and text.i is not None:
            self._stop(text.i)
            text.i = None
        self._text = None

    def _say(self, item: _Item, index: int, kind: PartKind, piece: str, logprobs: Any = None) -> None:
        if not piece or item.kind not in _TEXTUAL:
            return
        text = item.texts.get(index)
        if text is None or text.i is None:
            text = self._open_text(item, index, kind)
        text.length += len(piece)
        if kind == "text":
            self._length += len(piece)
        if text.i is not None:
            self._out.append(Delta(text.i, piece, from_openai(logprobs)))

    def _content_added(self, chunk: dict[str, Any]) -> None:
        part = mapping(chunk.get("part"))
        kind = _PART_KINDS.get(string(part.get("type")))
        if kind is None:
            return
        item = self._find(chunk, "message")
        if item.kind != "message":
            return
        index = count(chunk.get("content_index")) or 0
        self._open_text(item, index, kind)
        self._say(item, index, kind, string(part.get("text") or part.get("refusal")))

    def _text_delta(self, chunk: dict[str, Any]) -> None:
        index = count(chunk.get("content_index")) or 0
        self._say(self._find(chunk, "message"), index, "text", string(chunk.get("delta")), chunk.get("logprobs"))

    def _refusal_delta(self, chunk: dict[str, Any]) -> None:
        index = count(chunk.get("content_index")) or 0
        self._say(self._find(chunk, "message"), index, "refusal", string(chunk.get("delta")))

    def _text_done(self, chunk: dict[str, Any]) -> None:
        self._rest(chunk, "text", string(chunk.get("text")))

    def _refusal_done(self, chunk: dict[str, Any]) -> None:
        self._rest(chunk, "refusal", string(chunk.get("refusal")))

    def _rest(self, chunk: dict[str, Any], kind: PartKind, whole: str) -> None:
        item = self._find(chunk, "message")
        index = count(chunk.get("content_index")) or 0
        text = item.texts.get(index)
        self._say(item, index, kind, whole[text.length if text else 0 :])

    def _content_done(self, chunk: dict[str, Any]) -> None:
        item = self._find(chunk, "message")
        index = count(chunk.get("content_index")) or 0
        self._whole_part(item, index, mapping(chunk.get("part")))

    def _whole_part(self, item: _Item, index: int, part: dict[str, Any]) -> None:
        kind = _PART_KINDS.get(string(part.get("type")))
        if kind is None:
            return
        whole = string(part.get("refusal" if kind == "refusal" else "text"))
        text = item.texts.get(index)
        self._say(item, index, kind, whole[text.length if text else 0 :], part.get("logprobs"))
        text = item.texts.get(index)
        if text is None:
            return
        for raw in mappings(part.get("annotations"))[text.cited :]:
            self._cite(text, raw)
        if text.i is not None:
            self._close_text()

    def _annotation(self, chunk: dict[str, Any]) -> None:
        text = self._find(chunk, "message").texts.get(count(chunk.get("content_index")) or 0)
        if text is not None:
            self._cite(text, mapping(chunk.get("annotation")))

    def _cite(self, text: _Text, raw: dict[str, Any]) -> None:
        text.cited += 1
        citation = from_annotation(raw, text.first)
        if citation is not None and raw.get("type", "url_citation") == "url_citation" and text.i is not None:
            self._out.append(Cite(text.i, citation))

    # -------------------------------------------------------------------------------------------------- reasoning

    def _summary_added(self, chunk: dict[str, Any]) -> None:
        item = self._find(chunk, "reasoning")
        item.summaries += 1
        item.gap = item.summaries > 1

    def _thought_delta(self, chunk: dict[str, Any]) -> None:
        item = self._find(chunk, "reasoning")
        item.summaries = item.summaries or 1
        piece = string(chunk.get("delta"))
        if piece and item.gap:  # a blank line between two parts of a summary leaves with the first piece of the second
            item.gap = False
            piece = "\n\n" + piece
        self._say(item, 0, "thinking", piece)

    def _raw_thought_delta(self, chunk: dict[str, Any]) -> None:
        item = self._find(chunk, "reasoning")
        if not item.summaries:
            self._say(item, 0, "thinking", string(chunk.get("delta")))

    def _reasoning_done(self, item: _Item, raw: dict[str, Any]) -> None:
        known = item.texts.get(0)
        if known is None or not known.length:
            texts = [string(part.get("text")) for part in mappings(raw.get("summary"))]
            if not texts:
                texts = [string(part.get("text")) for part in mappings(raw.get("content"))]
            self._say(item, 0, "thinking", "\n\n".join(texts))
        secret = maybe(raw.get("encrypted_content"))
        if secret is not None:
            text = self._open_text(item, 0, "thinking")
            if text.i is not None:
                self._out.append(Sign(text.i, Opaque("openai", "enc", f"{string(raw.get('id'))}|{secret}")))
        text_now = item.texts.get(0)
        if text_now is not None and text_now.i is not None:
            self._close_text()

    # ------------------------------------------------------------------------------------------------------ calls

    def _call_delta(self, chunk: dict[str, Any]) -> None:
        item = self._find(chunk, "")
        piece = string(chunk.get("delta"))
        if item.i is not None and piece:
            item.length += len(piece)
            self._args(item.i, piece)

    def _arguments_done(self, chunk: dict[str, Any]) -> None:
        self._rest_of_call(self._find(chunk, ""), string(chunk.get("arguments")))

    def _input_done(self, chunk: dict[str, Any]) -> None:
        self._rest_of_call(self._find(chunk, ""), string(chunk.get("input")))

    def _rest_of_call(self, item: _Item, whole: str) -> None:
        rest = whole[item.length :]
        if item.i is not None and rest:
            item.length += len(rest)
            self._args(item.i, rest)

    # -------------------------------------------------------------------------------------------------------- end

    def _nothing(self, chunk: dict[str, Any]) -> None:
        """`response.created` and its like say no more than that the answer begins."""

    def _finished(self, chunk: dict[str, Any]) -> None:
        response = mapping(chunk.get("response"))
        if not self._next:
            for index, raw in enumerate(mappings(response.get("output"))):
                self._item_done({"output_index": index, "item": raw})
        self._close_text()
        for item in self._items.values():
            if item.i is not None:
                self._stop(item.i)
                item.i = None
        raw_usage = response.get("usage")
        if type(raw_usage) is dict and raw_usage:
            self._out.append(Use(usage.from_responses(raw_usage), maybe(response.get("service_tier"))))
        self._out.append(Finish(0, self._stop_of(string(chunk.get("type")), response)))
        self._end()

    def _stop_of(self, kind: str, response: dict[str, Any]) -> Stop:
        status = maybe(response.get("status")) or kind.removeprefix("response.")
        if status == "cancelled":
            return Stop("cancelled", raw=status)
        if status != "incomplete":
            return stops.settled("end", status, self._called, self._refused, self.warnings)
        reason = string(mapping(response.get("incomplete_details")).get("reason"))
        return stops.settled(_INCOMPLETE.get(reason, "end"), reason, self._called, self._refused, self.warnings)


_PART_KINDS: dict[str, PartKind] = {"output_text": "text", "refusal": "refusal"}
_HANDLERS: dict[str, Callable[[StreamDecoder, dict[str, Any]], None]] = {
    "response.created": StreamDecoder._nothing,
    "response.in_progress": StreamDecoder._nothing,
    "response.queued": StreamDecoder._nothing,
    "response.output_item.added": StreamDecoder._item_added,
    "response.output_item.done": StreamDecoder._item_done,
    "response.content_part.added": StreamDecoder._content_added,
    "response.content_part.done": StreamDecoder._content_done,
    "response.output_text.delta": StreamDecoder._text_delta,
    "response.output_text.done": StreamDecoder._text_done,
    "response.output_text.annotation.added": StreamDecoder._annotation,
    "response.refusal.delta": StreamDecoder._refusal_delta,
    "response.refusal.done": StreamDecoder._refusal_done,
    "response.reasoning_summary_part.added": StreamDecoder._summary_added,
    "response.reasoning_summary_text.delta": StreamDecoder._thought_delta,
    "response.reasoning_text.delta": StreamDecoder._raw_thought_delta,
    "response.function_call_arguments.delta": StreamDecoder._call_delta,
    "response.function_call_arguments.done": StreamDecoder._arguments_done,
    "response.custom_tool_call_input.delta": StreamDecoder._call_delta,
    "response.custom_tool_call_input.done": StreamDecoder._input_done,
    "response.completed": StreamDecoder._finished,
    "response.incomplete": StreamDecoder._finished,
    "response.cancelled": StreamDecoder._finished,
}
