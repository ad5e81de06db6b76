"""The `messages` of a Chat Completions request as turns (TRANSLATION 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmux.formats import ids, media, members, opaque
from llmux.formats.losses import malformed
from llmux.formats.members import at
from llmux.formats.neutral import (
    Audio,
    Blocker,
    Call,
    Image,
    Inline,
    Json,
    Media,
    Opaque,
    Part,
    Refusal,
    Result,
    Text,
    Thinking,
    Turn,
)


def decode_messages(body: Json, blockers: list[Blocker]) -> list[Turn]:
    """One turn per message; neighbouring tool messages share one. Adds what no other format can hold to `blockers`."""
    return _Messages(blockers).turns(members.mappings(body, "messages"))


class _Messages:
    def __init__(self, blockers: list[Blocker]) -> None:
        self._blockers = blockers
        self._unanswered: dict[str, list[str]] = {}

    def turns(self, messages: list[Mapping[str, Any]]) -> list[Turn]:
        turns: list[Turn] = []
        results: list[Part] = []
        for index, message in enumerate(messages):
            path = f"messages.{index}"
            role = members.text(message, "role", path)
            if role in ("tool", "function"):
                results.append(self._result(message, path, role))
                continue
            if results:
                turns.append(Turn("user", tuple(results)))
                results = []
            if role == "assistant":
                turns.append(Turn("assistant", self._assistant(message, path, index)))
            elif role == "user":
                turns.append(Turn("user", self._content(message, path) or (Text(""),)))
            elif role in ("system", "developer"):
                texts = tuple(part for part in self._content(message, path) if isinstance(part, Text))
                turns.append(Turn("system", texts, authority="developer" if role == "developer" else "system"))
            else:
                raise malformed(at(path, "role"), "system, developer, user, assistant, tool or function")
        if results:
            turns.append(Turn("user", tuple(results)))
        return turns

    def _result(self, message: Json, path: str, role: str) -> Result:
        name = members.text(message, "name", path)
        if role == "tool":
            call_id = members.needed_text(message, "tool_call_id", path)
        else:
            waiting = self._unanswered.get(name or "")
            call_id = waiting.pop(0) if waiting else ids.history_id(0, 0, name or "")
        return Result(call_id, self._content(message, path), name)

    def _assistant(self, message: Json, path: str, index: int) -> tuple[Part, ...]:
        parts: list[Part] = []
        thought = message.get("reasoning_content")
        if isinstance(thought, str) and thought:
            parts.append(Thinking(thought))
        calls = self._calls(message, path, index)
        content = self._content(message, path)
        parts += [part for part in content if not (calls and isinstance(part, Text) and not part.text)]
        refusal = members.text(message, "refusal", path)
        if refusal:
            parts.append(Refusal(refusal))
        return (*parts, *calls)

    def _calls(self, message: Json, path: str, index: int) -> list[Call]:
        calls: list[Call] = []
        for number, call in enumerate(members.mappings(message, "tool_calls", path)):
            place = f"{path}.tool_calls.{number}"
            custom = call.get("type") == "custom" and call.get("function") is None
            kind = "custom" if custom else "function"
            detail = members.needed_mapping(call, kind, place)
            inside = at(place, kind)
            calls.append(
                Call(
                    members.needed_text(call, "id", place),
                    members.needed_text(detail, "name", inside),
                    members.text(detail, "input" if custom else "arguments", inside) or "",
                    custom=custom,
                    signature=_signature(call),
                )
            )
        legacy = members.mapping(message, "function_call", path)
        if legacy is not None:
            place = at(path, "function_call")
            name = members.needed_text(legacy, "name", place)
            call_id = ids.history_id(index, 0, name)
            self._unanswered.setdefault(name, []).append(call_id)
            calls.append(Call(call_id, name, members.text(legacy, "arguments", place) or ""))
        return calls

    def _content(self, message: Json, path: str) -> tuple[Part, ...]:
        content = message.get("content")
        if content is None:
            return ()
        if isinstance(content, str):
            return (Text(content),)
        parts: list[Part] = []
        for index, part in enumerate(members.mappings(message, "content", path)):
            decoded = self._part(part, f"{path}.content.{index}")
            if decoded is not None:
                parts.append(decoded)
        return tuple(parts)

    def _part(self, part: Json, path: str) -> Part | None:
        kind = part.get("type")
        if kind == "text":
            return Text(members.needed_text(part, "text", path))
        if kind == "refusal":
            return Refusal(members.needed_text(part, "refusal", path))
        if kind == "image_url":
            return _image(part, path)
        if kind == "file":
            return self._file(members.needed_mapping(part, "file", path), path)
        if kind == "input_audio":
            audio = members.needed_mapping(part, "input_audio", path)
            data = members.needed_text(audio, "data", at(path, "input_audio"))
            word = members.text(audio, "format", at(path, "input_audio")) or "wav"
            return Audio(Inline(f"audio/{word.lower()}", media.base64_text(data, path)), path=path)
        return None

    def _file(self, file: Json, path: str) -> Media | None:
        place = at(path, "file")
        name = members.text(file, "filename", place)
        data = members.text(file, "file_data", place)
        if data is None:
            if file.get("file_id") is not None:
                self._blockers.append(Blocker("unsupported_content", path))
                return None
            raise malformed(at(place, "file_data"), "a string")
        where = at(place, "file_data")
        inlined = media.is_data_url(data)
        source = media.from_url(data, where, name) if inlined else media.inline(None, data, where, name)
        return media.part(source, path, filename=name)


def _image(part: Json, path: str) -> Image:
    image = part.get("image_url")
    if isinstance(image, str):
        image = {"url": image}
    if not isinstance(image, Mapping):
        raise malformed(at(path, "image_url"), "an object")
    place = at(path, "image_url")
    url = members.needed_text(image, "url", place)
    return Image(media.from_url(url, at(place, "url")), members.text(image, "detail", place), path)


def _signature(call: Json) -> Opaque | None:
    value: object = call
    for name in ("extra_content", "google", "thought_signature"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return opaque.untag_from_gemini(value) if isinstance(value, str) and value else None
