"""Events as a Chat Completions stream (TRANSLATION 3.8, 5.2 to 5.4 C)."""

from __future__ import annotations

from typing import Any

from llmux.formats import stops
from llmux.formats import usage as counts
from llmux.formats.chat.errors import encode_stream_error
from llmux.formats.citations import annotation
from llmux.formats.client import ClientCtx
from llmux.formats.events import Args, Cite, Delta, End, Fail, Finish, PartKind, PartStart, Start
from llmux.formats.lenient import dump
from llmux.formats.stream_encoder import Encoder

_MEMBERS: dict[PartKind, str] = {"text": "content", "refusal": "refusal", "thinking": "reasoning_content"}


class StreamEncoder(Encoder):
    """Writes `chat.completion.chunk` objects and `[DONE]`; keeps nothing of the text."""

    __slots__ = ("_calls", "_cites", "_head", "_parts", "_prefixes")

    def __init__(self, ctx: ClientCtx) -> None:
        super().__init__(ctx)
        self._head = b""
        self._prefixes: dict[int, bytes] = {}
        self._parts: dict[int, tuple[bytes, str, int]] = {}  # prefix, member of the delta or "", place among the calls
        self._calls: dict[int, int] = {}
        self._cites: dict[int, list[dict[str, Any]]] = {}

    def _start(self, event: Start) -> None:
        super()._start(event)
        head = dump(
            {
                "id": f"chatcmpl-{self.stem}",
                "object": "chat.completion.chunk",
                "created": event.created or self.ctx.created,
                "model": self.ctx.model,
            }
        )
        self._head = head[:-1]
        self._role(0)  # the SDK wants choice 0 first, whichever speaks first

    def _role(self, choice: int) -> bytes:
        prefix = self._prefixes.get(choice)
        if prefix is None:
            prefix = self._head + b',"choices":[{"index":%d,"delta":' % choice
            self._prefixes[choice] = prefix
            self._chunk(prefix, b'{"role":"assistant"}')
        return prefix

    def _chunk(self, prefix: bytes, delta: bytes, finish: bytes = b"null") -> None:
        self._out.append((None, b'%s%s,"finish_reason":%s}]}' % (prefix, delta, finish)))

    def _part_start(self, event: PartStart) -> None:
        prefix = self._role(event.choice)
        if event.kind != "call":
            member = _MEMBERS.get(event.kind, "")
            shown = member != "reasoning_content" or self.ctx.reasoning_content
            self._parts[event.i] = (prefix, member if shown else "", -1)
            return
        place = self._calls.get(event.choice, 0)
        self._calls[event.choice] = place + 1
        if self.ctx.request.legacy_functions:
            # One function call per answer is all that this old shape can say.
            self._parts[event.i] = (prefix, "function_call" if place == 0 else "", place)
            if place == 0:
                self._chunk(prefix, dump({"function_call": {"name": event.name, "arguments": ""}}))
            return
        kind = "custom" if event.custom else "function"
        self._parts[event.i] = (prefix, kind, place)
        inner = {"name": event.name, ("input" if event.custom else "arguments"): ""}
        call: dict[str, Any] = {
            "index": place,
            "id": self.ctx.call_id(event, self.stem, place),
            "type": kind,
            kind: inner,
        }
        call.update(signature_member(self.ctx, event))
        self._chunk(prefix, dump({"tool_calls": [call]}))

    def _delta(self, event: Delta) -> None:
        prefix, member, _ = self._parts[event.i]
        if not member:
            return
        if event.logprobs:
            finish = b'null,"logprobs":' + dump({"content": event.logprobs})
            self._chunk(prefix, dump({member: event.text}), finish)
        else:
            self._out.append(
                (None, b'%s{"%s":%s},"finish_reason":null}]}' % (prefix, member.encode(), dump(event.text)))
            )

    def _args(self, event: Args) -> None:
        prefix, member, place = self._parts[event.i]
        text = dump(event.json_text)
        if member == "function":
            self._chunk(prefix, b'{"tool_calls":[{"index":%d,"function":{"arguments":%s}}]}' % (place, text))
        elif member == "custom":
            self._chunk(prefix, b'{"tool_calls":[{"index":%d,"custom":{"input":%s}}]}' % (place, text))
        elif member == "function_call":
            self._chunk(prefix, b'{"function_call":{"arguments":%s}}' % text)

    def _cite(self, event: Cite) -> None:
        prefix = self._parts[event.i][0]
        choice = next(index for index, known in self._prefixes.items() if known is prefix)
        self._cites.setdefault(choice, []).append({"type": "url_citation", "url_citation": annotation(event.citation)})

    def _finish(self, event: Finish) -> None:
        prefix = self._role(event.choice)
        cites = self._cites.pop(event.choice, None)
        if cites:  # in one chunk: the SDK raises on a second list
            self._chunk(prefix, dump({"annotations": cites}))
        if event.stop.kind == "pause":
            self.warnings.append(stops.CHANGED)
        self._chunk(prefix, b"{}", dump(finish_reason(self.ctx, event)))

    def _end(self, event: End) -> None:
        if self.ctx.request.want_usage:
            data = self._head + b',"choices":[],"usage":%s}' % dump(counts.to_chat(self.usage))
            self._out.append((None, data))
        self._out.append((None, b"[DONE]"))

    def _fail(self, event: Fail) -> None:
        self._out.append((None, dump(encode_stream_error(event.error))))


def finish_reason(ctx: ClientCtx, event: Finish) -> str:
    """The `finish_reason`, in the old word for a client that sent `functions`."""
    reason = stops.TO_CHAT[event.stop.kind]
    return "function_call" if reason == "tool_calls" and ctx.request.legacy_functions else reason


def signature_member(ctx: ClientCtx, part: PartStart) -> dict[str, Any]:
    """Google's documented extension for a signed call; Chat has no slot for other vendors' blobs (TRANSLATION 2.7)."""
    if part.signature is None or part.signature.origin != "gemini" or not ctx.extra_content:
        return {}
    return {"extra_content": {"google": {"thought_signature": part.signature.raw}}}
