"""The demo in Anthropic's Messages format."""

from __future__ import annotations

from typing import Any

from llmux.errors import to_json
from llmux.peers.demo.script import Conversation, Malformed, Reply, Tool, bound, count_words, joined, listed, mapping
from llmux.peers.demo.script import objects as _objects

_ROLES = ("user", "assistant", "system")
_STOPS = {"stop": "end_turn", "length": "max_tokens", "call": "tool_use"}


def _results(content: Any) -> str | None:
    if not isinstance(content, list):
        return None
    results = [block for block in content if isinstance(block, dict) and block.get("type") == "tool_result"]
    return "\n".join(joined(block.get("content"), ("text",)) for block in results) if results else None


def count(body: dict[str, Any]) -> int:
    """Count the words of a request."""
    return sum(count_words(body.get(name)) for name in ("system", "messages", "tools"))


def check(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the messages of a request; raises Malformed."""
    messages = _objects(body.get("messages"), "messages")
    for number, message in enumerate(messages):
        if message.get("role") not in _ROLES:
            raise Malformed(f"messages.{number}.role: must be 'user' or 'assistant'")
        if not isinstance(message.get("content"), str | list):
            raise Malformed(f"messages.{number}.content: Input should be a valid list")
    return messages


def read(body: dict[str, Any]) -> Conversation:
    """Understand a request; raises Malformed."""
    messages = check(body)
    if body.get("max_tokens") is None:
        raise Malformed("max_tokens: Field required")
    last = next((message for message in reversed(messages) if message["role"] == "user"), {"content": ""})
    choice = mapping(body.get("tool_choice"))
    tools = [tool for tool in listed(body.get("tools"), "tools") if isinstance(tool, dict)]
    return Conversation(
        said=joined(last["content"], ("text",)),
        result=_results(last["content"]),
        # Server tools have no schema and are not called by the client.
        tools=tuple(Tool(str(tool.get("name")), tool["input_schema"]) for tool in tools if "input_schema" in tool),
        may_call=choice.get("type") != "none",
        must_call=choice.get("type") in ("any", "tool"),
        forced=choice.get("name"),
        schema=mapping(mapping(body.get("output_config")).get("format")).get("schema"),
        limit=bound(body.get("max_tokens"), "max_tokens"),
    )


def _message(reply: Reply, model: str) -> dict[str, Any]:
    return {
        "id": f"msg_{reply.id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": reply.input_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        },
    }


def whole(reply: Reply, model: str) -> bytes:
    """Write the answer in one piece."""
    message = _message(reply, model)
    if reply.call is None:
        message["content"] = [{"type": "text", "text": reply.text}]
    else:
        call = {"type": "tool_use", "id": f"toolu_{reply.call.id}", "name": reply.call.name}
        message["content"] = [{**call, "input": reply.call.arguments}]
    message["stop_reason"] = _STOPS[reply.finish]
    message["usage"]["output_tokens"] = reply.output_tokens
    return to_json(message)


def _event(name: str, **members: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), to_json({"type": name, **members}))


def stream(reply: Reply, model: str) -> list[bytes]:
    """Write the answer as events, in pieces that are sent one after the other."""
    if reply.call is None:
        block: dict[str, Any] = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": word} for word in reply.words]
    else:
        block = {"type": "tool_use", "id": f"toolu_{reply.call.id}", "name": reply.call.name, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": reply.call.text}]
    start = _event("message_start", message=_message(reply, model))
    start += _event("content_block_start", index=0, content_block=block)
    end = _event("content_block_stop", index=0)
    end += _event(
        "message_delta",
        delta={"stop_reason": _STOPS[reply.finish], "stop_sequence": None},
        usage={"input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens},
    )
    end += _event("message_stop")
    return [start, *(_event("content_block_delta", index=0, delta=delta) for delta in deltas), end]
