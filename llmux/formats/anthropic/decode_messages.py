"""The `messages` of a Messages request as turns (TRANSLATION 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmux.formats import media, members, opaque
from llmux.formats.decoding import merged
from llmux.formats.losses import malformed
from llmux.formats.members import at
from llmux.formats.neutral import (
    Blocker,
    Call,
    Document,
    Image,
    Inline,
    Json,
    Opaque,
    Part,
    PlainText,
    Redacted,
    Result,
    Text,
    Thinking,
    Turn,
    Url,
)


def decode_messages(body: Json, blockers: list[Blocker]) -> tuple[tuple[Turn, ...], bool]:
    """The turns, neighbours of one role merged, and whether calls that the vendor ran had to be left out."""
    messages = _Messages(blockers)
    turns = [
        messages.turn(message, f"messages.{index}") for index, message in enumerate(members.mappings(body, "messages"))
    ]
    return tuple(merged(turns)), messages.dropped_history


class _Messages:
    def __init__(self, blockers: list[Blocker]) -> None:
        self.dropped_history = False
        self._blockers = blockers

    def turn(self, message: Mapping[str, Any], path: str) -> Turn:
        role = members.text(message, "role", path)
        parts = self._content(message, path)
        if role == "user":
            return Turn("user", parts)
        if role == "assistant":
            return Turn("assistant", parts)
        if role == "system":
            return Turn("system", tuple(part for part in parts if isinstance(part, Text)))
        raise malformed(at(path, "role"), "user, assistant or system")

    def _content(self, holder: Json, path: str) -> tuple[Part, ...]:
        content = holder.get("content")
        if content is None:
            return ()
        if isinstance(content, str):
            return (Text(content),)
        parts: list[Part] = []
        for index, block in enumerate(members.mappings(holder, "content", path)):
            parts += self._block(block, f"{path}.content.{index}")
        return tuple(parts)

    def _block(self, block: Json, path: str) -> list[Part]:
        kind = members.text(block, "type", path)
        if kind == "text":
            return [Text(members.needed_text(block, "text", path))]
        if kind == "tool_use":
            return [_call(block, path)]
        if kind == "tool_result":
            call_id = members.needed_text(block, "tool_use_id", path)
            return [Result(call_id, self._content(block, path), is_error=block.get("is_error") is True)]
        if kind == "thinking":
            return [_thinking(block, path)]
        if kind == "redacted_thinking":
            return [Redacted(opaque.untag(members.needed_text(block, "data", path), "anthropic", "redacted"))]
        if kind == "image":
            return self._image(members.needed_mapping(block, "source", path), path)
        if kind == "document":
            return self._document(block, members.needed_mapping(block, "source", path), path)
        if kind == "search_result":
            found = [part.text for part in self._content(block, path) if isinstance(part, Text)]
            return [Document(PlainText("\n".join(found)), members.text(block, "title", path), path=path)]
        if kind in ("server_tool_use", "mcp_tool_use") or (kind or "").endswith("_tool_result"):
            self.dropped_history = True
        elif kind in ("container_upload", "compaction"):
            self._blockers.append(Blocker("unsupported_content", path))
        return []

    def _image(self, source: Json, path: str) -> list[Part]:
        where = at(path, "source")
        kind = members.text(source, "type", where)
        if kind == "base64":
            mime = members.text(source, "media_type", where)
            return [Image(media.inline(mime, members.needed_text(source, "data", where), at(where, "data")), path=path)]
        if kind == "url":
            return [Image(media.from_url(members.needed_text(source, "url", where), at(where, "url")), path=path)]
        self._blockers.append(Blocker("unsupported_content", path))
        return []

    def _document(self, block: Json, source: Json, path: str) -> list[Part]:
        where = at(path, "source")
        kind = members.text(source, "type", where)
        title = members.text(block, "title", path)
        if kind == "text":
            return [Document(PlainText(members.needed_text(source, "data", where)), title, path=path)]
        if kind == "content":
            inner = self._content(source, where)
            texts = [part.text for part in inner if isinstance(part, Text)]
            pictures: list[Part] = [part for part in inner if isinstance(part, Image)]
            written: list[Part] = [Document(PlainText("\n".join(texts)), title, path=path)] if texts else []
            return written + pictures
        located: Inline | Url
        if kind == "base64":
            data = members.needed_text(source, "data", where)
            located = media.inline(members.text(source, "media_type", where), data, at(where, "data"), title)
        elif kind == "url":
            url = members.needed_text(source, "url", where)
            located = media.from_url(url, at(where, "url"), title)
        else:
            self._blockers.append(Blocker("unsupported_content", path))
            return []
        return [Document(located, title, path=path)]


def _call(block: Json, path: str) -> Call:
    given = block.get("input")
    return Call(
        members.needed_text(block, "id", path),
        members.needed_text(block, "name", path),
        value={} if given is None else given,
    )


def _thinking(block: Json, path: str) -> Part:
    text = members.text(block, "thinking", path) or ""
    signature = members.text(block, "signature", path)
    blob: Opaque | None = opaque.untag(signature, "anthropic") if signature else None
    return Redacted(blob) if blob is not None and blob.kind == "redacted" else Thinking(text, blob)
