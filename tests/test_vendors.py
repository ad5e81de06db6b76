"""The scripted vendors are worth crossing to only if they refuse what the official services refuse."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.vendors import anthropic, chat, gemini, responses
from tests.vendors.speech import Refused, sign

Change = Callable[[dict[str, Any]], object]
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "u"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "r1"},
        {"role": "tool", "tool_call_id": "c2", "content": "r2"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
    "tool_choice": "auto",
    "stream": True,
    "stream_options": {"include_usage": True},
}
RESPONSES: dict[str, Any] = {
    "model": "m",
    "store": False,
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"effort": "low"},
    "input": [
        {"role": "user", "content": "u"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": sign("openai", "rs_1|x")},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "r"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}],
}
ANTHROPIC: dict[str, Any] = {
    "model": "m",
    "max_tokens": 4000,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "messages": [
        {"role": "user", "content": "u"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": sign("anthropic", "t")},
                {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "r"}]},
    ],
    "tools": [{"name": "f", "input_schema": SCHEMA}],
}
GEMINI: dict[str, Any] = {
    "contents": [
        {"role": "user", "parts": [{"text": "u"}]},
        {
            "role": "model",
            "parts": [
                {"functionCall": {"id": "1", "name": "f", "args": {}}, "thoughtSignature": sign("gemini", "f {}")},
                {"functionCall": {"id": "2", "name": "f", "args": {}}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "1", "name": "f", "response": {"output": "r"}}},
                {"functionResponse": {"id": "2", "name": "f", "response": {"output": "r"}}},
            ],
        },
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": SCHEMA}]}],
    "generationConfig": {"thinkingConfig": {"thinkingBudget": 100}},
}


def put(*path: Any) -> Change:
    """A change that puts the last value of a path in its place."""

    def change(body: dict[str, Any]) -> None:
        at: Any = body
        for step in path[:-2]:
            at = at[step]
        at[path[-2]] = path[-1]

    return change


def drop(*path: Any) -> Change:
    """A change that takes the last step of a path out."""

    def change(body: dict[str, Any]) -> None:
        at: Any = body
        for step in path[:-1]:
            at = at[step]
        del at[path[-1]]

    return change


class VendorTests(SynchronousTestCase):
    def refuses(self, hear: Callable[[dict[str, Any]], Any], good: dict[str, Any], *changes: Change) -> None:
        """A good body is taken, and every change of it refused."""
        hear(copy.deepcopy(good))
        for number, change in enumerate(changes):
            with self.subTest(change=number):
                body = copy.deepcopy(good)
                change(body)
                self.assertNotEqual(body, good)
                self.assertRaises(Refused, hear, body)

    def test_chat(self) -> None:
        self.refuses(
            chat.hear,
            CHAT,
            put("top_k", 3),
            put("messages", 1, "cache_control", {"type": "ephemeral"}),
            put("messages", 1, "role", "model"),
            put("messages", []),
            drop("messages", 3),
            drop("messages", 2),
            put("messages", 4, "tool_call_id", "c1"),
            lambda body: body["messages"].insert(3, {"role": "user", "content": "x"}),
            put("messages", 2, "tool_calls", 0, "id", "c" * 41),
            put("messages", 2, "tool_calls", 0, "extra_content", {}),
            put("messages", 2, "tool_calls", 0, "function", "name", "a.b"),
            put("messages", 0, "content", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]),
            put("messages", 1, "content", [{"type": "image_url", "image_url": {"url": "data:image/png;base64,-_-_"}}]),
            drop("tools"),
            drop("stream"),
            put("tools", 0, "function", "parameters", {"type": "string"}),
            lambda body: body.update(max_tokens=1, max_completion_tokens=1),
        )

    def test_responses(self) -> None:
        self.refuses(
            responses.hear,
            RESPONSES,
            put("stop", ["x"]),
            put("input", 0, "role", "tool"),
            put("input", 1, "encrypted_content", sign("anthropic", "rs_1|x")),
            put("input", 1, "encrypted_content", "llmux:1:openai:enc:x"),
            put("input", 1, "id", "rs_2"),
            lambda body: body["input"].append(body["input"].pop(1)),
            drop("input", 2),
            drop("input", 3),
            put("input", 2, "id", "call_1"),
            put("input", 2, "name", "a.b"),
            drop("store"),
            drop("include"),
            drop("tools", 0, "strict"),
            put("tools", 0, "strict", True),
            put("max_output_tokens", 8),
        )

    def test_anthropic(self) -> None:
        self.refuses(
            lambda body: anthropic.hear(body, "2023-06-01"),
            ANTHROPIC,
            drop("max_tokens"),
            put("seed", 1),
            put("messages", 0, "role", "system"),
            put("messages", 0, "content", " "),
            drop("messages", 0),
            drop("messages", 2),
            put("messages", 2, "content", 0, "tool_use_id", "toolu_2"),
            lambda body: body["messages"].insert(1, {"role": "user", "content": "x"}),
            lambda body: body["messages"][2]["content"].insert(0, {"type": "text", "text": "x"}),
            put("messages", 1, "content", 0, "signature", sign("gemini", "t")),
            put("messages", 1, "content", 0, "thinking", "other"),
            drop("messages", 1, "content", 0),
            put("messages", 1, "content", 1, "id", "call:1"),
            put("thinking", "budget_tokens", 4000),
            put("thinking", "budget_tokens", 1000),
            put("temperature", 0.5),
            put("tool_choice", {"type": "any"}),
            put("stop_sequences", [" "]),
            put("tools", 0, "name", "a.b"),
        )
        body = {**copy.deepcopy(ANTHROPIC), "temperature": 1}
        self.assertRaises(Refused, anthropic.hear, body, anthropic.NEW_VERSION)
        self.assertRaises(Refused, anthropic.hear, copy.deepcopy(ANTHROPIC), None)

    def test_gemini(self) -> None:
        self.refuses(
            lambda body: gemini.hear("gemini-3-pro", body, False),
            GEMINI,
            put("model", "m"),
            put("contents", 0, "name", "x"),
            put("contents", 0, "role", "assistant"),
            put("contents", 0, "parts", []),
            drop("contents", 2),
            drop("contents", 2, "parts", 1),
            lambda body: body["contents"][2]["parts"].append({"text": "x"}),
            put("contents", 2, "parts", 0, "functionResponse", "name", "g"),
            put("contents", 2, "parts", 0, "functionResponse", "id", "2"),
            drop("contents", 1, "parts", 0, "thoughtSignature"),
            put("contents", 1, "parts", 0, "thoughtSignature", sign("anthropic", "f {}")),
            put("contents", 1, "parts", 0, "functionCall", "args", {"a": 1}),
            put("tools", 0, "functionDeclarations", 0, "parametersJsonSchema", {"type": "object", "default": {}}),
            put("tools", 0, "functionDeclarations", 0, "name", "1f"),
            put("generationConfig", "thinkingConfig", "thinkingLevel", "HIGH"),
            put("generationConfig", "max_tokens", 1),
        )
