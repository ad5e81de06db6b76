"""Anthropic's Messages API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.vendors.speech import (
    CACHED,
    INPUT,
    OUTPUT,
    WRITTEN,
    Call,
    Heard,
    Refused,
    Said,
    decoded_base64,
    dumps,
    event,
    paired,
    pieces,
    require,
    sign,
    signed,
)
from tests.vendors.strict import check_by_judge, check_types

NEW_VERSION = "2026-10-21"
VERSIONS = ("2023-06-01", NEW_VERSION)
_EMPTY: dict[str, dict[str, Any]] = {
    "thinking": {"thinking": "", "signature": ""},
    "text": {"text": ""},
    "tool_use": {"input": {}},
}
_INVALID_SIGNATURE = "messages.1.content.0: Invalid `signature` in `thinking` block"
_EXPECTED_THINKING = "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`."


def hear(body: dict[str, Any], version: str | None) -> Heard:
    """What the model gets of a request; raises Refused."""
    require(version in VERSIONS, "anthropic-version: header is required")
    require("max_tokens" in body, "max_tokens: Field required")
    check_types("anthropic", body)
    check_by_judge("anthropic", body)
    if version == NEW_VERSION:
        for name in ("temperature", "top_p", "top_k"):
            require(name not in body, f"{name}: Extra inputs are not permitted")
    require(not ("temperature" in body and "top_p" in body), "`temperature` and `top_p` cannot both be specified")
    messages = body["messages"]
    thinking = (body.get("thinking") or {}).get("type") in ("enabled", "adaptive")
    tools = {tool.get("name") for tool in body.get("tools", [])}
    require("tool_choice" not in body or tools, "tool_choice may only be specified while providing tools")
    calls: dict[str, Call] = {}
    heard: dict[str, Any] = {"prompt": "", "images": []}
    results: list[tuple[Call, str]] = []
    recalled = False
    before = ""
    for message in messages:
        require(message["role"] != before, "messages: roles must alternate between user and assistant")
        before = message["role"]
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if message["role"] == "assistant":
            recalled = _assistant(blocks, calls, thinking, message is messages[-2] if len(messages) > 1 else False)
        else:
            results = _user(blocks, calls, heard)
    return Heard(
        model=body["model"],
        prompt=heard["prompt"],
        stream=bool(body.get("stream")),
        system=_system(body.get("system")),
        images=tuple(heard["images"]),
        results=tuple(results),
        tools=tuple(str(tool) for tool in tools),
        thinking=thinking,
        shown=(body.get("thinking") or {}).get("display") != "omitted",
        schema=((body.get("output_config") or {}).get("format") or {}).get("type") == "json_schema",
        recalled=recalled,
    )


def _system(system: Any) -> tuple[str, ...]:
    if system is None or isinstance(system, str):
        return (system,) if system else ()
    require(all(block["text"].strip() for block in system), "system: text content blocks must be non-empty")
    return tuple(block["text"] for block in system)


def _assistant(blocks: list[dict[str, Any]], calls: dict[str, Call], thinking: bool, latest: bool) -> bool:
    recalled = False
    for block in blocks:
        if block["type"] == "thinking":
            thought = signed("anthropic", block["signature"], _INVALID_SIGNATURE)
            require(thought == block["thinking"], _INVALID_SIGNATURE)
            recalled = True
        elif block["type"] == "redacted_thinking":
            signed("anthropic", block["data"], "messages.1.content.0: Invalid `data` in `redacted_thinking` block")
            recalled = True
        elif block["type"] == "tool_use":
            require(block["id"] not in calls, "messages: `tool_use` ids must be unique")
            calls[block["id"]] = Call(block["name"], block["input"])
    called = any(block["type"] == "tool_use" for block in blocks)
    if thinking and latest and called:
        require(blocks[0]["type"] in ("thinking", "redacted_thinking"), _EXPECTED_THINKING)
    return recalled


def _user(blocks: list[dict[str, Any]], calls: dict[str, Call], heard: dict[str, Any]) -> list[tuple[Call, str]]:
    results = []
    identities = []
    for block in blocks:
        if block["type"] == "tool_result":
            require(block["tool_use_id"] in calls, "messages: unexpected `tool_use_id` found in `tool_result` blocks")
            identities.append(block["tool_use_id"])
            results.append((calls[block["tool_use_id"]], _result(block.get("content", ""))))
        elif block["type"] == "text":
            heard["prompt"] = block["text"]
        elif block["type"] == "image":
            source = block["source"]
            require(source["type"] == "base64", "Unable to download the file.")
            heard["images"].append((source["media_type"], decoded_base64(source["data"], "invalid base64 data")))
        else:
            raise Refused(f"messages.0.content.0: Input tag '{block['type']}' found")
    paired(identities, sorted(set(identities)), "each tool_use must have a single result")
    return results


def _result(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(x["text"] for x in content if x["type"] == "text")


def _blocks(said: Said) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.thinking:
        blocks.append({"type": "thinking", "thinking": said.thought, "signature": sign("anthropic", said.thought)})
    if said.text:
        blocks.append({"type": "text", "text": said.whole, "citations": None})
    for number, call in enumerate(said.calls):
        identity = f"toolu_{said.number}{number}"
        blocks.append({"type": "tool_use", "id": identity, "name": call.name, "input": call.arguments})
    return blocks


def _message(said: Said, heard: Heard, content: list[Any], stop: str | None, tokens: int) -> dict[str, Any]:
    return {
        "id": f"msg_{said.number}",
        "type": "message",
        "role": "assistant",
        "model": f"{heard.model}-20260101",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": INPUT - CACHED - WRITTEN,
            "cache_creation_input_tokens": WRITTEN,
            "cache_read_input_tokens": CACHED,
            "output_tokens": tokens,
            "service_tier": "standard",
        },
    }


def whole(said: Said, heard: Heard) -> bytes:
    """A Message."""
    return dumps(_message(said, heard, _blocks(said), _stop(said), OUTPUT)).encode()


def _stop(said: Said) -> str:
    return "tool_use" if said.calls else "end_turn"


def events(said: Said, heard: Heard) -> Iterator[bytes]:
    """The events of a Message."""
    yield _event("message_start", message=_message(said, heard, [], None, 1))
    for index, block in enumerate(_blocks(said)):
        yield _event("content_block_start", index=index, content_block={**block, **_EMPTY[block["type"]]})
        if index == 0:
            yield _event("ping")
        for delta in _deltas(block, said):
            yield _event("content_block_delta", index=index, delta=delta)
        yield _event("content_block_stop", index=index)
    usage = {"output_tokens": OUTPUT}
    yield _event("message_delta", delta={"stop_reason": _stop(said), "stop_sequence": None}, usage=usage)
    yield _event("message_stop")


def _deltas(block: dict[str, Any], said: Said) -> Iterator[dict[str, Any]]:
    if block["type"] == "text":
        yield from ({"type": "text_delta", "text": text} for text in said.text)
    elif block["type"] == "thinking":
        yield from ({"type": "thinking_delta", "thinking": text} for text in said.thoughts)
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        arguments = ("", *pieces(dumps(block["input"])))
        yield from ({"type": "input_json_delta", "partial_json": text} for text in arguments)


def _event(name: str, **members: Any) -> bytes:
    return event({"type": name, **members}, name)


def error(status: int, message: str) -> bytes:
    """An error body."""
    kind = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}
    inner = {"type": kind.get(status, "invalid_request_error"), "message": message}
    return dumps({"type": "error", "error": inner, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}).encode()


def broken_off() -> bytes:
    """An overload in the middle of a stream."""
    return _event("error", error={"type": "overloaded_error", "message": "Overloaded"})
