"""Events as a Gemini stream (TRANSLATION 3.8, 5.2 to 5.4 G)."""

from __future__ import annotations

from typing import Any

from llmux.formats import logprobs, stops
from llmux.formats import usage as counts
from llmux.formats.citations import grounding
from llmux.formats.client import ClientCtx
from llmux.formats.events import (
    Args,
    Citation,
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
from llmux.formats.gemini.errors import encode_stream_error
from llmux.formats.lenient import arguments, dump
from llmux.formats.opaque import tag_for_gemini
from llmux.formats.stream_encoder import Encoder
from llmux.formats.toolset import CUSTOM_INPUT

BROKEN_ARGUMENTS = "changed:tool_arguments"


class _Part:
    __slots__ = ("pieces", "prefix", "sign", "start", "suffix")

    def __init__(self, start: PartStart) -> None:
        self.start = start
        self.sign = start.signature
        self.pieces: list[str] = []
        self.prefix = self.suffix = b""


class _Candidate:
    __slots__ = ("calls", "citations", "pieces", "queries", "stop")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.citations: list[Citation] = []
        self.queries: list[str] = []
        self.calls = 0
        self.stop = Stop("end")


class StreamEncoder(Encoder):
    """Writes `GenerateContentResponse` objects, each complete in itself: a call leaves when its part stops."""

    __slots__ = ("_candidates", "_choices", "_open", "_tail")

    def __init__(self, ctx: ClientCtx) -> None:
        super().__init__(ctx)
        self._tail = b""
        self._open: dict[int, _Part] = {}
        self._choices: dict[int, int] = {}  # also of parts that are over: sources may be named late
        self._candidates: dict[int, _Candidate] = {}

    def _start(self, event: Start) -> None:
        super()._start(event)
        tail = dump({"modelVersion": self.ctx.model, "responseId": self.stem})
        self._tail = b"}]," + tail[1:]

    def _candidate(self, index: int) -> _Candidate:
        candidate = self._candidates.get(index)
        if candidate is None:
            candidate = self._candidates[index] = _Candidate()
        return candidate

    def _part_start(self, event: PartStart) -> None:
        part = self._open[event.i] = _Part(event)
        self._choices[event.i] = event.choice
        self._candidate(event.choice)
        if event.kind != "call":
            part.prefix = b'{"candidates":[{"content":{"role":"model","parts":[{"text":'
            thought = b',"thought":true' if event.kind in ("thinking", "redacted") else b""
            part.suffix = b'%s}]},"index":%d' % (thought, event.choice)

    def _delta(self, event: Delta) -> None:
        part = self._open[event.i]
        odds = b""
        if event.logprobs:
            odds = b',"logprobsResult":' + dump(logprobs.to_gemini(event.logprobs))
        if part.start.kind in ("text", "refusal"):
            self._candidate(part.start.choice).pieces.append(event.text)
        self._out.append((None, b"".join((part.prefix, dump(event.text), part.suffix, odds, self._tail))))

    def _args(self, event: Args) -> None:
        self._open[event.i].pieces.append(event.json_text)

    def _sign(self, event: Sign) -> None:
        self._open[event.i].sign = event.opaque

    def _cite(self, event: Cite) -> None:
        self._candidate(self._choices[event.i]).citations.append(event.citation)

    def _ground(self, event: Ground) -> None:
        self._candidate(event.choice).queries.extend(event.queries)

    def _part_stop(self, event: PartStop) -> None:
        part = self._open.pop(event.i)
        candidate = self._candidate(part.start.choice)
        if part.start.kind == "call":
            data, broken = call_part(self.ctx, part.start, "".join(part.pieces), self.stem, candidate.calls)
            candidate.calls += 1
            if broken:
                self.warnings.append(BROKEN_ARGUMENTS)
        elif part.sign is not None:
            data = {"text": ""}
            if part.start.kind in ("thinking", "redacted"):
                data["thought"] = True
            data["thoughtSignature"] = tag_for_gemini(part.sign)
        else:
            return
        head = b'{"candidates":[{"content":{"role":"model","parts":[%s]},"index":%d' % (dump(data), part.start.choice)
        self._out.append((None, head + self._tail))

    def _finish(self, event: Finish) -> None:
        self._candidate(event.choice).stop = event.stop

    def _end(self, event: End) -> None:
        candidates = []
        for index in sorted(self._candidates):
            candidate = self._candidates[index]
            entry: dict[str, Any] = {
                "content": {"role": "model", "parts": [{"text": ""}]},
                "finishReason": stops.TO_GEMINI[candidate.stop.kind],
                "index": index,
            }
            if candidate.queries or candidate.citations:
                text = "".join(candidate.pieces)
                entry["groundingMetadata"] = grounding(candidate.queries, candidate.citations, text, [])
            candidates.append(entry)
        chunk: dict[str, Any] = {"candidates": candidates}
        if counts.is_known(self.usage):
            chunk["usageMetadata"] = counts.to_gemini(self.usage)
        self._out.append((None, dump({**chunk, "modelVersion": self.ctx.model, "responseId": self.stem})))

    def _fail(self, event: Fail) -> None:
        self._out.append((None, dump(encode_stream_error(event.error))))


def call_part(ctx: ClientCtx, start: PartStart, text: str, stem: str, number: int) -> tuple[dict[str, Any], bool]:
    """A whole `functionCall` part, and whether its arguments were broken (then they are under `_raw`)."""
    args, broken = ({CUSTOM_INPUT: text}, False) if start.custom else arguments(text)
    call: dict[str, Any] = {}
    call_id = ctx.call_id(start, stem, number)
    if call_id is not None:
        call["id"] = call_id
    call |= {"name": start.name, "args": args}
    part: dict[str, Any] = {"functionCall": call}
    if start.signature is not None:
        part["thoughtSignature"] = tag_for_gemini(start.signature)
    return part, broken
