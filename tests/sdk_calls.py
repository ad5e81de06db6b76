"""One model call of each real SDK, whole and streamed; all of them block, so they run in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
from google import genai

PROMPT = "Say hello."


@dataclass(frozen=True)
class Said:
    """What an SDK made of an answer: its text, the model names that it saw, and the headers of the answer."""

    text: str
    models: frozenset[str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class SDKCall:
    """`family` is the format of the answer, `path` what the daemon is asked for, `M` standing for the model."""

    name: str
    family: str
    path: str
    run: Callable[[str, str, str], Said]


def openai_client(url: str, key: str) -> openai.OpenAI:
    """The SDK as the README sets it up, but without retries."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=30)


def anthropic_client(url: str, key: str) -> anthropic.Anthropic:
    """The SDK as the README sets it up, but without retries."""
    return anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=30)


def google_client(url: str, key: str, version: str | None = None) -> genai.Client:
    """The SDK as the README sets it up; without a version it takes its own default."""
    options: Any = {"base_url": url, "timeout": 30_000}
    if version is not None:
        options["api_version"] = version
    return genai.Client(api_key=key, http_options=options)


def _chat(url: str, key: str, model: str) -> Said:
    with openai_client(url, key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": PROMPT}]
        )
        answer = raw.parse()
        return Said(answer.choices[0].message.content or "", frozenset([answer.model]), raw.headers)


def _chat_stream(url: str, key: str, model: str) -> Said:
    with openai_client(url, key) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": PROMPT}], stream=True
        )
        chunks = list(raw.parse())
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        return Said(text, frozenset(chunk.model for chunk in chunks), raw.headers)


def _responses(url: str, key: str, model: str) -> Said:
    with openai_client(url, key) as client:
        raw = client.responses.with_raw_response.create(model=model, input=PROMPT)
        answer = raw.parse()
        return Said(answer.output_text, frozenset([str(answer.model)]), raw.headers)


def _responses_stream(url: str, key: str, model: str) -> Said:
    with openai_client(url, key) as client:
        raw = client.responses.with_raw_response.create(model=model, input=PROMPT, stream=True)
        events: list[Any] = list(raw.parse())
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        models = frozenset(event.response.model for event in events if hasattr(event, "response"))
        if events[-1].type != "response.completed" or events[-1].response.output_text != text:
            raise AssertionError(f"the stream ends with {events[-1]}")
        return Said(text, models, raw.headers)


def _messages(url: str, key: str, model: str) -> Said:
    with anthropic_client(url, key) as client:
        raw = client.messages.with_raw_response.create(
            model=model, max_tokens=100, messages=[{"role": "user", "content": PROMPT}]
        )
        answer: Any = raw.parse()
        return Said("".join(block.text for block in answer.content), frozenset([answer.model]), raw.headers)


def _messages_stream(url: str, key: str, model: str) -> Said:
    with (
        anthropic_client(url, key) as client,
        client.messages.stream(model=model, max_tokens=100, messages=[{"role": "user", "content": PROMPT}]) as stream,
    ):
        text = stream.get_final_text()
        message = stream.get_final_message()
        return Said(text, frozenset([message.model]), stream.response.headers)


def _google(version: str | None) -> Callable[[str, str, str], Said]:
    def call(url: str, key: str, model: str) -> Said:
        with google_client(url, key, version) as client:
            return _generated([client.models.generate_content(model=model, contents=PROMPT)])

    return call


def _google_stream(version: str | None) -> Callable[[str, str, str], Said]:
    def call(url: str, key: str, model: str) -> Said:
        with google_client(url, key, version) as client:
            return _generated(client.models.generate_content_stream(model=model, contents=PROMPT))

    return call


def _generated(answers: Iterable[Any]) -> Said:
    chunks = list(answers)
    headers = {name.lower(): value for name, value in chunks[0].sdk_http_response.headers.items()}
    return Said("".join(chunk.text or "" for chunk in chunks), frozenset(c.model_version for c in chunks), headers)


_STREAM = "/models/M:streamGenerateContent?alt=sse"
OPENAI_CALLS = (
    SDKCall("chat", "chat", "/v1/chat/completions", _chat),
    SDKCall("chat, streamed", "chat", "/v1/chat/completions", _chat_stream),
    SDKCall("responses", "responses", "/v1/responses", _responses),
    SDKCall("responses, streamed", "responses", "/v1/responses", _responses_stream),
)
ANTHROPIC_CALLS = (
    SDKCall("messages", "anthropic", "/v1/messages", _messages),
    SDKCall("messages, streamed", "anthropic", "/v1/messages", _messages_stream),
)
GOOGLE_CALLS = (
    SDKCall("v1", "gemini", "/v1/models/M:generateContent", _google(None)),
    SDKCall("v1, streamed", "gemini", f"/v1{_STREAM}", _google_stream(None)),
    SDKCall("v1beta", "gemini", "/v1beta/models/M:generateContent", _google("v1beta")),
    SDKCall("v1beta, streamed", "gemini", f"/v1beta{_STREAM}", _google_stream("v1beta")),
)
