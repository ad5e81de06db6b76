"""OpenAI's Responses API."""

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
    sign,
    signed,
)
from tests.vendors.strict import check_types

CREATED = 1760000000
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_INVALID_BLOB = (
    "The encrypted content could not be verified. Reason: Encrypted content could not be decrypted or parsed."
)


def hear(body: dict[str, Any]) -> Heard:
    """What the model gets of a request; raises Refused."""
    check_types("responses", body)
    require(body.get("store") is False, "the proxy must not leave conversations behind: store")
    require(body.get("max_output_tokens", 16) >= 16, "Invalid 'max_output_tokens': integer below minimum value")
    _check_tools(body)
    items = body["input"]
    if isinstance(items, str):
        items = [{"type": "message", "role": "user", "content": items}]
    require(items, "One of 'input' must be provided.")
    heard: dict[str, Any] = {"prompt": "", "system": [], "images": []}
    if body.get("instructions"):
        heard["system"].append(body["instructions"])
    calls: dict[str, Call] = {}
    results: dict[str, str] = {}
    latest: list[str] = []
    recalled = False
    for place, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "reasoning":
            _check_reasoning(item, items[place + 1] if place + 1 < len(items) else {})
            recalled = True
        elif kind == "function_call":
            require("id" not in item or item["id"].startswith("fc"), "Expected an ID that begins with 'fc'.")
            require(_NAME.fullmatch(item["name"]) and len(item["call_id"]) <= 64, "Invalid 'input[1].name' or id")
            require(item["call_id"] not in calls, f"Duplicate item found with id {item['call_id']}")
            calls[item["call_id"]] = Call(item["name"], json.loads(item["arguments"]))
        elif kind == "function_call_output":
            require(item["call_id"] in calls, f"No tool call found for function call output {item['call_id']}.")
            results[item["call_id"]] = _output(item["output"])
            latest.append(item["call_id"])
        elif kind == "message":
            latest = []
            if item["role"] == "user":
                recalled = False
            _message(item, heard)
        else:
            raise Refused(f"Invalid value: '{kind}'")
    paired(list(calls), list(results), "No tool output found for function call")
    reasoning = body.get("reasoning") or {}
    shape = (body.get("text") or {}).get("format") or {}
    if shape.get("type") == "json_schema":
        require(_NAME.fullmatch(shape.get("name", "")), "Missing required parameter: 'text.format.name'.")
    if reasoning.get("effort", "none") != "none":
        require("reasoning.encrypted_content" in body.get("include", []), "the reasoning could not come back: include")
    return Heard(
        model=body["model"],
        prompt=heard["prompt"],
        stream=bool(body.get("stream")),
        system=tuple(heard["system"]),
        images=tuple(heard["images"]),
        results=tuple((calls[identity], results[identity]) for identity in latest),
        tools=tuple(tool["name"] for tool in body.get("tools", [])),
        thinking=reasoning.get("effort", "none") != "none",
        shown=reasoning.get("summary") is not None,
        schema=shape.get("type") == "json_schema",
        recalled=recalled,
    )


def _check_tools(body: dict[str, Any]) -> None:
    for tool in body.get("tools", []):
        require(_NAME.fullmatch(tool.get("name", "")), "Invalid 'tools[0].name': string does not match pattern.")
        require("strict" in tool, "the default of strict is true here, so it must be written: tools[0].strict")
        parameters = tool["parameters"]
        require(parameters.get("type") == "object", "Invalid schema for function: schema must be of type 'object'")
        require("properties" in parameters, "Invalid schema for function: object schema missing properties")
        if tool["strict"]:
            closed = parameters.get("additionalProperties") is False
            require(closed, "Invalid schema for function: 'additionalProperties' is required to be supplied and false")
    for name in ("tool_choice", "parallel_tool_calls"):
        require(name not in body or body.get("tools"), f"'{name}' is only allowed when 'tools' are specified.")


def _check_reasoning(item: dict[str, Any], following: dict[str, Any]) -> None:
    require(str(item.get("id")).startswith("rs_"), f"Invalid 'input[1].id': '{item.get('id')}'. Expected 'rs'.")
    payload = signed("openai", item.get("encrypted_content"), _INVALID_BLOB)
    require(payload.startswith(item["id"] + "|"), f"{_INVALID_BLOB} (another item's)")
    follows = following.get("type") == "function_call" or following.get("role") == "assistant"
    again = following.get("type") == "reasoning"
    require(follows or again, f"Item '{item['id']}' was provided without its required following item.")


def _output(output: Any) -> str:
    if isinstance(output, str):
        return output
    return "\n".join(part["text"] for part in output if part["type"] == "input_text")


def _message(item: dict[str, Any], heard: dict[str, Any]) -> None:
    role, content = item["role"], item["content"]
    require(role in ("user", "assistant", "system", "developer"), f"Invalid value: '{role}'")
    require("id" not in item or item["id"].startswith("msg"), "Expected an ID that begins with 'msg'.")
    plain = "output_text" if role == "assistant" else "input_text"
    for part in [{"type": plain, "text": content}] if isinstance(content, str) else content:
        if part["type"] == plain:
            if role == "user":
                heard["prompt"] = part["text"]
            elif role != "assistant":
                heard["system"].append(part["text"])
        elif part["type"] == "input_image" and role == "user":
            require("detail" in part, "Missing required parameter: 'input[0].content[1].detail'.")
            heard["images"].append(data_url(part["image_url"]))
        else:
            raise Refused(f"Invalid value: '{part['type']}' in a message of role {role}.")


def _items(said: Said) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if said.thinking:
        identity = f"rs_{said.number}"
        summary = [{"type": "summary_text", "text": said.thought}] if said.thoughts else []
        blob = sign("openai", f"{identity}|{said.number}")
        items.append({"id": identity, "type": "reasoning", "summary": summary, "encrypted_content": blob})
    if said.text:
        part = {"type": "output_text", "text": said.whole, "annotations": [], "logprobs": []}
        message = {"id": f"msg_{said.number}", "type": "message", "status": "completed", "role": "assistant"}
        items.append({**message, "content": [part]})
    for number, call in enumerate(said.calls):
        items.append(
            {
                "id": f"fc_{said.number}{number}",
                "type": "function_call",
                "status": "completed",
                "call_id": f"call_{said.number}{number}",
                "name": call.name,
                "arguments": json.dumps(call.arguments),
            }
        )
    return items


def _response(said: Said, heard: Heard, status: str, output: list[Any]) -> dict[str, Any]:
    usage = {
        "input_tokens": INPUT,
        "input_tokens_details": {"cached_tokens": CACHED, "cache_write_tokens": 0},
        "output_tokens": OUTPUT,
        "output_tokens_details": {"reasoning_tokens": said.reasoning},
        "total_tokens": INPUT + OUTPUT,
    }
    return {
        "id": f"resp_{said.number}",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "model": f"{heard.model}-2026-01-01",
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": usage if status == "completed" else None,
        "user": None,
        "metadata": {},
    }


def whole(said: Said, heard: Heard) -> bytes:
    """A Response."""
    return dumps(_response(said, heard, "completed", _items(said))).encode()


def events(said: Said, heard: Heard) -> Iterator[bytes]:
    """The events of a Response."""
    for number, (name, members) in enumerate(_events(said, heard)):
        yield event({"type": name, "sequence_number": number, **members}, name)


def _events(said: Said, heard: Heard) -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("response.created", "response.in_progress"):
        yield name, {"response": _response(said, heard, "in_progress", [])}
    items = _items(said)
    for index, item in enumerate(items):
        place = {"item_id": item["id"], "output_index": index}
        empty = {"reasoning": "summary", "message": "content", "function_call": "arguments"}[item["type"]]
        begun = {**item, empty: "" if empty == "arguments" else []}
        if "status" in item:
            begun["status"] = "in_progress"
        yield "response.output_item.added", {"output_index": index, "item": begun}
        if item["type"] == "reasoning":
            for part in item["summary"]:
                place["summary_index"] = 0
                yield "response.reasoning_summary_part.added", {**place, "part": {**part, "text": ""}}
                for text in said.thoughts:
                    yield "response.reasoning_summary_text.delta", {**place, "delta": text, "obfuscation": "x"}
                yield "response.reasoning_summary_text.done", {**place, "text": part["text"]}
                yield "response.reasoning_summary_part.done", {**place, "part": part}
        elif item["type"] == "message":
            place["content_index"] = 0
            yield "response.content_part.added", {**place, "part": {**item["content"][0], "text": ""}}
            for text in said.text:
                yield "response.output_text.delta", {**place, "delta": text, "logprobs": [], "obfuscation": "x"}
            yield "response.output_text.done", {**place, "text": said.whole, "logprobs": []}
            yield "response.content_part.done", {**place, "part": item["content"][0]}
        else:
            for text in pieces(item["arguments"]):
                yield "response.function_call_arguments.delta", {**place, "delta": text, "obfuscation": "x"}
            done = {**place, "name": item["name"], "arguments": item["arguments"]}
            yield "response.function_call_arguments.done", done
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield "response.completed", {"response": _response(said, heard, "completed", items)}


def broken_off() -> bytes:
    """An overload in the middle of a stream."""
    message = "Our servers are currently overloaded. Please try again later."
    members = {"code": "server_is_overloaded", "message": message, "param": None, "sequence_number": 9}
    return event({"type": "error", **members}, "error")
