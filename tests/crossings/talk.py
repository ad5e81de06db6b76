"""What a conversation through an SDK has in common, whichever SDK it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KEY = "client-key-of-the-crossings"
SECONDS = 30
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "minLength": 1, "description": "the town"},
        "days": {"type": "array", "items": {"type": "integer"}},
        "default": {"type": ["string", "null"], "enum": ["a", None]},
    },
    "required": ["city"],
    "additionalProperties": False,
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}
TOOL = ("get_weather", "The weather of a town.")


@dataclass(frozen=True)
class Asked:
    """One tool call as the SDK shows it."""

    id: str | None
    name: str
    arguments: Any


@dataclass(frozen=True)
class Told:
    """One answer as the SDK shows it. `input` and `output` count everything; `stop` is end, tool, or the SDK's word."""

    text: str
    stop: str
    input: int
    output: int
    cached: int
    thinking: str = ""
    calls: tuple[Asked, ...] = ()
    reasoning: int = 0
    model: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wants:
    """What a conversation asks of the model besides an answer."""

    stream: bool = False
    tools: bool = False
    think: bool = False
    schema: bool = False
    system: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)


class Talk(ABC):
    """One conversation; `partial` is the text that came before an answer broke off."""

    def __init__(self, url: str, model: str, wants: Wants) -> None:
        self.url = url
        self.model = model
        self.wants = wants
        self.partial = ""

    @abstractmethod
    def say(self, text: str, image: bytes | None = None) -> Told:
        """Say something as the user, with a PNG or not."""

    @abstractmethod
    def give(self, results: list[tuple[Asked, str]]) -> Told:
        """Give the results of the calls."""
