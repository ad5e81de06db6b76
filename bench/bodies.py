"""Request bodies: chat and messages requests of a wanted size, with the model where a workload wants it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATHS = {"chat": "/v1/chat/completions", "anthropic": "/v1/messages"}
MESSAGE = 2000  # characters of one message
_WORDS = (
    *("def", "return", "import", "self", "value", "model", "stream", "proxy", "request", "response", "header"),
    *("path/to/file.py", "{json:", "[1,", "2]}", "if", "else", "for", "while", "async", "await", "class", "None"),
    *("True", "line", "\t", "tab", "\n\n", "é", "ü", "漢", '"quoted"', "back\\slash"),
)


@dataclass(frozen=True, slots=True)
class Body:
    """What a request asks for; `place` is where `model` stands: first, middle or last."""

    api: str
    size: int
    model: str
    stream: bool = False
    place: str = "first"

    @property
    def name(self) -> str:
        """A file name that tells all of it."""
        return f"{self.api}-{self.size}-{self.place}-{self.model}{'-stream' if self.stream else ''}.json"


def stream_model(events: int, interval: int = 0, batch: int = 1) -> str:
    """The model name that makes the fake provider send `events`, one every `interval` ms or `batch` a write."""
    return f"bench-n{events}-i{interval}-b{batch}"


def _texts() -> list[str]:
    chance = random.Random(7)
    return [" ".join(chance.choices(_WORDS, k=MESSAGE // 5))[:MESSAGE] for _ in range(16)]


def _messages(api: str, size: int, texts: list[str]) -> list[dict[str, Any]]:
    """A conversation whose JSON has about `size` bytes."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Read the files and fix the bug."}]
    total = 60
    while total < size:
        text = texts[len(messages) % len(texts)][: max(40, size - total - 60)]
        role = ("user", "assistant")[len(messages) % 2]
        content: Any = [{"type": "text", "text": text}] if api == "anthropic" and role == "user" else text
        messages.append({"role": role, "content": content})
        total += len(json.dumps(messages[-1], ensure_ascii=False).encode()) + 2
    if messages[-1]["role"] == "assistant":
        messages.append({"role": "user", "content": "Go on."})
    return messages


def content(body: Body) -> bytes:
    """The bytes of a body."""
    texts = _texts()
    head: dict[str, Any] = {"max_tokens": 1024, "stream": body.stream, "temperature": 0.2}
    if body.place == "middle":
        half = body.size // 2
        tools = [
            {
                "type": "function",
                "function": {"name": f"tool_{index}", "description": text["content"], "parameters": {}},
            }
            for index, text in enumerate(_messages("chat", half, texts))
        ]
        document = {**head, "messages": _messages(body.api, half, texts), "model": body.model, "tools": tools}
    elif body.place == "last":
        document = {**head, "messages": _messages(body.api, body.size - 120, texts), "model": body.model}
    else:
        document = {"model": body.model, **head, "messages": _messages(body.api, body.size - 120, texts)}
    return json.dumps(document, ensure_ascii=False).encode()


def write(bodies: Iterable[Body], folder: Path) -> dict[Body, Path]:
    """Write each body to a file; no two have the same length, by which the provider knows what it must receive."""
    files: dict[Body, Path] = {}
    lengths: set[int] = set()
    for body in bodies:
        if body in files:
            continue
        data = content(body)
        while len(data) in lengths:
            data += b"\n"
        lengths.add(len(data))
        files[body] = folder / body.name
        files[body].write_bytes(data)
    return files
