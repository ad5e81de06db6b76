"""Conversations through OpenAI's SDK, in both of its formats."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import openai

from tests.crossings.talk import KEY, PARAMETERS, SCHEMA, SECONDS, TOOL, Asked, Talk, Told, Wants

_STOPS = {"stop": "end", "tool_calls": "tool"}


@cache
def client(url: str) -> openai.OpenAI:
    """The SDK as the README sets it up, without retries; one for all talks, since each costs 20 ms."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=SECONDS)


def _data_url(image: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(image).decode()


class ChatTalk(Talk):
    """Chat Completions; the history keeps no more of an answer than the documented members."""

    keeps_extras = False

    def __init__(self, url: str, model: str, wants: Wants) -> None:
        super().__init__(url, model, wants)
        self.messages: list[Any] = [{"role": "system", "content": wants.system}] if wants.system else []

    def say(self, text: str, image: bytes | None = None) -> Told:
        content: Any = text
        if image is not None:
            content = [{"type": "image_url", "image_url": {"url": _data_url(image)}}, {"type": "text", "text": text}]
        self.messages.append({"role": "user", "content": content})
        return self._ask()

    def give(self, results: list[tuple[Asked, str]]) -> Told:
        self.messages += [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in results]
        return self._ask()

    def _ask(self) -> Told:
        wants = self.wants
        options: dict[str, Any] = dict(wants.extras)
        if wants.tools:
            function = {"name": TOOL[0], "description": TOOL[1], "parameters": PARAMETERS}
            options["tools"] = [{"type": "function", "function": function}]
        if wants.think:
            options["reasoning_effort"] = "medium"
        if wants.schema:
            shape = {"name": "forecast", "schema": SCHEMA, "strict": True}
            options["response_format"] = {"type": "json_schema", "json_schema": shape}
        sdk = client(self.url)
        if wants.stream:
            headers, answer = self._streamed(sdk, options)
        else:
            raw = sdk.chat.completions.with_raw_response.create(
                model=self.model, messages=self.messages, max_completion_tokens=4000, **options
            )
            headers, answer = raw.headers, raw.parse()
        return self._told(answer, headers)

    def _streamed(self, sdk: openai.OpenAI, options: dict[str, Any]) -> tuple[Any, Any]:
        with sdk.chat.completions.stream(
            model=self.model,
            messages=self.messages,
            max_completion_tokens=4000,
            stream_options={"include_usage": True},
            **options,
        ) as stream:
            for event in stream:
                if event.type == "content.delta":
                    self.partial += event.delta
            return stream._response.headers, stream.get_final_completion()

    def _told(self, answer: Any, headers: Any) -> Told:
        choice = answer.choices[0]
        message = choice.message
        calls = []
        kept: list[dict[str, Any]] = []
        for call in message.tool_calls or []:
            calls.append(Asked(call.id, call.function.name, json.loads(call.function.arguments)))
            function = {"name": call.function.name, "arguments": call.function.arguments}
            more = {"extra_content": call.extra_content} if self.keeps_extras and hasattr(call, "extra_content") else {}
            kept.append({"id": call.id, "type": "function", "function": function, **more})
        history = {"role": "assistant", "content": message.content}
        self.messages.append({**history, "tool_calls": kept} if kept else history)
        usage = answer.usage
        details = usage and usage.completion_tokens_details
        prompt = usage and usage.prompt_tokens_details
        return Told(
            text=message.content or "",
            stop=_STOPS.get(choice.finish_reason, choice.finish_reason),
            input=usage.prompt_tokens if usage else 0,
            output=usage.completion_tokens if usage else 0,
            cached=(prompt and prompt.cached_tokens) or 0,
            thinking=getattr(message, "reasoning_content", None) or "",
            calls=tuple(calls),
            reasoning=(details and details.reasoning_tokens) or 0,
            model=answer.model,
            headers=headers,
        )


class KeepingChatTalk(ChatTalk):
    """Chat Completions by a client that returns `extra_content`, as Google documents it."""

    keeps_extras = True


class ResponsesTalk(Talk):
    """Responses; the history keeps the items as they came."""

    def __init__(self, url: str, model: str, wants: Wants) -> None:
        super().__init__(url, model, wants)
        self.items: list[Any] = []

    def say(self, text: str, image: bytes | None = None) -> Told:
        content: list[dict[str, Any]] = [{"type": "input_text", "text": text}]
        if image is not None:
            content.insert(0, {"type": "input_image", "detail": "auto", "image_url": _data_url(image)})
        self.items.append({"role": "user", "content": content if image is not None else text})
        return self._ask()

    def give(self, results: list[tuple[Asked, str]]) -> Told:
        outputs = [{"type": "function_call_output", "call_id": call.id, "output": text} for call, text in results]
        self.items += outputs
        return self._ask()

    def _ask(self) -> Told:
        wants = self.wants
        options: dict[str, Any] = {"store": False, "max_output_tokens": 4000, **wants.extras}
        if wants.system:
            options["instructions"] = wants.system
        if wants.tools:
            function = {"type": "function", "name": TOOL[0], "description": TOOL[1], "parameters": PARAMETERS}
            options["tools"] = [{**function, "strict": False}]
        if wants.think:
            options["reasoning"] = {"effort": "medium", "summary": "auto"}
            options["include"] = ["reasoning.encrypted_content"]
        if wants.schema:
            shape = {"type": "json_schema", "name": "forecast", "schema": SCHEMA, "strict": True}
            options["text"] = {"format": shape}
        sdk = client(self.url)
        if wants.stream:
            headers, answer = self._streamed(sdk, options)
        else:
            raw = sdk.responses.with_raw_response.create(model=self.model, input=self.items, **options)
            headers, answer = raw.headers, raw.parse()
        return self._told(answer, headers)

    def _streamed(self, sdk: openai.OpenAI, options: dict[str, Any]) -> tuple[Any, Any]:
        with sdk.responses.stream(model=self.model, input=self.items, **options) as stream:
            for event in stream:
                if event.type == "response.output_text.delta":
                    self.partial += event.delta
                elif event.type == "response.failed":
                    raise ResponseFailed(event.response.error)
            return stream._response.headers, stream.get_final_response()

    def _told(self, answer: Any, headers: Any) -> Told:
        calls, thinking = [], ""
        for item in answer.output:
            kept = item.to_dict(exclude_none=True)
            kept.pop("parsed_arguments", None)
            for part in kept.get("content") or []:
                part.pop("parsed", None)
            self.items.append(kept)
            if item.type == "function_call":
                calls.append(Asked(item.call_id, item.name, json.loads(item.arguments)))
            elif item.type == "reasoning":
                thinking += "".join(part.text for part in item.summary)
        usage = answer.usage
        stop = "tool" if calls else "end"
        return Told(
            text=answer.output_text,
            stop=stop if answer.status == "completed" else str(answer.status),
            input=usage.input_tokens,
            output=usage.output_tokens,
            cached=usage.input_tokens_details.cached_tokens,
            thinking=thinking,
            calls=tuple(calls),
            reasoning=usage.output_tokens_details.reasoning_tokens,
            model=str(answer.model),
            headers=headers,
        )


class ResponseFailed(Exception):
    """The event `response.failed`, which the SDK delivers as an event and which a program has to look for."""

    def __init__(self, error: Any) -> None:
        super().__init__(error.message)
        self.code = error.code
