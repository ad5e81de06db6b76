"""Turns as the `systemInstruction` and `contents` of a generateContent request (TRANSLATION 2.7, 3.2, 4.5 to 4.8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llmux.formats import arguments, ids, media
from llmux.formats.capabilities import Capabilities
from llmux.formats.history import answer_prefill, inline_system, move_media
from llmux.formats.jsontext import parse
from llmux.formats.losses import Losses
from llmux.formats.neutral import (
    MEDIA,
    Call,
    Document,
    Inline,
    Media,
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
)
from llmux.formats.opaque import BYPASS_SIGNATURE
from llmux.formats.pairing import is_results, pair, result_text
from llmux.formats.toolnames import ToolNames


def encode_contents(request: Request, caps: Capabilities, names: ToolNames, losses: Losses) -> dict[str, Any]:
    """`contents`, and `systemInstruction` if there is any text for it.

    Raises RequestRefused for media that the target cannot carry, and when there is no content at all.
    """
    contents = _Contents(caps, names, losses)
    turns = pair(request.turns, losses)
    if caps.signature_required:
        turns = _with_bypass(turns)
    turns = move_media(turns, "gemini", losses, of_tools=not caps.function_media, of_assistant=False)
    for turn in answer_prefill(inline_system(turns, losses), caps.prefill, losses):
        contents.add(turn)
    if not contents.contents:
        raise losses.refuse_empty()
    texts = [{"text": text.text} for text in request.system if text.text.strip()]
    body: dict[str, Any] = {"systemInstruction": {"parts": texts}} if texts else {}
    return {**body, "contents": contents.contents}


def _with_bypass(turns: list[Turn]) -> list[Turn]:
    """Sign the first call of every step after the last real user text, where nothing of Gemini's signs it."""
    real = [i for i, turn in enumerate(turns) if turn.role == "user" and not is_results(turn)]
    start = real[-1] + 1 if real else 0
    return turns[:start] + [_bypassed(turn) if turn.role == "assistant" else turn for turn in turns[start:]]


def _bypassed(turn: Turn) -> Turn:
    signed = False
    for index, part in enumerate(turn.parts):
        if isinstance(part, Thinking) and _gemini_blob(part.signature):
            signed = True
        elif isinstance(part, Text) and _is_said(part) and not _gemini_blob(part.signature):
            signed = False  # the blob goes back on this part
        elif isinstance(part, Call):
            if signed or _gemini_blob(part.signature):
                return turn
            call = replace(part, signature=Opaque("gemini", "part", BYPASS_SIGNATURE))
            return replace(turn, parts=(*turn.parts[:index], call, *turn.parts[index + 1 :]))
    return turn


def _is_said(part: Text | Refusal) -> bool:
    return bool(part.text) and not part.text.isspace()


def _gemini_blob(blob: Opaque | None) -> str | None:
    return blob.raw if blob is not None and blob.origin == "gemini" else None


class _Contents:
    def __init__(self, caps: Capabilities, names: ToolNames, losses: Losses) -> None:
        self.contents: list[dict[str, Any]] = []
        self._caps = caps
        self._names = names
        self._losses = losses
        self._called: dict[str, str] = {}  # call id -> upstream name, of the latest step
        self._holds_results = False

    def add(self, turn: Turn) -> None:
        if turn.role == "assistant":
            parts = self._spoken(turn)
            role, results = "model", False
        else:
            parts = [written for part in turn.parts if (written := self._part(part)) is not None]
            role, results = "user", is_results(turn)
        if not parts:
            return
        last = self.contents[-1] if self.contents else None
        if last is not None and last["role"] == role and not results and not self._holds_results:
            last["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})
        self._holds_results = results

    def _spoken(self, turn: Turn) -> list[dict[str, Any]]:
        """The parts of a model turn; a blob that travelled in a thinking part goes back on the next visible part."""
        parts: list[dict[str, Any]] = []
        blob: str | None = None
        for part in turn.parts:
            if isinstance(part, Thinking | Redacted):
                own = _gemini_blob(part.signature)
                if own is None:
                    continue
                if blob is not None:
                    parts.append({"text": "", "thoughtSignature": blob})
                blob = own
                if isinstance(part, Thinking) and part.text:
                    parts.append({"text": part.text, "thought": True})
                continue
            written = self._part(part)
            if written is None:
                continue
            own = _gemini_blob(part.signature) if isinstance(part, Text | Call) else None
            if own is None and isinstance(part, Text | Call):
                own, blob = blob, None
            if own is not None:
                written["thoughtSignature"] = own
            parts.append(written)
        if blob is not None:
            parts.append({"text": "", "thoughtSignature": blob})
        return parts

    def _part(self, part: Part) -> dict[str, Any] | None:
        if isinstance(part, Text | Refusal):
            return {"text": part.text} if _is_said(part) else None
        if isinstance(part, Call):
            return self._call(part)
        if isinstance(part, Result):
            return self._result(part)
        if isinstance(part, MEDIA):
            return self._media(part)
        return None

    def _call(self, call: Call) -> dict[str, Any]:
        name = self._names.upstream_name(call.name, call.namespace)
        self._called[call.id] = name
        args = arguments.as_object(call, self._losses)
        return {"functionCall": {"id": ids.fit(call.id, "gemini"), "name": name, "args": args}}

    def _result(self, result: Result) -> dict[str, Any]:
        name = self._called.get(result.call_id)
        response: dict[str, Any] = {
            "id": ids.fit(result.call_id, "gemini"),
            "name": name if name is not None else self._names.upstream_name(result.name or ""),
            "response": _response(result),
        }
        media_parts = [self._media(part) for part in result.parts if isinstance(part, MEDIA)]
        if media_parts:
            response["parts"] = media_parts
        return {"functionResponse": response}

    def _media(self, part: Media) -> dict[str, Any]:
        source = part.source
        if isinstance(source, Inline):
            return {"inlineData": {"mimeType": source.mime, "data": source.data}}
        if isinstance(source, PlainText) and isinstance(part, Document):
            return {"text": media.labelled(source.text, part.title or part.filename)}
        if isinstance(source, Url) and self._caps.remote_media:
            mime = {"mimeType": source.mime} if source.mime else {}
            return {"fileData": {"fileUri": source.url, **mime}}
        raise self._losses.refuse_content(part.path, f"media from {media.describe(source)}")


def _response(result: Result) -> dict[str, Any]:
    """The result as an object: JSON of an object as it is, any other text under `output`, or under `error`."""
    text = result_text(result)
    if result.is_error:
        return {"error": text}
    texts = [part for part in result.parts if isinstance(part, Text)]
    if len(texts) == 1 and text.lstrip()[:1] == "{":
        try:
            value = parse(text)
        except (ValueError, RecursionError):
            return {"output": text}
        if isinstance(value, dict):
            return value
    return {"output": text}
