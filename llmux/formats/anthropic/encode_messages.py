"""Turns as the `system` and `messages` of a Messages request (TRANSLATION 3.2, 4.5 to 4.8)."""

from __future__ import annotations

from typing import Any

from llmux.formats import arguments, ids, media
from llmux.formats.capabilities import Capabilities
from llmux.formats.history import inline_system, move_media
from llmux.formats.losses import Losses
from llmux.formats.neutral import (
    Audio,
    Call,
    Document,
    Image,
    Inline,
    Opaque,
    Part,
    PlainText,
    Redacted,
    Refusal,
    Request,
    Result,
    Text,
    Thinking,
    Turn,
    Url,
    Video,
)
from llmux.formats.pairing import pair
from llmux.formats.schema import WRAPPED, is_wrapped
from llmux.formats.toolnames import ToolNames

_FILLER = "(no content)"
_CONTINUE = "Continue."
_PDF = "application/pdf"


def encode_messages(request: Request, caps: Capabilities, names: ToolNames, losses: Losses) -> dict[str, Any]:
    """`messages`, and `system` if there is any; without any turn the system texts are the user turn.

    Raises RequestRefused for media that Messages cannot carry, and for a conversation without any text.
    """
    system = [{"type": "text", "text": text.text} for text in request.system if text.text.strip()]
    messages = _Messages(caps, names, losses)
    turns = pair(request.turns, losses)
    turns = move_media(turns, "anthropic", losses, of_tools=False, of_assistant=True)
    for turn in inline_system(turns, losses, keep_after_user=caps.mid_system):
        messages.add(turn)
    messages.finish()
    if not messages.messages:
        if not system:
            raise losses.refuse_empty()
        return {"messages": [{"role": "user", "content": system}]}
    return {"system": system, "messages": messages.messages} if system else {"messages": messages.messages}


class _Messages:
    def __init__(self, caps: Capabilities, names: ToolNames, losses: Losses) -> None:
        self.messages: list[dict[str, Any]] = []
        self._caps = caps
        self._names = names
        self._losses = losses
        self._wrapped: dict[str, bool] = {}

    def add(self, turn: Turn) -> None:
        blocks = [block for part in turn.parts if (block := self._block(part)) is not None]
        if not blocks:
            return
        if self.messages and self.messages[-1]["role"] == turn.role != "system":
            self.messages[-1]["content"] += blocks
        else:
            self.messages.append({"role": turn.role, "content": blocks})

    def finish(self) -> None:
        """Make the ends of the conversation what the service insists on."""
        last = self.messages[-1] if self.messages else None
        if last is not None and last["role"] == "assistant":
            if self._caps.prefill:
                _trim(self.messages)
            else:
                self._losses.warn("changed:prefill")
                self.messages.append(_user(_CONTINUE))
        if self.messages and self.messages[0]["role"] != "user":
            self.messages.insert(0, _user(_FILLER))

    def _block(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Text | Refusal):
            return {"type": "text", "text": part.text} if part.text and not part.text.isspace() else None
        if isinstance(part, Call):
            return self._call(part)
        if isinstance(part, Result):
            return self._result(part)
        if isinstance(part, Thinking):
            return _thinking(part.text, part.signature)
        if isinstance(part, Redacted):
            return _thinking("", part.signature)
        if isinstance(part, Image):
            return {"type": "image", "source": self._image_source(part)}
        if isinstance(part, Document):
            title = part.title or part.filename
            head = {"type": "document", "title": title} if title else {"type": "document"}
            return self._text_document(part) or {**head, "source": self._document_source(part)}
        if isinstance(part, Audio | Video):
            raise self._losses.refuse_content(part.path, type(part).__name__.lower())
        return None

    def _call(self, call: Call) -> dict[str, Any]:
        name = self._names.upstream_name(call.name, call.namespace)
        if self._is_wrapped(name):
            given: dict[str, Any] = {WRAPPED: arguments.as_value(call, self._losses)}
        else:
            given = arguments.as_object(call, self._losses)
        return {"type": "tool_use", "id": ids.fit(call.id, "anthropic"), "name": name, "input": given}

    def _is_wrapped(self, name: str) -> bool:
        if name not in self._wrapped:
            tool = self._names.tool(name)
            self._wrapped[name] = tool is not None and not tool.custom and is_wrapped(tool.schema)
        return self._wrapped[name]

    def _result(self, result: Result) -> dict[str, Any]:
        block: dict[str, Any] = {"type": "tool_result", "tool_use_id": ids.fit(result.call_id, "anthropic")}
        content = [inner for part in result.parts if (inner := self._block(part)) is not None]
        if content:
            block["content"] = content
        if result.is_error:
            block["is_error"] = True
        return block

    def _image_source(self, part: Image) -> dict[str, Any]:
        source = part.source
        if isinstance(source, Inline) and source.mime in media.IMAGE_TYPES:
            return {"type": "base64", "media_type": source.mime, "data": source.data}
        if isinstance(source, Url) and self._caps.remote_media:
            return {"type": "url", "url": source.url}
        raise self._losses.refuse_content(part.path, f"an image from {media.describe(source)}")

    def _text_document(self, part: Document) -> dict[str, Any] | None:
        if not isinstance(part.source, PlainText):
            return None
        return {"type": "text", "text": media.labelled(part.source.text, part.title or part.filename)}

    def _document_source(self, part: Document) -> dict[str, Any]:
        source = part.source
        if isinstance(source, Inline) and source.mime == _PDF:
            return {"type": "base64", "media_type": _PDF, "data": source.data}
        if isinstance(source, Url) and self._caps.remote_media:
            return {"type": "url", "url": source.url}
        text = media.as_text(source)
        if text is None or not text.text.strip():
            raise self._losses.refuse_content(part.path, f"a document from {media.describe(source)}")
        return {"type": "text", "media_type": "text/plain", "data": text.text}


def _thinking(text: str, blob: Opaque | None) -> dict[str, Any] | None:
    """A thinking block, if the blob is Anthropic's own."""
    if blob is None or blob.origin != "anthropic":
        return None
    if blob.kind == "redacted":
        return {"type": "redacted_thinking", "data": blob.raw}
    return {"type": "thinking", "thinking": text, "signature": blob.raw}


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def _trim(messages: list[dict[str, Any]]) -> None:
    """A prefill must not end in whitespace; its blocks are ours, and none of them is blank."""
    block = messages[-1]["content"][-1]
    if block["type"] == "text":
        block["text"] = block["text"].rstrip()
