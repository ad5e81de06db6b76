"""Events as one Chat Completions answer (TRANSLATION 3.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmux.formats import stops, tiers
from llmux.formats import usage as counts
from llmux.formats.chat.encode_stream import finish_reason, signature_member
from llmux.formats.citations import annotation
from llmux.formats.client import ClientCtx
from llmux.formats.events import Args, Cite, Delta, Event, Finish, PartStart, Start, Usage, Use


def encode_response(events: Iterable[Event], ctx: ClientCtx) -> tuple[dict[str, Any], list[str]]:
    """The body of the answer, and warnings. The events must not hold a `Fail`."""
    folder = _Folder(ctx)
    for event in events:
        folder.feed(event)
    return folder.body(), folder.warnings


class _Choice:
    __slots__ = ("calls", "cites", "finish", "logprobs", "texts")

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {"text": [], "thinking": [], "refusal": []}
        self.calls: list[tuple[PartStart, list[str]]] = []
        self.cites: list[dict[str, Any]] = []
        self.logprobs: list[dict[str, Any]] = []
        self.finish = "stop"


class _Folder:
    def __init__(self, ctx: ClientCtx) -> None:
        self.ctx = ctx
        self.warnings: list[str] = []
        self._start = Start()
        self._usage = Usage()
        self._tier: str | None = None
        self._choices: dict[int, _Choice] = {}
        self._parts: dict[int, tuple[PartStart, _Choice, list[str]]] = {}

    def feed(self, event: Event) -> None:
        if isinstance(event, Start):
            self._start = event
            self._usage = event.usage or self._usage
            self._tier = event.tier
        elif isinstance(event, Use):
            self._usage = event.usage
            self._tier = event.tier or self._tier
        elif isinstance(event, PartStart):
            self._open(event)
        elif isinstance(event, Delta):
            _, choice, pieces = self._parts[event.i]
            pieces.append(event.text)
            choice.logprobs += event.logprobs or ()
        elif isinstance(event, Args):
            self._parts[event.i][2].append(event.json_text)
        elif isinstance(event, Cite):
            cite = {"type": "url_citation", "url_citation": annotation(event.citation)}
            self._parts[event.i][1].cites.append(cite)
        elif isinstance(event, Finish):
            self._choices.setdefault(event.choice, _Choice()).finish = finish_reason(self.ctx, event)
            if event.stop.kind == "pause":
                self.warnings.append(stops.CHANGED)

    def _open(self, part: PartStart) -> None:
        choice = self._choices.setdefault(part.choice, _Choice())
        pieces = choice.texts.get(part.kind, [])
        if part.kind == "call":
            pieces = []
            choice.calls.append((part, pieces))
        self._parts[part.i] = (part, choice, pieces)

    def body(self) -> dict[str, Any]:
        stem = self.ctx.stem(self._start.id)
        body: dict[str, Any] = {
            "id": f"chatcmpl-{stem}",
            "object": "chat.completion",
            "created": self._start.created or self.ctx.created,
            "model": self.ctx.model,
            "choices": [self._choice(index, self._choices[index], stem) for index in sorted(self._choices)],
        }
        if counts.is_known(self._usage):
            body["usage"] = counts.to_chat(self._usage)
        tier = tiers.to_openai(self._tier)
        if tier is not None:
            body["service_tier"] = tier
        return body

    def _choice(self, index: int, choice: _Choice, stem: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(choice.texts["text"]) or None}
        message["refusal"] = "".join(choice.texts["refusal"]) or None
        thinking = "".join(choice.texts["thinking"])
        if thinking and self.ctx.reasoning_content:
            message["reasoning_content"] = thinking
        if choice.calls and self.ctx.request.legacy_functions:
            part, pieces = choice.calls[0]
            message["function_call"] = {"name": part.name, "arguments": "".join(pieces) or "{}"}
        elif choice.calls:
            message["tool_calls"] = [
                self._call(part, "".join(pieces), stem, place) for place, (part, pieces) in enumerate(choice.calls)
            ]
        if choice.cites:
            message["annotations"] = choice.cites
        out: dict[str, Any] = {"index": index, "message": message}
        if choice.logprobs:
            out["logprobs"] = {"content": choice.logprobs, "refusal": None}
        out["finish_reason"] = choice.finish
        return out

    def _call(self, part: PartStart, text: str, stem: str, place: int) -> dict[str, Any]:
        call: dict[str, Any] = {"id": self.ctx.call_id(part, stem, place)}
        if part.custom:
            call |= {"type": "custom", "custom": {"name": part.name, "input": text}}
        else:
            call |= {"type": "function", "function": {"name": part.name, "arguments": text or "{}"}}
        return call | signature_member(self.ctx, part)
