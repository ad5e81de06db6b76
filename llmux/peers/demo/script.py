"""What the demo provider says, whatever the format: a pure function of the conversation."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

from llmux.errors import to_json

INTRODUCTION = "This is the demo provider built into llmux: it needs no key and no network, and always answers alike."
_LONGEST_ECHO = 400
_SEARCHED = 10_000
_EXACTLY_COUNTED = 64 * 1024
_DEEPEST = 6
_WORD = re.compile(r"\s*\S+")
_ASKS_FOR_A_TOOL = re.compile(r"\btools?\b", re.IGNORECASE)
_NOT_TEXT = frozenset(("role", "type", "id"))
_EXAMPLES: dict[str, Any] = {"string": "example", "integer": 1, "number": 1.5, "boolean": True, "null": None}


class Malformed(Exception):
    """The request is not what its format asks for; the text is for the client."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the client offers, with the JSON Schema of its arguments."""

    name: str
    schema: Any


@dataclass(frozen=True, slots=True)
class Conversation:
    """What matters of a request: the last thing the user said, tools, and bounds.

    `result` is the text of tool results that end the conversation, None when it does not end in one. `must_call` forces
    a tool, the one named `forced` if given. `schema` asks for an answer in JSON. `limit` bounds the words.
    """

    said: str
    result: str | None = None
    tools: tuple[Tool, ...] = ()
    may_call: bool = True
    must_call: bool = False
    forced: str | None = None
    schema: Any = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call with its arguments as JSON text."""

    id: str
    name: str
    arguments: dict[str, Any]

    @property
    def text(self) -> str:
        """The arguments as compact JSON."""
        return to_json(self.arguments).decode()


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer: words that join to the text, or a call; `finish` is `stop`, `length` or `call`."""

    id: str
    words: tuple[str, ...]
    call: Call | None
    finish: str
    input_tokens: int
    output_tokens: int

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.words)


def count_words(value: Any) -> int:
    """Count the words of every text in a JSON value, long texts by their spaces; the demo's tokens."""
    if isinstance(value, str):
        return len(value.split()) if len(value) <= _EXACTLY_COUNTED else value.count(" ") + 1
    if isinstance(value, dict):
        return sum(count_words(item) for name, item in value.items() if name not in _NOT_TEXT)
    if isinstance(value, list):
        return sum(count_words(item) for item in value)
    return 0


def example(schema: Any, depth: int = 0) -> Any:
    """Make a small value that fits a JSON Schema, as far as its common keywords say; `{}` for anything else."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return {}
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        return choices[0]
    for key in ("anyOf", "oneOf", "allOf"):
        variants = schema.get(key)
        if isinstance(variants, list) and variants:
            return example(variants[0], depth + 1)
    kind = schema.get("type")
    kind = str(kind[0] if isinstance(kind, list) and kind else kind).lower()
    if kind in _EXAMPLES:
        return schema.get("minimum", _EXAMPLES[kind]) if kind in ("integer", "number") else _EXAMPLES[kind]
    if kind == "array":
        return [example(schema.get("items"), depth + 1)] if schema.get("minItems") else []
    properties = schema.get("properties")
    required = schema.get("required")
    if not isinstance(properties, dict):
        return {}
    names = [name for name in (required if isinstance(required, list) else ()) if isinstance(name, str)]
    return {name: example(properties.get(name), depth + 1) for name in names}


def _chosen_tool(conversation: Conversation) -> Tool | None:
    if not conversation.tools or not conversation.may_call or conversation.result is not None:
        return None
    if not conversation.must_call and not _ASKS_FOR_A_TOOL.search(conversation.said[-_SEARCHED:]):
        return None
    named = (tool for tool in conversation.tools if tool.name == conversation.forced)
    return next(named, conversation.tools[0])


def _text(conversation: Conversation) -> str:
    if isinstance(conversation.schema, dict):
        value = example(conversation.schema) if conversation.schema else {"you_said": conversation.said[:_LONGEST_ECHO]}
        return to_json(value).decode()
    if conversation.result is not None:
        return f"The tool answered: {conversation.result[:_LONGEST_ECHO].strip()} - {INTRODUCTION}"
    if not conversation.said.strip():
        return INTRODUCTION
    return f"You said: {conversation.said[:_LONGEST_ECHO].strip()} - {INTRODUCTION}"


def reply(conversation: Conversation, input_tokens: int) -> Reply:
    """Answer a conversation; ids depend on what it says and how long it is, so that each turn has its own."""
    said, result = conversation.said[-_SEARCHED:], (conversation.result or "")[:_SEARCHED]
    digest = hashlib.sha256(to_json([said, result, input_tokens])).hexdigest()[:24]
    tool = _chosen_tool(conversation)
    if tool is not None:
        arguments = example(tool.schema)
        call = Call(digest, tool.name, arguments if isinstance(arguments, dict) else {})
        return Reply(digest, (), call, "call", input_tokens, 1 + count_words(call.arguments))
    words = tuple(_WORD.findall(_text(conversation)))
    limit = conversation.limit
    if limit is not None and limit < len(words):
        return Reply(digest, words[:limit], None, "length", input_tokens, limit)
    return Reply(digest, words, None, "stop", input_tokens, len(words))


def listed(value: Any, name: str) -> list[Any]:
    """Give a list that a format may leave out; raises Malformed for anything else."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Malformed(f"{name} must be a list")
    return value


def objects(value: Any, name: str) -> list[dict[str, Any]]:
    """Give a non-empty list of objects; raises Malformed for anything else."""
    if not isinstance(value, list) or not value:
        raise Malformed(f"{name} must be a list with at least one entry")
    for number, item in enumerate(value):
        if not isinstance(item, dict):
            raise Malformed(f"{name}[{number}] must be an object")
    return value


def mapping(value: Any) -> dict[str, Any]:
    """Give a JSON object, an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def bound(value: Any, name: str) -> int | None:
    """Give an optional limit of at least 1; raises Malformed for anything else."""
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Malformed(f"{name} must be an integer of at least 1")
    return value


def joined(content: Any, kinds: tuple[str, ...]) -> str:
    """Join the texts of a content that is a string or a list of typed parts; raises Malformed for anything else."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Malformed("content must be a string or a list of parts")
    parts = [part for part in content if isinstance(part, dict) and part.get("type") in kinds]
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))
