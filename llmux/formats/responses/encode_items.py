"""Turns as the `instructions` and `input` of a Responses request (TRANSLATION 3.2)."""

from __future__ import annotations

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
from llmux.formats.pairing import pair, result_text
from llmux.formats.toolnames import ToolNames

_FILENAME = "document.pdf"


def encode_items(request: Request, caps: Capabilities, names: ToolNames, losses: Losses) -> dict[str, Any]:
    """`instructions` and `input`; raises RequestRefused for media that Responses cannot carry.

    Without any turn the system texts are the input, since the service wants one.
    """
    items = _Items(caps, names, losses)
    turns = pair(request.turns, losses)
    turns = move_media(turns, "responses", losses, of_tools=False, of_assistant=True)
    if not caps.mid_system:
        turns = inline_system(turns, losses)
    for turn in answer_prefill(turns, caps.prefill, losses):
        items.add(turn)
    if items.items:
        instructions = "\n\n".join(text.text for text in request.system)
        return {"instructions": instructions, "input": items.items} if instructions else {"input": items.items}
    if not request.system:
        raise losses.refuse_empty()
    for text in request.system:
        items.add(Turn("system", (Text(text.text),), authority=text.authority))
    return {"input": items.items}


class _Items:
    def __init__(self, caps: Capabilities, names: ToolNames, losses: Losses) -> None:
        self.items: list[dict[str, Any]] = []
        self._caps = caps
        self._names = names
        self._losses = losses

    def add(self, turn: Turn) -> None:
        if turn.role == "assistant":
            self._assistant(turn)
            return
        spoken: list[Part] = []
        for part in turn.parts:
            if isinstance(part, Result):
                self.items.append(self._result(part))
            else:
                spoken.append(part)
        content = [written for part in spoken if (written := self._part(part)) is not None]
        if turn.role == "user":
            for written in content:
                if written["type"] == "input_image":
                    written.setdefault("detail", "auto")  # required in messages, optional in tool outputs
        if content:
            self.items.append({"type": "message", "role": self._role(turn), "content": content})

    def _role(self, turn: Turn) -> str:
        if turn.role != "system":
            return turn.role
        return "developer" if turn.authority == "developer" and self._caps.developer_role else "system"

    def _assistant(self, turn: Turn) -> None:
        texts: list[str] = []
        for part in turn.parts:
            if isinstance(part, Text):
                texts.append(part.text)
                continue
            item = self._assistant_item(part)
            if item is not None:
                self._flush(texts)
                self.items.append(item)
        self._flush(texts)

    def _flush(self, texts: list[str]) -> None:
        if texts:
            self.items.append({"type": "message", "role": "assistant", "content": "".join(texts)})
            texts.clear()

    def _assistant_item(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Call):
            return self._call(part)
        if isinstance(part, Refusal):
            content = [{"type": "refusal", "refusal": part.text}]
            return {"type": "message", "role": "assistant", "content": content}
        if isinstance(part, Thinking):
            return _reasoning(part.text, part.signature)
        if isinstance(part, Redacted):
            return _reasoning("", part.signature)
        return None

    def _call(self, call: Call) -> dict[str, Any]:
        name = self._names.upstream_name(call.name, call.namespace)
        call_id = ids.fit(call.id, "responses")
        if call.custom and self._caps.custom_tools:
            return {"type": "custom_tool_call", "call_id": call_id, "name": name, "input": call.arguments or ""}
        return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments.as_text(call)}

    def _result(self, result: Result) -> dict[str, Any]:
        output: str | list[dict[str, Any]] = result_text(result)
        if not all(isinstance(part, Text) for part in result.parts):
            output = [written for part in result.parts if (written := self._part(part)) is not None]
        custom = result.custom and self._caps.custom_tools
        return {
            "type": "custom_tool_call_output" if custom else "function_call_output",
            "call_id": ids.fit(result.call_id, "responses"),
            "output": output,
        }

    def _part(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Text | Refusal):
            return {"type": "input_text", "text": part.text}
        if isinstance(part, Image):
            return self._image(part)
        if isinstance(part, Document):
            return self._document(part)
        if isinstance(part, Audio | Video):
            raise self._losses.refuse_content(part.path, type(part).__name__.lower())
        return None

    def _image(self, part: Image) -> dict[str, Any]:
        if isinstance(part.source, Inline):
            url = media.to_data_url(part.source)
        elif isinstance(part.source, Url) and self._caps.remote_media:
            url = part.source.url
        else:
            raise self._losses.refuse_content(part.path, f"an image from {media.describe(part.source)}")
        detail = {"detail": part.detail} if part.detail else {}
        return {"type": "input_image", "image_url": url, **detail}

    def _document(self, part: Document) -> dict[str, Any]:
        name = part.filename or part.title
        if isinstance(part.source, PlainText):
            return {"type": "input_text", "text": media.labelled(part.source.text, name)}
        if isinstance(part.source, Url) and self._caps.remote_media:
            return {"type": "input_file", "file_url": part.source.url}
        if not isinstance(part.source, Inline):
            raise self._losses.refuse_content(part.path, f"a document from {media.describe(part.source)}")
        data = media.to_data_url(part.source)
        return {"type": "input_file", "filename": name or _FILENAME, "file_data": data}


def _reasoning(text: str, blob: Opaque | None) -> dict[str, Any] | None:
    """A reasoning item, if the blob is OpenAI's own; its id goes back with it."""
    if blob is None or blob.origin != "openai":
        return None
    item_id, bar, encrypted = blob.raw.partition("|")
    if not bar:
        item_id, encrypted = "", blob.raw
    summary = [{"type": "summary_text", "text": text}] if text else []
    item = {"type": "reasoning", "id": item_id, "summary": summary, "encrypted_content": encrypted}
    return item if item_id else {key: value for key, value in item.items() if key != "id"}
