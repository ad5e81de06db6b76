"""Refuses members and values that the official SDKs' request types do not know."""

from __future__ import annotations

from functools import cache
from typing import Any

import pydantic
from anthropic.types.message_create_params import MessageCreateParamsBase
from google.genai import types as google
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from tests.translation_adapter import judge
from tests.vendors.speech import Refused

_REQUESTS: dict[str, Any] = {
    "anthropic": MessageCreateParamsBase,
    "chat": CompletionCreateParamsBase,
    "responses": ResponseCreateParamsBase,
}
# What the endpoints take and the types of the call leave to its overloads; sampling went with Anthropic's 2.x types.
_UNTYPED = {
    "anthropic": frozenset(("stream", "temperature", "top_p", "top_k")),
    "chat": frozenset(("stream",)),
    "responses": frozenset(("stream",)),
}
_GOOGLE: dict[str, Any] = {
    "contents": list[google.Content],
    "systemInstruction": google.Content,
    "generationConfig": google.GenerationConfig,
    "tools": list[google.Tool],
    "toolConfig": google.ToolConfig,
    "safetySettings": list[google.SafetySetting],
    "cachedContent": str,
    "labels": dict[str, str],
    "serviceTier": str,
    "store": bool,
}


@cache
def _judge() -> Any:
    module = judge()
    module.sdk()
    return module


@cache
def _model(protocol: str) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(_judge().td_model(_REQUESTS[protocol]))


@cache
def _google(member: str) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(_GOOGLE[member])


def check_types(protocol: str, body: dict[str, Any]) -> None:
    """Refuse a body with a member or a value that the SDK's types do not have."""
    try:
        if protocol == "gemini":
            for name, value in body.items():
                if name not in _GOOGLE:
                    raise Refused(f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.')
                _google(name).validate_python(value)
        else:
            known = {name: value for name, value in body.items() if name not in _UNTYPED[protocol]}
            _model(protocol).validate_python(known)
    except pydantic.ValidationError as problem:
        first = problem.errors()[0]
        raise Refused(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def camel(body: dict[str, Any]) -> dict[str, Any]:
    """A Gemini body with its members in camel case, which the service takes in both spellings."""
    found: dict[str, Any] = _judge().camel(body)
    return found


def check_by_judge(protocol: str, body: dict[str, Any]) -> None:
    """Refuse what the vectors' own judge refuses besides: rules that no type expresses."""
    try:
        if protocol == "anthropic":
            _judge().anthropic_rules(body)
    except AssertionError as problem:
        raise Refused(str(problem)) from None
