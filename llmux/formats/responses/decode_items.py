"""The `input` of a Responses request as turns (TRANSLATION 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmux.formats import media, members, opaque
from llmux.formats.losses import malformed
from llmux.formats.members import at
from llmux.formats.neutral import (
    Blocker,
    Call,
    Image,
    Inline,
    Json,
    Media,
    Opaque,
    Part,
    Redacted,
    Refusal,
    Result,
    Text,
    Thinking,
    Turn,
)

# Everything about tools that the vendor ran, or that clients run under a contract only OpenAI has.
_SERVER_HISTORY = frozenset(
    kind + suffix
    for kind in (
        "web_search",
        "file_search",
        "code_interpreter",
        "image_generation",
        "computer",
        "mcp",
        "local_shell",
        "shell",
        "apply_patch",
    )
    for suffix in ("_call", "_call_output")
) | {"mcp_list_tools", "mcp_approval_request", "mcp_approval_response"}
_SILENT = frozenset(["tool_search_call", "tool_search_output"])
_STATE = frozenset(["item_reference", "compaction", "compaction_trigger", "context_compaction"])
_TEXTS = frozenset(["input_text", "output_text", "text", "summary_text", "reasoning_text"])


def decode_items(body: Json, blockers: list[Blocker]) -> tuple[tuple[Turn, ...], list[str]]:
    """The turns, and warning codes for items that no other format has. Neighbouring assistant items form one turn."""
    written = body.get("input")
    if isinstance(written, str):
        return (Turn("user", (Text(written),)),), []
    items = _Items(blockers)
    for index, item in enumerate(members.mappings(body, "input")):
        items.add(item, f"input.{index}")
    return items.turns(), items.lost


class _Items:
    def __init__(self, blockers: list[Blocker]) -> None:
        self.lost: list[str] = []
        self._blockers = blockers
        self._turns: list[tuple[Turn, list[Part]]] = []  # a turn without parts, and its parts

    def turns(self) -> tuple[Turn, ...]:
        """What was added so far."""
        return tuple(replace(turn, parts=tuple(parts)) for turn, parts in self._turns)

    def add(self, item: Mapping[str, Any], path: str) -> None:
        kind = members.text(item, "type", path) or ("message" if "role" in item else "item_reference")
        if kind == "message":
            self._message(item, path)
        elif kind == "reasoning":
            self._say(*_reasoning(item, path))
        elif kind in ("function_call", "custom_tool_call"):
            self._say(_call(item, path, custom=kind == "custom_tool_call"))
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._hear(self._result(item, path, custom=kind == "custom_tool_call_output"))
        elif kind in _STATE:
            self._blockers.append(Blocker("unsupported_content", path))
        elif kind in _SERVER_HISTORY:
            self.lost.append("dropped:server_tool_history")
        elif kind not in _SILENT:
            self.lost.append(f"dropped:input.{kind}")

    def _say(self, *parts: Part) -> None:
        if not self._turns or self._turns[-1][0].role != "assistant":
            self._turns.append((Turn("assistant", ()), []))
        self._turns[-1][1].extend(parts)

    def _hear(self, result: Result) -> None:
        if not self._turns or not (self._turns[-1][1] and isinstance(self._turns[-1][1][-1], Result)):
            self._turns.append((Turn("user", ()), []))
        self._turns[-1][1].append(result)

    def _message(self, item: Json, path: str) -> None:
        role = members.text(item, "role", path)
        parts = self._content(item, "content", path)
        if role == "assistant":
            self._say(*parts)
            return
        if role == "user":
            self._turns.append((Turn("user", ()), list(parts)))
        elif role in ("system", "developer"):
            texts: list[Part] = [part for part in parts if isinstance(part, Text)]
            turn = Turn("system", (), authority="developer" if role == "developer" else "system")
            self._turns.append((turn, texts))
        else:
            raise malformed(at(path, "role"), "user, assistant, system or developer")

    def _result(self, item: Json, path: str, custom: bool) -> Result:
        return Result(members.needed_text(item, "call_id", path), self._content(item, "output", path), custom=custom)

    def _content(self, item: Json, key: str, path: str) -> tuple[Part, ...]:
        content = item.get(key)
        if content is None:
            return ()
        if isinstance(content, str):
            return (Text(content),)
        parts: list[Part] = []
        for index, part in enumerate(members.mappings(item, key, path)):
            decoded = self._part(part, f"{path}.{key}.{index}")
            if decoded is not None:
                parts.append(decoded)
        return tuple(parts)

    def _part(self, part: Json, path: str) -> Part | None:
        kind = part.get("type")
        if kind == "refusal":
            return Refusal(members.needed_text(part, "refusal", path))
        if kind == "input_image":
            return self._image(part, path)
        if kind == "input_file":
            return self._file(part, path)
        if kind == "input_audio":
            audio = members.needed_mapping(part, "input_audio", path)
            data = members.needed_text(audio, "data", at(path, "input_audio"))
            word = members.text(audio, "format", at(path, "input_audio")) or "wav"
            return media.part(Inline(f"audio/{word.lower()}", media.base64_text(data, path)), path)
        if isinstance(kind, str) and kind in _TEXTS:
            return Text(members.needed_text(part, "text", path))
        return None

    def _image(self, part: Json, path: str) -> Image | None:
        url = members.text(part, "image_url", path)
        if url is None:
            if part.get("file_id") is None:
                raise malformed(at(path, "image_url"), "a string")
            self._blockers.append(Blocker("unsupported_content", path))
            return None
        return Image(media.from_url(url, at(path, "image_url")), members.text(part, "detail", path), path)

    def _file(self, part: Json, path: str) -> Media | None:
        name = members.text(part, "filename", path)
        data = members.text(part, "file_data", path)
        if data is not None:
            where = at(path, "file_data")
            inlined = media.is_data_url(data)
            source = media.from_url(data, where, name) if inlined else media.inline(None, data, where, name)
            return media.part(source, path, filename=name)
        url = members.text(part, "file_url", path)
        if url is not None:
            return media.part(media.from_url(url, at(path, "file_url"), name), path, filename=name)
        if part.get("file_id") is None:
            raise malformed(at(path, "file_data"), "a string")
        self._blockers.append(Blocker("unsupported_content", path))
        return None


def _call(item: Json, path: str, custom: bool) -> Call:
    return Call(
        members.needed_text(item, "call_id", path),
        members.needed_text(item, "name", path),
        members.text(item, "input" if custom else "arguments", path) or "",
        custom=custom,
        namespace=members.text(item, "namespace", path),
    )


def _reasoning(item: Json, path: str) -> tuple[Part, ...]:
    texts = _reasoning_texts(item, "summary", path) or _reasoning_texts(item, "content", path)
    encrypted = members.text(item, "encrypted_content", path)
    text = "\n\n".join(texts)
    if not encrypted:
        return (Thinking(text),) if text else ()
    blob = opaque.parse_tag(encrypted)
    if blob is None:
        blob = Opaque("openai", "enc", f"{members.text(item, 'id', path) or ''}|{encrypted}")
    return (Redacted(blob),) if blob.kind == "redacted" and not text else (Thinking(text, blob),)


def _reasoning_texts(item: Json, key: str, path: str) -> list[str]:
    written = item.get(key)
    if isinstance(written, str):
        return [written]
    parts = members.mappings(item, key, path)
    return [part["text"] for part in parts if isinstance(part.get("text"), str)]
