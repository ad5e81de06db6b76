"""Chat Completions streams of a provider, as events (TRANSLATION 5.1 C)."""

from __future__ import annotations

from typing import Any

from llmux.formats import failures, stops, usage
from llmux.formats.chat.errors import decode_stream_error
from llmux.formats.citations import from_annotation
from llmux.formats.events import Cite, Delta, Event, Finish, PartKind, PartStart, Usage, Use
from llmux.formats.jsontext import compact
from llmux.formats.lenient import BracketCount, count, mapping, mappings, maybe, string
from llmux.formats.logprobs import from_openai
from llmux.formats.stream_decoder import MAX_CHOICES, Decoder, StreamFailed


class _Call:
    """One tool call: `i` is None until id and name are known; its pieces wait in `held` till then."""

    __slots__ = ("custom", "done", "held", "i", "id", "name", "progress", "unread")

    def __init__(self) -> None:
        self.i: int | None = None
        self.id: str | None = None
        self.name: str | None = None
        self.custom = False
        self.held: list[str] = []
        self.done = False
        self.progress = BracketCount()
        self.unread: list[str] = []

    def complete(self) -> bool:
        """Whether the arguments so far are a whole JSON object; looked at only when a later call has started."""
        for piece in self.unread:
            self.progress.feed(piece)
        self.unread.clear()
        return self.progress.complete


class _Choice:
    """One choice: `kind` and `i` are those of its open text, refusal or thinking part."""

    __slots__ = ("calls", "cited", "finished", "i", "index", "kind", "open", "refused", "text_i")

    def __init__(self, index: int) -> None:
        self.index = index
        self.kind: PartKind | None = None
        self.i = 0
        self.text_i: int | None = None
        self.calls: dict[int | str, _Call] = {}
        self.open: list[_Call] = []
        self.refused = False
        self.finished = False
        self.cited = 0


class StreamDecoder(Decoder):
    """Reads `chat.completion.chunk` objects and `[DONE]`."""

    __slots__ = ("_choices", "_raw_usage", "_tier")

    def __init__(self) -> None:
        super().__init__()
        self._choices: dict[int, _Choice] = {}
        self._raw_usage: dict[str, Any] | None = None
        self._tier: str | None = None

    def _not_an_object(self, data: bytes | str) -> list[Event]:
        return self._done() if data.strip() in (b"[DONE]", "[DONE]") else super()._not_an_object(data)

    def _done(self) -> list[Event]:
        if not self.started:
            self._fail(failures.TRUNCATED)
        else:  # some servers forget the reason, but `[DONE]` says that nothing is missing
            for choice in self._choices.values():
                self._finish(choice, "end", None)
            self._end()
        return self._taken()

    def _at_end(self) -> None:
        if not self._choices or not all(choice.finished for choice in self._choices.values()):
            raise StreamFailed(failures.TRUNCATED)
        self._end()

    def _read(self, event: str | None, chunk: dict[str, Any]) -> None:
        if chunk.get("error"):
            raise StreamFailed(decode_stream_error(chunk))
        raw_usage = chunk.get("usage")
        if raw_usage is not None:
            if type(raw_usage) is not dict or raw_usage == self._raw_usage:
                raw_usage = None
            else:
                self._raw_usage = raw_usage
        choices = chunk.get("choices")
        for entry in choices if type(choices) is list else ():
            if type(entry) is dict:
                if not self.started:
                    self._begin(chunk, usage.from_chat(raw_usage) if raw_usage else None)
                self._choice(entry)
        if raw_usage is not None and self.started:
            self._out.append(Use(usage.from_chat(raw_usage), maybe(chunk.get("service_tier")) or self._tier))

    def _begin(self, chunk: dict[str, Any], known: Usage | None) -> None:
        self._tier = maybe(chunk.get("service_tier"))
        created = count(chunk.get("created"))
        self._start(maybe(chunk.get("id")), maybe(chunk.get("model")), created, known, self._tier)

    def _choice(self, entry: dict[str, Any]) -> None:
        index = entry.get("index")
        if type(index) is not int or index:
            index = count(index) or 0
        choice = self._choices.get(index)
        if choice is None:
            if len(self._choices) >= MAX_CHOICES:
                return
            choice = self._choices[index] = _Choice(index)
        if choice.finished:
            return
        delta = entry.get("delta")
        if type(delta) is dict and delta:
            content = delta.get("content")
            if choice.kind == "text" and len(delta) == 1 and type(content) is str and not entry.get("logprobs"):
                if content:  # nearly every chunk
                    self._out.append(Delta(choice.i, content))
            else:
                self._delta(choice, delta, entry.get("logprobs"))
        reason = entry.get("finish_reason")
        if type(reason) is str and reason:
            self._finish(choice, reason, reason)

    def _delta(self, choice: _Choice, delta: dict[str, Any], logprobs: Any) -> None:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if type(thought) is str and thought:
            self._text(choice, "thinking", thought, None)
        content = delta.get("content")
        if type(content) is list:
            content = "".join(string(part.get("text")) for part in mappings(content) if part.get("type") == "text")
        if type(content) is str and content:
            self._text(choice, "text", content, from_openai(mapping(logprobs).get("content")))
        refusal = delta.get("refusal")
        if type(refusal) is str and refusal:
            choice.refused = True
            self._text(choice, "refusal", refusal, None)
        if delta.get("annotations"):
            self._cite(choice, mappings(delta["annotations"]))
        calls = delta.get("tool_calls")
        if type(calls) is list:
            for position, entry in enumerate(calls):
                if type(entry) is dict:
                    self._call(choice, self._key(choice, entry, position), entry)
        legacy = delta.get("function_call")
        if type(legacy) is dict and legacy:
            self._call(choice, "legacy", {"function": legacy})

    def _text(self, choice: _Choice, kind: PartKind, text: str, logprobs: list[dict[str, Any]] | None) -> None:
        if choice.kind != kind:
            self._close_text(choice)
            for call in [call for call in choice.open if call.complete()]:
                self._stop_call(choice, call)
            choice.i = self._open(PartStart(self._next, kind, choice=choice.index))
            choice.kind = kind
            if kind == "text":
                choice.text_i = choice.i
        self._out.append(Delta(choice.i, text, logprobs))

    def _close_text(self, choice: _Choice) -> None:
        if choice.kind is not None:
            self._stop(choice.i)
            choice.kind = None

    def _cite(self, choice: _Choice, annotations: list[dict[str, Any]]) -> None:
        for raw in annotations:
            citation = from_annotation(mapping(raw.get("url_citation")))
            if citation is not None and choice.text_i is not None:
                self._out.append(Cite(choice.text_i, citation))

    def _key(self, choice: _Choice, entry: dict[str, Any], position: int) -> int | str:
        index = count(entry.get("index"))
        if index is not None:
            return index
        call_id = maybe(entry.get("id"))
        if call_id is None:  # goes on with the call that came last
            return next(reversed(choice.calls), position)
        for key, call in choice.calls.items():
            if call.id == call_id:
                return key
        return position if position not in choice.calls else f"id {call_id}"

    def _call(self, choice: _Choice, key: int | str, entry: dict[str, Any]) -> None:
        call = choice.calls.get(key)
        if call is None:
            call = choice.calls[key] = _Call()
            self._count(-1, 64)
        if call.done:
            return
        custom = entry.get("type") == "custom" or "custom" in entry
        inner = mapping(entry.get("custom" if custom else "function"))
        text = inner.get("input" if custom else "arguments")
        if type(text) is dict:  # some servers send the object itself
            text = compact(text)
        if call.i is None:
            call.custom = call.custom or custom
            call.id = call.id or maybe(entry.get("id"))
            call.name = call.name or maybe(inner.get("name"))
            if call.name is None or (call.id is None and key != "legacy"):
                if type(text) is str and text:
                    self._count(-1, len(text))
                    call.held.append(text)
                return
            self._open_call(choice, call)
        if type(text) is str and text:
            self._piece(choice, call, text)

    def _open_call(self, choice: _Choice, call: _Call) -> None:
        self._close_text(choice)
        for earlier in [earlier for earlier in choice.open if earlier.complete()]:
            self._stop_call(choice, earlier)
        call_id = self._unique(call.id, choice.index)
        call.i = self._open(PartStart(self._next, "call", call_id, call.name, choice=choice.index, custom=call.custom))
        choice.open.append(call)
        for piece in call.held:
            self._piece(choice, call, piece)
        call.held.clear()

    def _piece(self, choice: _Choice, call: _Call, text: str) -> None:
        if call.i is None:
            return
        self._args(call.i, text)
        if not call.custom:
            call.unread.append(text)
        if choice.open[-1] is not call and call.complete():
            self._stop_call(choice, call)

    def _stop_call(self, choice: _Choice, call: _Call) -> None:
        if call.i is not None:
            call.done = True
            choice.open.remove(call)
            self._stop(call.i)

    def _finish(self, choice: _Choice, reason: str, raw: str | None) -> None:
        if choice.finished:
            return
        choice.finished = True
        for call in choice.calls.values():
            if call.i is None and call.name is not None:
                self._open_call(choice, call)
        self._close_text(choice)
        for call in list(choice.open):
            self._stop_call(choice, call)
        called = any(call.i is not None for call in choice.calls.values())
        kind = "end" if raw is None else stops.from_chat(reason)
        self._out.append(Finish(choice.index, stops.settled(kind, raw, called, choice.refused, self.warnings)))
