"""The `contents` of a generateContent request as turns (TRANSLATION 3.2, 4.1)."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Literal

from llmux.formats import ids, media, members, opaque
from llmux.formats.decoding import merged
from llmux.formats.gemini.spelling import camel
from llmux.formats.jsontext import compact
from llmux.formats.losses import malformed
from llmux.formats.members import at
from llmux.formats.neutral import Blocker, Call, Json, Opaque, Part, Redacted, Result, Text, Thinking, Turn, Url, Video

_ROLES: Mapping[str, Literal["user", "assistant", "system"]] = {
    "user": "user",
    "function": "user",
    "model": "assistant",
    "system": "system",
}


def decode_contents(body: Json, blockers: list[Blocker]) -> tuple[tuple[Turn, ...], list[str]]:
    """The turns, neighbours of one role merged, and the warning codes for parts that no other format has."""
    contents = _Contents(blockers)
    turns = [contents.turn(content, index) for index, content in enumerate(members.mappings(body, "contents"))]
    return tuple(merged(turns)), list(contents.lost)


class _Waiting:
    """Calls without a result, to be taken by id, by name or in order, at the same cost however many there are."""

    def __init__(self) -> None:
        self._order: deque[Call] = deque()
        self._by_name: dict[str, deque[Call]] = {}
        self._by_id: dict[str, Call] = {}

    def add(self, call: Call) -> None:
        self._order.append(call)
        self._by_name.setdefault(call.name, deque()).append(call)
        self._by_id.setdefault(call.id, call)

    def take_id(self, call_id: str) -> Call | None:
        return self._by_id.pop(call_id, None)

    def take_name(self, name: str, without_id: bool = False) -> Call | None:
        queue = self._by_name.get(name)
        front = self._front(queue) if queue else None
        if front is None or (without_id and not ids.is_history_id(front.id)):
            return None
        return self._by_id.pop(front.id)

    def take_any(self) -> Call | None:
        front = self._front(self._order)
        return self._by_id.pop(front.id) if front else None

    def _front(self, queue: deque[Call]) -> Call | None:
        while queue and self._by_id.get(queue[0].id) is not queue[0]:
            queue.popleft()
        return queue[0] if queue else None


class _Contents:
    def __init__(self, blockers: list[Blocker]) -> None:
        self.lost: dict[str, None] = {}
        self._blockers = blockers
        self._waiting = _Waiting()
        self._heard = False
        self._thoughts: list[str] = []

    def turn(self, content: Mapping[str, Any], index: int) -> Turn:
        content = camel(content)
        path = f"contents.{index}"
        role = members.text(content, "role", path) or "user"
        if role not in _ROLES:
            raise malformed(at(path, "role"), "user, model or function")
        parts: list[Part] = []
        for number, part in enumerate(members.mappings(content, "parts", path)):
            self._add(camel(part), parts, index, number)
        self._end_thought(parts)
        return Turn(_ROLES[role], tuple(parts))

    def _add(self, part: Json, parts: list[Part], turn: int, number: int) -> None:
        path = f"contents.{turn}.parts.{number}"
        signature = members.text(part, "thoughtSignature", path)
        blob = opaque.untag_from_gemini(signature) if signature else None
        text = members.text(part, "text", path)
        if part.get("thought") is True:
            self._thoughts.append(text or "")
            if blob is not None:
                self._end_thought(parts, blob)
            return
        # Gemini's own blob on a visible part means nothing to other vendors; a tag that landed on one is a thought's.
        self._end_thought(parts, blob if blob is not None and blob.origin != "gemini" else None)
        if text is not None:
            if text or not signature:
                parts.append(Text(text))
            return
        decoded = self._part(part, path, turn, number)
        if decoded is not None:
            parts.append(decoded)

    def _end_thought(self, parts: list[Part], blob: Opaque | None = None) -> None:
        text = "".join(self._thoughts)
        self._thoughts = []
        if blob is not None and blob.kind == "redacted" and not text:
            parts.append(Redacted(blob))
        elif text or blob is not None:
            parts.append(Thinking(text, blob))

    def _part(self, part: Json, path: str, turn: int, number: int) -> Part | None:
        if part.get("functionCall") is not None:
            return self._call(part, path, turn, number)
        if part.get("functionResponse") is not None:
            return self._result(part, path, turn, number)
        if part.get("inlineData") is not None or part.get("fileData") is not None:
            return self._media(part, path)
        if part.get("executableCode") is not None:
            code = members.needed_mapping(part, "executableCode", path)
            self.lost["changed:code_execution"] = None
            language = (members.text(code, "language", path) or "").lower()
            language = "" if language == "language_unspecified" else language
            return Text(f"```{language}\n{_without_newline(members.text(code, 'code', path))}\n```")
        if part.get("codeExecutionResult") is not None:
            output = members.needed_mapping(part, "codeExecutionResult", path)
            self.lost["changed:code_execution"] = None
            return Text(f"```\n{_without_newline(members.text(output, 'output', path))}\n```")
        if part.get("toolCall") is not None or part.get("toolResponse") is not None:
            self.lost["dropped:server_tool_history"] = None
        return None

    def _call(self, part: Json, path: str, turn: int, number: int) -> Call:
        place = at(path, "functionCall")
        function = camel(members.needed_mapping(part, "functionCall", path))
        name = members.needed_text(function, "name", place)
        call_id = members.text(function, "id", place) or ids.history_id(turn, number, name)
        call = Call(call_id, name, value=members.mapping(function, "args", place) or {})
        if self._heard:
            self._waiting, self._heard = _Waiting(), False
        self._waiting.add(call)
        return call

    def _result(self, part: Json, path: str, turn: int, number: int) -> Result:
        place = at(path, "functionResponse")
        function = camel(members.needed_mapping(part, "functionResponse", path))
        name = members.text(function, "name", place) or ""
        response = members.mapping(function, "response", place) or {}
        self._heard = True
        call_id = self._answered(members.text(function, "id", place), name)
        parts: list[Part] = [Text(_result_text(response))]
        for index, extra in enumerate(members.mappings(function, "parts", place)):
            found = self._media(camel(extra), f"{place}.parts.{index}")
            if found is not None:
                parts.append(found)
        is_error = "error" in response and len(response) == 1
        return Result(call_id or ids.history_id(turn, number, name), tuple(parts), name, is_error)

    def _answered(self, given: str | None, name: str) -> str | None:
        """The id of the call that is answered: by id, else by name in order, else by order."""
        if given:
            known = self._waiting.take_id(given) or self._waiting.take_name(name, without_id=True)
            return known.id if known else given
        call = self._waiting.take_name(name) or self._waiting.take_any()
        return call.id if call else None

    def _media(self, part: Json, path: str) -> Part | None:
        inline = members.mapping(part, "inlineData", path)
        if inline is not None:
            inline, place = camel(inline), at(path, "inlineData")
            data = members.needed_text(inline, "data", place)
            source = media.inline(members.text(inline, "mimeType", place), data, at(place, "data"))
            return media.part(source, path, members.text(inline, "displayName", place))
        stored = members.mapping(part, "fileData", path)
        if stored is None:
            return None
        stored, place = camel(stored), at(path, "fileData")
        uri = members.needed_text(stored, "fileUri", place)
        if media.is_provider_file(uri):
            self._blockers.append(Blocker("unsupported_content", path))
            return None
        located = media.from_url(uri, at(place, "fileUri"))
        mime = members.text(stored, "mimeType", place)
        if isinstance(located, Url):
            if media.is_youtube(uri):
                return Video(located, path)
            if mime:
                located = Url(uri, media.clean_mime(mime))
        return media.part(located, path, members.text(stored, "displayName", place))


def _result_text(response: Json) -> str:
    if len(response) == 1:
        for key in ("output", "error"):
            if isinstance(response.get(key), str):
                return str(response[key])
        if "error" in response:
            return compact(response["error"])
    return compact(dict(response)) if response else ""


def _without_newline(text: str | None) -> str:
    return (text or "").removesuffix("\n")
