"""Conversations through Anthropic's SDK."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any

import anthropic

from tests.crossings.talk import KEY, PARAMETERS, SCHEMA, SECONDS, TOOL, Asked, Talk, Told, Wants

_STOPS = {"end_turn": "end", "tool_use": "tool"}


@cache
def client(url: str) -> anthropic.Anthropic:
    """The SDK as the README sets it up, without retries; one for all talks, since each costs 20 ms."""
    return anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=SECONDS)


class AnthropicTalk(Talk):
    """Messages; the history keeps the blocks as they came."""

    def __init__(self, url: str, model: str, wants: Wants) -> None:
        super().__init__(url, model, wants)
        self.messages: list[Any] = []

    def say(self, text: str, image: bytes | None = None) -> Told:
        content: Any = text
        if image is not None:
            source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(image).decode()}
            content = [{"type": "image", "source": source}, {"type": "text", "text": text}]
        self.messages.append({"role": "user", "content": content})
        return self._ask()

    def give(self, results: list[tuple[Asked, str]]) -> Told:
        blocks = [{"type": "tool_result", "tool_use_id": call.id, "content": text} for call, text in results]
        self.messages.append({"role": "user", "content": blocks})
        return self._ask()

    def _ask(self) -> Told:
        wants = self.wants
        options: dict[str, Any] = {"max_tokens": 4000, **wants.extras}
        if wants.system:
            options["system"] = wants.system
        if wants.tools:
            options["tools"] = [{"name": TOOL[0], "description": TOOL[1], "input_schema": PARAMETERS}]
        if wants.think:
            options["thinking"] = {"type": "enabled", "budget_tokens": 2048}
        if wants.schema:
            options["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        sdk = client(self.url)
        if wants.stream:
            with sdk.messages.stream(model=self.model, messages=self.messages, **options) as stream:
                for event in stream:
                    if event.type == "text":
                        self.partial += event.text
                headers, answer = stream.response.headers, stream.get_final_message()
        else:
            raw = sdk.messages.with_raw_response.create(model=self.model, messages=self.messages, **options)
            headers, answer = raw.headers, raw.parse()
        return self._told(answer, headers)

    def _told(self, answer: Any, headers: Any) -> Told:
        self.messages.append({"role": "assistant", "content": answer.content})
        calls, text, thinking = [], "", ""
        for block in answer.content:
            if block.type == "text":
                text += block.text
            elif block.type == "thinking":
                thinking += block.thinking
            elif block.type == "tool_use":
                calls.append(Asked(block.id, block.name, block.input))
        usage = answer.usage
        cached = usage.cache_read_input_tokens or 0
        details = getattr(usage, "output_tokens_details", None)
        return Told(
            text=text,
            stop=_STOPS.get(answer.stop_reason, str(answer.stop_reason)),
            input=usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
            output=usage.output_tokens,
            cached=cached,
            thinking=thinking,
            calls=tuple(calls),
            reasoning=getattr(details, "thinking_tokens", None) or 0,
            model=answer.model,
            headers=headers,
        )
