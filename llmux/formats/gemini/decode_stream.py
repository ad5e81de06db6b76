"""generateContent answers and streams of a provider, as events (TRANSLATION 5.1 G)."""

from __future__ import annotations

from typing import Any

from llmux.formats import logprobs, stops, usage
from llmux.formats.citations import from_grounding
from llmux.formats.events import (
    Cite,
    Delta,
    Error,
    Finish,
    Ground,
    PartKind,
    PartStart,
    Sign,
    Stop,
    Use,
)
from llmux.formats.gemini.errors import decode_stream_error
from llmux.formats.gemini.partial_arguments import PartialArguments
from llmux.formats.jsontext import compact
from llmux.formats.lenient import count, mapping, mappings, maybe, string
from llmux.formats.neutral import Opaque
from llmux.formats.stream_decoder import MAX_CHOICES, Decoder, StreamFailed


class _Candidate:
    """One candidate: `kind` and `i` are those of its open text or thinking part."""

    __slots__ = (
        "called",
        "finished",
        "i",
        "index",
        "kind",
        "length",
        "partial",
        "pieces",
        "said",
        "searched",
        "signed",
        "starts",
        "text_i",
    )

    def __init__(self, index: int) -> None:
        self.index = index
        self.kind: PartKind | None = None
        self.i = 0
        self.signed = False
        self.text_i: int | None = None
        self.pieces: list[str] = []
        self.length = 0
        self.starts: list[int] = []
        self.called = self.said = self.finished = False
        self.searched: tuple[str, ...] = ()
        self.partial: PartialArguments | None = None


class StreamDecoder(Decoder):
    """Reads `GenerateContentResponse` objects; a whole answer is a stream of one."""

    __slots__ = ("_blocked", "_candidates", "_raw_usage")

    def __init__(self) -> None:
        super().__init__()
        self._candidates: dict[int, _Candidate] = {}
        self._blocked = False
        self._raw_usage: dict[str, Any] = {}

    def _at_end(self) -> None:
        if self._blocked and not self._candidates:
            self._end()
            return
        if not self._candidates or not all(candidate.finished for candidate in self._candidates.values()):
            super()._at_end()
        self._end()

    def _read(self, event: str | None, chunk: dict[str, Any]) -> None:
        if chunk.get("error"):
            raise StreamFailed(decode_stream_error(chunk))
        raw_usage = chunk.get("usageMetadata")
        changed = False
        if type(raw_usage) is dict and raw_usage:
            merged = usage.merge_gemini(self._raw_usage, raw_usage)
            changed = merged != self._raw_usage
            self._raw_usage = merged
        if not self.started:
            known = usage.from_gemini(self._raw_usage) if self._raw_usage else None
            self._start(maybe(chunk.get("responseId")), maybe(chunk.get("modelVersion")), None, known)
        found: list[tuple[_Candidate, dict[str, Any]]] = []
        for raw in mappings(chunk.get("candidates")):
            candidate = self._candidate(count(raw.get("index")) or 0)
            if candidate is not None and not candidate.finished:
                self._content(candidate, raw)
                if raw.get("finishReason"):
                    found.append((candidate, raw))
        if changed:
            self._out.append(Use(usage.from_gemini(self._raw_usage)))
        for candidate, raw in found:
            self._finish(candidate, raw)
        if not self._candidates and not self._blocked:
            self._prompt_feedback(mapping(chunk.get("promptFeedback")))

    def _prompt_feedback(self, feedback: dict[str, Any]) -> None:
        blocked = maybe(feedback.get("blockReason"))
        if blocked is not None:
            self._blocked = True
            self._out.append(Finish(0, Stop("filter", raw=blocked)))

    def _candidate(self, index: int) -> _Candidate | None:
        candidate = self._candidates.get(index)
        if candidate is None and len(self._candidates) < MAX_CHOICES and not self._blocked:
            candidate = self._candidates[index] = _Candidate(index)
        return candidate

    def _content(self, candidate: _Candidate, raw: dict[str, Any]) -> None:
        grounding = raw.get("groundingMetadata")
        if type(grounding) is dict:
            queries = grounding.get("webSearchQueries")
            asked = tuple(query for query in queries if type(query) is str) if type(queries) is list else ()
            if asked and not candidate.searched:
                candidate.searched = asked
                self._out.append(Ground(candidate.index, asked))
        odds = logprobs.from_gemini(raw["logprobsResult"]) if "logprobsResult" in raw else None
        for part in mappings(mapping(raw.get("content")).get("parts")):
            if len(candidate.starts) < 1024:
                candidate.starts.append(candidate.length)
            odds = self._part(candidate, part, odds)
        if type(grounding) is dict and candidate.text_i is not None:
            for citation in from_grounding(grounding, "".join(candidate.pieces), candidate.starts):
                self._out.append(Cite(candidate.text_i, citation))

    def _part(
        self, candidate: _Candidate, part: dict[str, Any], odds: logprobs.Logprobs | None
    ) -> logprobs.Logprobs | None:
        """Read one part; gives back the probabilities unless they left with its text."""
        text = part.get("text")
        if len(part) == 1 and type(text) is str and text:  # nearly every part
            self._text(candidate, "text", text, None, odds)
            return None
        raw_signature = part.get("thoughtSignature")
        signature = Opaque("gemini", "part", raw_signature) if type(raw_signature) is str and raw_signature else None
        if type(text) is str:
            kind: PartKind = "thinking" if part.get("thought") is True else "text"
            if text:
                self._text(candidate, kind, text, signature, odds)
                return None if kind == "text" else odds
            if signature is not None:
                self._lone_signature(candidate, signature)
        elif type(part.get("functionCall")) is dict:
            self._call(candidate, part["functionCall"], signature)
        elif type(part.get("executableCode")) is dict:
            code = part["executableCode"]
            self._fenced(candidate, string(code.get("language")).lower(), string(code.get("code")), signature)
        elif type(part.get("codeExecutionResult")) is dict:
            self._fenced(candidate, "", string(part["codeExecutionResult"].get("output")), signature)
        elif type(part.get("inlineData")) is dict or type(part.get("fileData")) is dict:
            self._warn("dropped:media")
        elif signature is not None:
            self._lone_signature(candidate, signature)
        return odds

    def _warn(self, code: str) -> None:
        if code not in self.warnings:
            self.warnings.append(code)

    def _text(
        self,
        candidate: _Candidate,
        kind: PartKind,
        text: str,
        signature: Opaque | None,
        odds: logprobs.Logprobs | None = None,
    ) -> None:
        if candidate.kind != kind:
            self._close(candidate)
            on_part = signature if kind == "text" else None
            candidate.i = self._open(PartStart(self._next, kind, signature=on_part, choice=candidate.index))
            candidate.kind = kind
            candidate.signed = on_part is not None
            if kind == "text":
                candidate.said = True
                candidate.text_i = candidate.i
            signature = None if on_part is not None else signature
        if kind == "text":
            candidate.pieces.append(text)
            candidate.length += len(text)
        self._out.append(Delta(candidate.i, text, odds if kind == "text" else None))
        if signature is not None:
            self._sign(candidate, signature)

    def _sign(self, candidate: _Candidate, signature: Opaque) -> None:
        """Put a signature on the open part; a second one gets a part of its own."""
        if not candidate.signed:
            candidate.signed = True
            self._out.append(Sign(candidate.i, signature))
            return
        self._close(candidate)
        self._empty_thought(candidate, signature)

    def _lone_signature(self, candidate: _Candidate, signature: Opaque) -> None:
        """A signature without text belongs to the part that is open, or is a thinking part of its own."""
        if candidate.kind is not None and not candidate.signed:
            self._sign(candidate, signature)
        else:
            self._close(candidate)
            self._empty_thought(candidate, signature)

    def _empty_thought(self, candidate: _Candidate, signature: Opaque) -> None:
        i = self._open(PartStart(self._next, "thinking", choice=candidate.index))
        self._out.append(Sign(i, signature))
        self._stop(i)

    def _close(self, candidate: _Candidate) -> None:
        if candidate.kind is not None:
            self._stop(candidate.i)
            candidate.kind = None
            candidate.signed = False

    def _fenced(self, candidate: _Candidate, language: str, text: str, signature: Opaque | None) -> None:
        """Code that the provider ran, and what it printed: no other format has a slot, so it is shown as text."""
        self._warn("changed:code_execution")
        self._close(candidate)
        self._text(candidate, "text", f"```{language}\n{text.rstrip()}\n```\n", signature)
        self._close(candidate)

    def _call(self, candidate: _Candidate, call: dict[str, Any], signature: Opaque | None) -> None:
        if candidate.partial is not None:
            candidate.partial.add(mappings(call.get("partialArgs")))
            self._count(-1, 256)
            if call.get("willContinue") is not True:
                self._args(candidate.i, compact(candidate.partial.value))
                self._stop(candidate.i)
                candidate.partial = None
            return
        self._close(candidate)
        call_id = self._unique(maybe(call.get("id")), candidate.index)
        i = self._open(
            PartStart(
                self._next, "call", call_id, string(call.get("name")), signature=signature, choice=candidate.index
            )
        )
        candidate.called = candidate.said = True
        if call.get("willContinue") is True or type(call.get("partialArgs")) is list:
            partial = PartialArguments()
            partial.add(mappings(call.get("partialArgs")))
            if call.get("willContinue") is True:
                candidate.partial = partial
                candidate.i = i
                return
            self._args(i, compact(partial.value))
        else:
            self._args(i, compact(mapping(call.get("args"))))
        self._stop(i)

    def _finish(self, candidate: _Candidate, raw: dict[str, Any]) -> None:
        reason = maybe(raw.get("finishReason"))
        if reason is None or candidate.finished:
            return
        if candidate.partial is not None:
            self._args(candidate.i, compact(candidate.partial.value))
            self._stop(candidate.i)
            candidate.partial = None
        self._close(candidate)
        candidate.finished = True
        kind = stops.from_gemini(reason)
        if kind == "error":
            if not any(other.said for other in self._candidates.values()):
                message = maybe(raw.get("finishMessage")) or f"upstream ended with {reason}"
                raise StreamFailed(Error("generation", message, code=reason.lower()))
            kind = None
        stop = stops.settled(kind, reason, candidate.called, False, self.warnings)
        self._out.append(Finish(candidate.index, stop))
