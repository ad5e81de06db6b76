"""The demo in OpenAI's Responses format."""

from __future__ import annotations

from typing import Any

from llmux.errors import to_json
from llmux.peers.demo.chat import schema_of
from llmux.peers.demo.script import Conversation, Malformed, Reply, Tool, bound, count_words, joined, listed, mapping
from llmux.peers.demo.script import objects as _objects

_TEXT = ("input_text", "text", "output_text")


def count(body: dict[str, Any]) -> int:
    """Count the words of a request."""
    return sum(count_words(body.get(name)) for name in ("instructions", "input", "tools"))


def _result(items: list[dict[str, Any]]) -> str | None:
    last = items[-1]
    if not str(last.get("type")).endswith("call_output"):
        return None
    return joined(last.get("output"), _TEXT)


def read(body: dict[str, Any]) -> Conversation:
    """Understand a request; raises Malformed."""
    given = body.get("input")
    if isinstance(given, str):
        said, result = given, None
    elif given is None:
        raise Malformed("Missing required parameter: 'input'")
    else:
        items = _objects(given, "input")
        users = [item for item in items if item.get("role") == "user"]
        said, result = joined(users[-1].get("content"), _TEXT) if users else "", _result(items)
    tools = [mapping(tool) for tool in listed(body.get("tools"), "tools")]
    functions = [tool for tool in tools if tool.get("type") == "function" and isinstance(tool.get("name"), str)]
    choice = body.get("tool_choice")
    return Conversation(
        said=said,
        result=result,
        tools=tuple(Tool(tool["name"], tool.get("parameters")) for tool in functions),
        may_call=choice != "none",
        must_call=choice == "required" or mapping(choice).get("type") == "function",
        forced=mapping(choice).get("name"),
        schema=schema_of(mapping(mapping(body.get("text")).get("format"))),
        limit=bound(body.get("max_output_tokens"), "max_output_tokens"),
    )


def _item(reply: Reply, status: str) -> dict[str, Any]:
    done = status != "in_progress"
    if reply.call is None:
        text = {"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}
        item = {"id": f"msg_{reply.id}", "type": "message", "status": status, "role": "assistant"}
        return {**item, "content": [text] if done else []}
    item = {"id": f"fc_{reply.call.id}", "type": "function_call", "status": status, "name": reply.call.name}
    return {**item, "call_id": f"call_{reply.call.id}", "arguments": reply.call.text if done else ""}


def _status(reply: Reply) -> str:
    return "incomplete" if reply.finish == "length" else "completed"


def _response(reply: Reply, model: str, created: int, body: dict[str, Any], status: str) -> dict[str, Any]:
    done = status != "in_progress"
    usage = {
        "input_tokens": reply.input_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": reply.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.input_tokens + reply.output_tokens,
    }
    return {
        "id": f"resp_{reply.id}",
        "object": "response",
        "created_at": created,
        "status": status,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": model,
        "output": [_item(reply, status)] if done else [],
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "store": False,
        "temperature": body.get("temperature", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "usage": usage if done else None,
    }


def whole(reply: Reply, model: str, created: int, body: dict[str, Any]) -> bytes:
    """Write the answer in one piece."""
    return to_json(_response(reply, model, created, body, _status(reply)))


class _Events:
    def __init__(self) -> None:
        self.number = -1

    def write(self, event: str, **members: Any) -> bytes:
        """Write one event with the next sequence number."""
        self.number += 1
        data = to_json({"type": f"response.{event}", "sequence_number": self.number, **members})
        return b"event: response.%b\ndata: %b\n\n" % (event.encode(), data)


def stream(reply: Reply, model: str, created: int, body: dict[str, Any]) -> list[bytes]:
    """Write the answer as events, in pieces that are sent one after the other (TRANSLATION 5.3)."""
    write, status = _Events().write, _status(reply)
    begun = _response(reply, model, created, body, "in_progress")
    done = _item(reply, status)
    start = write("created", response=begun) + write("in_progress", response=begun)
    start += write("output_item.added", output_index=0, item=_item(reply, "in_progress"))
    place: dict[str, Any] = {"item_id": done["id"], "output_index": 0}
    if reply.call is None:
        place["content_index"] = 0
        part = done["content"][0]
        pieces = [start + write("content_part.added", **place, part={**part, "text": ""})]
        pieces += [write("output_text.delta", **place, delta=word, logprobs=[]) for word in reply.words]
        end = write("output_text.done", **place, text=reply.text, logprobs=[])
        end += write("content_part.done", **place, part=part)
    else:
        pieces = [start, write("function_call_arguments.delta", **place, delta=reply.call.text)]
        end = write("function_call_arguments.done", **place, name=reply.call.name, arguments=reply.call.text)
    end += write("output_item.done", output_index=0, item=done)
    end += write(status, response=_response(reply, model, created, body, status))
    return [*pieces, end]
