"""OpenAI's Chat Completions, and a compatible server with the habits of several (`quirky` in the model's name)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.vendors.speech import (
    CACHED,
    INPUT,
    OUTPUT,
    Call,
    Heard,
    Refused,
    Said,
    data_url,
    dumps,
    event,
    paired,
    pieces,
    require,
)
from tests.vendors.strict import check_types

CREATED = 1760000000
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))


def hear(body: dict[str, Any]) -> Heard:
    """What the model gets of a request; raises Refused."""
    check_types("chat", body)
    messages = body["messages"]
    require(messages, "[] is too short - 'messages'")
    require("max_tokens" not in body or "max_completion_tokens" not in body, "Setting both token limits is invalid")
    require("stream_options" not in body or body.get("stream"), "stream_options is only allowed when stream is true")
    _check_tools(body)
    calls: dict[str, Call] = {}
    answered: list[tuple[Call, str]] = []
    waiting: list[str] = []
    results: list[str] = []
    heard: dict[str, Any] = {"prompt": "", "system": [], "images": []}
    for message in messages:
        role = message["role"]
        require(role in _ROLES, f"Invalid value: '{role}'")
        if role == "tool":
            identity = message["tool_call_id"]
            require(identity in waiting, "messages with role 'tool' must be a response to a preceding message")
            results.append(identity)
            answered.append((calls[identity], _text(message["content"])))
            continue
        _check_answered(waiting, results)
        waiting, results = [], []
        if role == "assistant":
            answered = []
            waiting = _called(message, calls)
        elif role == "user":
            answered = []
            _user(message["content"], heard)
        else:
            heard["system"].append(_text(message["content"]))
    _check_answered(waiting, results)
    thinking = body.get("reasoning_effort", "none") != "none"
    return Heard(
        model=body["model"],
        prompt=heard["prompt"],
        stream=bool(body.get("stream")),
        system=tuple(heard["system"]),
        images=tuple(heard["images"]),
        results=tuple(answered),
        tools=tuple(tool["function"]["name"] for tool in body.get("tools", [])),
        thinking=thinking or "quirky" in body["model"],
        shown="quirky" in body["model"],
        schema=_schema(body),
        recalled=True,
    )


def _check_tools(body: dict[str, Any]) -> None:
    for tool in body.get("tools", []):
        function = tool.get("function", {})
        require(_NAME.fullmatch(function.get("name", "")), "Invalid 'tools[0].function.name': string does not match")
        parameters = function.get("parameters", {"type": "object", "properties": {}})
        require(parameters.get("type") == "object", "Invalid schema for function: schema must be of type 'object'")
        require("properties" in parameters, "Invalid schema for function: object schema missing properties")
    for name in ("tool_choice", "parallel_tool_calls"):
        require(name not in body or body.get("tools"), f"'{name}' is only allowed when 'tools' are specified.")


def _check_answered(waiting: list[str], results: list[str]) -> None:
    paired(waiting, results, "An assistant message with 'tool_calls' must be followed by tool messages")


def _called(message: dict[str, Any], calls: dict[str, Call]) -> list[str]:
    found = message.get("tool_calls") or []
    require(message.get("content") or found or message.get("refusal"), "Invalid value for 'content': expected a string")
    for call in found:
        require("extra_content" not in call, "Unknown parameter: 'messages[1].tool_calls[0].extra_content'.")
        require(len(call["id"]) <= 40, "string_above_max_length: 'messages[1].tool_calls[0].id'")
        require(_NAME.fullmatch(call["function"]["name"]), "Invalid 'messages[1].tool_calls[0].function.name'")
        calls[call["id"]] = Call(call["function"]["name"], json.loads(call["function"]["arguments"]))
    identities = [call["id"] for call in found]
    require(len(set(identities)) == len(identities), "Duplicate value for 'tool_call_id'")
    return [str(identity) for identity in identities]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    require(all(part["type"] == "text" for part in content), "Invalid content type: only text is allowed here")
    return "\n".join(part["text"] for part in content)


def _user(content: Any, heard: dict[str, Any]) -> None:
    parts: list[dict[str, Any]] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for part in parts:
        if part["type"] == "text":
            heard["prompt"] = part["text"]
        elif part["type"] == "image_url":
            heard["images"].append(data_url(part["image_url"]["url"]))
        else:
            raise Refused(f"Invalid content type {part['type']}")


def _schema(body: dict[str, Any]) -> bool:
    wanted = body.get("response_format", {})
    if wanted.get("type") != "json_schema":
        return False
    require(_NAME.fullmatch(wanted["json_schema"].get("name", "")), "Missing 'response_format.json_schema.name'")
    return True


def usage(said: Said) -> dict[str, Any]:
    """The usage object."""
    return {
        "prompt_tokens": INPUT,
        "completion_tokens": OUTPUT,
        "total_tokens": INPUT + OUTPUT,
        "prompt_tokens_details": {"cached_tokens": CACHED, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": said.reasoning, "audio_tokens": 0},
    }


def whole(said: Said, heard: Heard) -> bytes:
    """A chat completion."""
    calls = [
        {"id": identity, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
        for identity, call in _numbered(said)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": said.whole or None, "refusal": None, "annotations": []}
    if calls:
        message["tool_calls"] = calls
    if said.thoughts:
        message["reasoning_content"] = said.thought
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(said, heard)}
    answer: dict[str, Any] = {
        "id": f"chatcmpl-{said.number}",
        "object": "chat.completion",
        "created": CREATED,
        "model": f"{heard.model}-2026-01-01",
        "choices": [choice],
        "usage": usage(said),
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }
    if "quirky" in heard.model:
        del answer["usage"]
    return dumps(answer).encode()


def _numbered(said: Said) -> list[tuple[str, Call]]:
    return [(f"call_{said.number}{number}", call) for number, call in enumerate(said.calls)]


def _finish(said: Said, heard: Heard) -> str:
    return "tool_calls" if said.calls and "quirky" not in heard.model else "stop"


def events(said: Said, heard: Heard, include_usage: bool) -> Iterator[bytes]:
    """The chunks of a chat completion."""
    quirky = "quirky" in heard.model
    head = {
        "id": f"chatcmpl-{said.number}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": f"{heard.model}-2026-01-01",
        "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb",
    }
    more = {"usage": None} if include_usage and not quirky else {}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return event({**head, "choices": [choice], **more})

    yield chunk({"role": "assistant", "content": "" if said.text else None, "refusal": None})
    for thought in said.thoughts:
        yield chunk({"reasoning_content": thought})
    for text in said.text:
        yield chunk({"role": "assistant", "content": text} if quirky else {"content": text})
    for number, (identity, call) in enumerate(_numbered(said)):
        start = {"id": identity, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield chunk({"tool_calls": [{"index": number, **start}]})
        for piece in pieces(json.dumps(call.arguments)):
            function = {"name": call.name, "arguments": piece} if quirky else {"arguments": piece}
            again = {"id": identity, "type": "function"} if quirky else {}
            yield chunk({"tool_calls": [{"index": number, **again, "function": function}]})
    yield chunk({}, _finish(said, heard))
    if quirky:
        return
    if include_usage:
        yield event({**head, "choices": [], "usage": usage(said)})
    yield b"data: [DONE]\n\n"


def error(status: int, message: str) -> bytes:
    """An error body."""
    kind, code = {
        401: ("invalid_request_error", "invalid_api_key"),
        429: ("requests", "rate_limit_exceeded"),
        503: ("server_error", "overloaded"),
    }.get(status, ("invalid_request_error", None))
    return dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}).encode()


def broken_off() -> bytes:
    """An overload in the middle of a stream."""
    return b"data: " + error(503, "The server is overloaded. Please try again later.") + b"\n\n"
