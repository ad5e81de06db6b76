"""Conversations through Google's SDK."""

from __future__ import annotations

from functools import cache
from typing import Any

from google import genai
from google.genai import types

from tests.crossings.talk import KEY, PARAMETERS, SCHEMA, SECONDS, TOOL, Asked, Talk, Told, Wants


@cache
def client(url: str) -> genai.Client:
    """The SDK as the README sets it up; one for all talks, since each costs 20 ms."""
    http: Any = {"base_url": url, "timeout": SECONDS * 1000}
    return genai.Client(api_key=KEY, http_options=http)


class GoogleTalk(Talk):
    """generateContent; the history keeps the parts as they came."""

    def __init__(self, url: str, model: str, wants: Wants) -> None:
        super().__init__(url, model, wants)
        self.contents: list[Any] = []

    def say(self, text: str, image: bytes | None = None) -> Told:
        parts = [types.Part.from_text(text=text)]
        if image is not None:
            parts.insert(0, types.Part.from_bytes(data=image, mime_type="image/png"))
        self.contents.append(types.Content(role="user", parts=parts))
        return self._ask()

    def give(self, results: list[tuple[Asked, str]]) -> Told:
        parts = []
        for call, text in results:
            response = types.FunctionResponse(id=call.id, name=call.name, response={"output": text})
            parts.append(types.Part(function_response=response))
        self.contents.append(types.Content(role="user", parts=parts))
        return self._ask()

    def _ask(self) -> Told:
        wants = self.wants
        options: dict[str, Any] = {"max_output_tokens": 4000, **wants.extras}
        if wants.system:
            options["system_instruction"] = wants.system
        if wants.tools:
            declared = types.FunctionDeclaration(
                name=TOOL[0], description=TOOL[1], parameters_json_schema=_allowed(PARAMETERS)
            )
            options["tools"] = [types.Tool(function_declarations=[declared])]
            options["automatic_function_calling"] = types.AutomaticFunctionCallingConfig(disable=True)
        if wants.think:
            options["thinking_config"] = types.ThinkingConfig(thinking_budget=2048, include_thoughts=True)
        if wants.schema:
            options["response_mime_type"] = "application/json"
            options["response_json_schema"] = SCHEMA
        sdk = client(self.url)
        config = types.GenerateContentConfig(**options)
        if not wants.stream:
            answers = [sdk.models.generate_content(model=self.model, contents=self.contents, config=config)]
        else:
            answers = []
            for chunk in sdk.models.generate_content_stream(model=self.model, contents=self.contents, config=config):
                answers.append(chunk)
                self.partial += "".join(part.text or "" for part in _parts(chunk) if not part.thought)
        return self._told(answers)

    def _told(self, answers: list[Any]) -> Told:
        parts = [part for answer in answers for part in _parts(answer)]
        self.contents.append(types.Content(role="model", parts=parts))
        calls = [part.function_call for part in parts if part.function_call]
        last = answers[-1]
        usage = last.usage_metadata or types.GenerateContentResponseUsageMetadata()
        stop = last.candidates[0].finish_reason.value
        thoughts = usage.thoughts_token_count or 0
        return Told(
            text="".join(part.text or "" for part in parts if not part.thought),
            stop=("tool" if calls else "end") if stop == "STOP" else stop,
            input=(usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
            output=(usage.candidates_token_count or 0) + thoughts,
            cached=usage.cached_content_token_count or 0,
            thinking="".join(part.text or "" for part in parts if part.thought),
            calls=tuple(Asked(call.id, call.name or "", call.args) for call in calls),
            reasoning=thoughts,
            model=last.model_version,
            headers={name.lower(): value for name, value in answers[0].sdk_http_response.headers.items()},
        )


def _parts(answer: Any) -> list[Any]:
    content = answer.candidates[0].content if answer.candidates else None
    return (content.parts or []) if content else []


def _allowed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without the keyword that Gemini does not take; such a client knows its own vendor."""
    city = {name: value for name, value in schema["properties"]["city"].items() if name != "minLength"}
    return {**schema, "properties": {**schema["properties"], "city": city}}
