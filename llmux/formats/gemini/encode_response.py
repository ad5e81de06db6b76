"""Events as one generateContent answer (TRANSLATION 3.4)."""

from __future__ import annotations

from collections.abc import Iterable
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
    Event,
    Finish,
    Ground,
    PartStart,
    Sign,
    Start,
    Stop,
    Usage,
    Use,
)
from llmux.formats.gemini.encode_stream import BROKEN_ARGUMENTS, call_part
from llmux.formats.neutral import Opaque
from llmux.formats.opaque import tag_for_gemini


def encode_response(events: Iterable[Event], ctx: ClientCtx) -> tuple[dict[str, Any], list[str]]:
    """The body of the answer, and warnings. The events must not hold a `Fail`."""
    folder = _Folder(ctx)
    for event in events:
        folder.feed(event)
    return folder.body(), folder.warnings


class _Part:
    __slots__ = ("pieces", "sign", "start")

    def __init__(self, start: PartStart) -> None:
        self.start = start
        self.pieces: list[str] = []
        self.sign: Opaque | None = start.signature


class _Candidate:
    __slots__ = ("citations", "logprobs", "parts", "queries", "stop")

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.citations: list[Citation] = []
        self.queries: list[str] = []
        self.logprobs: list[dict[str, Any]] = []
        self.stop = Stop("end")


class _Folder:
    def __init__(self, ctx: ClientCtx) -> None:
        self.ctx = ctx
        self.warnings: list[str] = []
        self._start = Start()
        self._usage = Usage()
        self._candidates: dict[int, _Candidate] = {}
        self._parts: dict[int, _Part] = {}

    def feed(self, event: Event) -> None:
        if isinstance(event, Start):
            self._start = event
            self._usage = event.usage or self._usage
        elif isinstance(event, Use):
            self._usage = event.usage
        elif isinstance(event, PartStart):
            part = self._parts[event.i] = _Part(event)
            self._candidate(event.choice).parts.append(part)
        elif isinstance(event, Delta):
            part = self._parts[event.i]
            part.pieces.append(event.text)
            self._candidate(part.start.choice).logprobs += event.logprobs or ()
        elif isinstance(event, Args):
            self._parts[event.i].pieces.append(event.json_text)
        elif isinstance(event, Sign):
            self._parts[event.i].sign = event.opaque
        elif isinstance(event, Cite):
            self._candidate(self._parts[event.i].start.choice).citations.append(event.citation)
        elif isinstance(event, Ground):
            self._candidate(event.choice).queries.extend(event.queries)
        elif isinstance(event, Finish):
            self._candidate(event.choice).stop = event.stop

    def _candidate(self, index: int) -> _Candidate:
        return self._candidates.setdefault(index, _Candidate())

    def body(self) -> dict[str, Any]:
        stem = self.ctx.stem(self._start.id)
        body: dict[str, Any] = {
            "candidates": [self._entry(index, self._candidates[index], stem) for index in sorted(self._candidates)]
        }
        if counts.is_known(self._usage):
            body["usageMetadata"] = counts.to_gemini(self._usage)
        body["modelVersion"] = self.ctx.model
        body["responseId"] = stem
        return body

    def _entry(self, index: int, candidate: _Candidate, stem: str) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        texts: list[tuple[int, int]] = []
        said: list[str] = []
        length = calls = 0
        for part in candidate.parts:
            whole = "".join(part.pieces)
            if part.start.kind == "call":
                data, broken = call_part(self.ctx, part.start, whole, stem, calls)
                calls += 1
                if broken and BROKEN_ARGUMENTS not in self.warnings:
                    self.warnings.append(BROKEN_ARGUMENTS)
            else:
                data = {"text": whole}
                if part.start.kind in ("thinking", "redacted"):
                    data["thought"] = True
                else:
                    texts.append((len(parts), length))
                    said.append(whole)
                    length += len(whole)
                if part.sign is not None:
                    data["thoughtSignature"] = tag_for_gemini(part.sign)
            parts.append(data)
        entry: dict[str, Any] = {
            "content": {"role": "model", "parts": parts or [{"text": ""}]},
            "finishReason": stops.TO_GEMINI[candidate.stop.kind],
            "index": index,
        }
        if candidate.queries or candidate.citations:
            entry["groundingMetadata"] = grounding(candidate.queries, candidate.citations, "".join(said), texts)
        if candidate.logprobs:
            entry["logprobsResult"] = logprobs.to_gemini(candidate.logprobs)
        return entry
