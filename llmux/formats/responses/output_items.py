"""Items of a Responses answer while they grow: what must be repeated when they are done (TRANSLATION 3.4, 5.2 R)."""

from __future__ import annotations

from typing import Any, Literal

from llmux.formats.citations import annotation
from llmux.formats.events import Citation

Status = Literal["completed", "incomplete"]


class Content:
    """One content part of a message: `first` is the character of the choice's text where it begins."""

    __slots__ = ("citations", "first", "logprobs", "pieces", "refusal")

    def __init__(self, refusal: bool, first: int) -> None:
        self.refusal = refusal
        self.first = first
        self.pieces: list[str] = []
        self.citations: list[Citation] = []
        self.logprobs: list[dict[str, Any]] = []

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)

    def part(self) -> dict[str, Any]:
        """The part as it stands."""
        if self.refusal:
            return {"type": "refusal", "refusal": self.text}
        annotations = [{"type": "url_citation", **annotation(citation, self.first)} for citation in self.citations]
        return {
            "type": "output_text",
            "text": self.text,
            "annotations": annotations,
            "logprobs": self.logprobs,
        }


class Item:
    """One output item. `stopped`: nothing more comes, but `output_item.done` waits for `status`, None till then."""

    __slots__ = ("id", "index", "status", "stopped")

    def __init__(self, item_id: str, index: int) -> None:
        self.id = item_id
        self.index = index
        self.stopped = False
        self.status: Status | None = None

    def opening(self) -> dict[str, Any]:
        """The item in `output_item.added`."""
        raise TypeError("an item of no kind")

    def final(self, status: Status) -> dict[str, Any]:
        """The item in `output_item.done` and in the answer."""
        raise TypeError("an item of no kind")


class Message(Item):
    """Text and refusals that follow each other."""

    __slots__ = ("contents",)

    def __init__(self, item_id: str, index: int) -> None:
        super().__init__(item_id, index)
        self.contents: list[Content] = []

    def opening(self) -> dict[str, Any]:
        return {"id": self.id, "type": "message", "role": "assistant", "status": "in_progress", "content": []}

    def final(self, status: Status) -> dict[str, Any]:
        parts = [content.part() for content in self.contents]
        return {"id": self.id, "type": "message", "role": "assistant", "status": status, "content": parts}


class Reasoning(Item):
    """Thoughts: a summary of one part at most, and the opaque state."""

    __slots__ = ("pieces", "secret")

    def __init__(self, item_id: str, index: int) -> None:
        super().__init__(item_id, index)
        self.pieces: list[str] = []
        self.secret: str | None = None

    @property
    def text(self) -> str:
        """The summary so far."""
        return "".join(self.pieces)

    def opening(self) -> dict[str, Any]:
        return {"id": self.id, "type": "reasoning", "summary": [], "status": "in_progress"}

    def final(self, status: Status) -> dict[str, Any]:
        summary = [{"type": "summary_text", "text": self.text}] if self.pieces else []
        item: dict[str, Any] = {"id": self.id, "type": "reasoning", "summary": summary, "status": status}
        if self.secret is not None:
            item["encrypted_content"] = self.secret
        return item


class Call(Item):
    """A function call, or a call of a free-form tool."""

    __slots__ = ("call_id", "custom", "name", "namespace", "pieces")

    def __init__(
        self, item_id: str, index: int, call_id: str | None, name: str | None, custom: bool, namespace: str | None
    ) -> None:
        super().__init__(item_id, index)
        self.call_id = call_id
        self.name = name
        self.custom = custom
        self.namespace = namespace
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        """The arguments or the input so far."""
        return "".join(self.pieces)

    def opening(self) -> dict[str, Any]:
        return self._item("", "in_progress")

    def final(self, status: Status) -> dict[str, Any]:
        return self._item(self.text, status)

    def _item(self, text: str, status: str) -> dict[str, Any]:
        item: dict[str, Any] = {"id": self.id}
        if self.custom:
            item |= {"type": "custom_tool_call", "call_id": self.call_id, "name": self.name, "input": text}
        else:
            item |= {"type": "function_call", "call_id": self.call_id, "name": self.name, "arguments": text}
            item["status"] = status
        if self.namespace is not None:
            item["namespace"] = self.namespace
        return item


class Search(Item):
    """A web search that the provider made."""

    __slots__ = ("queries",)

    def __init__(self, item_id: str, index: int, queries: tuple[str, ...]) -> None:
        super().__init__(item_id, index)
        self.queries = queries

    def opening(self) -> dict[str, Any]:
        return {**self.final("completed"), "status": "in_progress"}

    def final(self, status: Status) -> dict[str, Any]:
        action = {"type": "search", "query": self.queries[0], "queries": list(self.queries)}
        return {"id": self.id, "type": "web_search_call", "status": "completed", "action": action}
