"""Turns as the `messages` of a Chat Completions request (TRANSLATION 3.2)."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from llmux.formats import arguments, ids, media
from llmux.formats.capabilities import Capabilities
from llmux.formats.history import answer_prefill, inline_system, move_media
from llmux.formats.losses import Losses
from llmux.formats.neutral import (
    Audio,
    Call,
    Document,
    Image,
    Inline,
    Part,
    PlainText,
    Refusal,
    Request,
    Result,
    Text,
    Thinking,
    Turn,
    Url,
    Video,
)
from llmux.formats.pairing import pair, result_text
from llmux.formats.toolnames import ToolNames

_FILENAME = "document.pdf"


def encode_messages(request: Request, caps: Capabilities, names: ToolNames, losses: Losses) -> list[dict[str, Any]]:
    """System texts first, then one message per turn; raises RequestRefused for media that Chat cannot carry."""
    return _Messages(caps, names, losses).messages(request)


class _Messages:
    def __init__(self, caps: Capabilities, names: ToolNames, losses: Losses) -> None:
        self._caps = caps
        self._names = names
        self._losses = losses

    def messages(self, request: Request) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        for (_, authority), group in groupby(request.system, key=lambda text: (text.unit, text.authority)):
            messages.append({"role": self._role(authority), "content": self._texts(part.text for part in group)})
        turns = pair(request.turns, self._losses)
        turns = move_media(turns, "chat", self._losses, of_tools=True, of_assistant=True)
        if not self._caps.mid_system:
            turns = inline_system(turns, self._losses)
        for turn in answer_prefill(turns, self._caps.prefill, self._losses):
            messages += self._turn(turn)
        if not messages:
            raise self._losses.refuse_empty()
        return messages

    def _role(self, authority: str) -> str:
        return "developer" if authority == "developer" and self._caps.developer_role else "system"

    def _texts(self, texts: Iterable[str]) -> str | list[dict[str, Any]]:
        listed = list(texts)
        if len(listed) == 1 or not self._caps.content_lists:
            return "\n\n".join(listed)
        return [{"type": "text", "text": text} for text in listed]

    def _turn(self, turn: Turn) -> list[dict[str, Any]]:
        if turn.role == "system":
            texts = [part.text for part in turn.parts if isinstance(part, Text)]
            return [{"role": self._role(turn.authority), "content": self._texts(texts)}] if texts else []
        if turn.role == "assistant":
            return self._assistant(turn)
        messages: list[dict[str, Any]] = [
            {
                "role": "tool",
                "tool_call_id": ids.fit(part.call_id, "chat"),
                "content": result_text(part),
            }
            for part in turn.parts
            if isinstance(part, Result)
        ]
        spoken: list[Part] = [part for part in turn.parts if not isinstance(part, Result)]
        if spoken:
            messages.append({"role": "user", "content": self._user_content(spoken)})
        return messages

    def _user_content(self, parts: list[Part]) -> str | list[dict[str, Any]]:
        content = [written for part in parts if (written := self._part(part)) is not None]
        if all(written["type"] == "text" for written in content):
            return self._texts(written["text"] for written in content)
        return content

    def _assistant(self, turn: Turn) -> list[dict[str, Any]]:
        texts = [part.text for part in turn.parts if isinstance(part, Text)]
        refusals = [part.text for part in turn.parts if isinstance(part, Refusal)]
        calls = [self._call(part) for part in turn.parts if isinstance(part, Call)]
        thoughts = [part.text for part in turn.parts if isinstance(part, Thinking) and part.text]
        if not (texts or refusals or calls):
            return []
        message: dict[str, Any] = {"role": "assistant", "content": self._texts(texts) if texts else None}
        if refusals:
            message["refusal"] = "\n\n".join(refusals)
        if thoughts and self._caps.reasoning_content:
            message["reasoning_content"] = "\n\n".join(thoughts)
        if calls:
            message["tool_calls"] = calls
        return [message]

    def _call(self, call: Call) -> dict[str, Any]:
        call_id = ids.fit(call.id, "chat")
        name = self._names.upstream_name(call.name, call.namespace)
        if call.custom and self._caps.custom_tools:
            return {"id": call_id, "type": "custom", "custom": {"name": name, "input": call.arguments or ""}}
        return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments.as_text(call)}}

    def _part(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Text | Refusal):
            return {"type": "text", "text": part.text}
        if isinstance(part, Image):
            return self._image(part)
        if isinstance(part, Document):
            return self._document(part)
        if isinstance(part, Audio):
            form = media.audio_format(part.source.mime) if isinstance(part.source, Inline) else None
            if form is None or not isinstance(part.source, Inline):
                raise self._losses.refuse_content(part.path, f"audio of {media.describe(part.source)}")
            return {"type": "input_audio", "input_audio": {"data": part.source.data, "format": form}}
        if isinstance(part, Video):
            raise self._losses.refuse_content(part.path, "video")
        return None

    def _image(self, part: Image) -> dict[str, Any]:
        if isinstance(part.source, Inline):
            url = media.to_data_url(part.source)
        elif isinstance(part.source, Url):
            url = part.source.url
        else:
            raise self._losses.refuse_content(part.path, f"an image from {media.describe(part.source)}")
        detail = {"detail": part.detail} if part.detail else {}
        return {"type": "image_url", "image_url": {"url": url, **detail}}

    def _document(self, part: Document) -> dict[str, Any]:
        text = media.as_text(part.source)
        if isinstance(text, PlainText):
            return {"type": "text", "text": media.labelled(text.text, part.title or part.filename)}
        if not isinstance(part.source, Inline):
            raise self._losses.refuse_content(part.path, f"a document from {media.describe(part.source)}")
        name = part.filename or part.title or _FILENAME
        return {"type": "file", "file": {"filename": name, "file_data": media.to_data_url(part.source)}}
