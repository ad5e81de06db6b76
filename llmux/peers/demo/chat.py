"""The demo in OpenAI's chat completions and legacy completions formats."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from llmux.errors import to_json
from llmux.peers.demo.script import Conversation, Malformed, Reply, Tool, bound, count_words, joined, listed, mapping
from llmux.peers.demo.script import objects as _objects

_STOPS = {"stop": "stop", "length": "length", "call": "tool_calls"}
_TEXT = ("text", "input_text")


def schema_of(response_format: dict[str, Any]) -> Any:
    """Give the JSON Schema that `response_format` or `text.format` asks for, `{}` for JSON of any shape."""
    if response_format.get("type") == "json_schema":
        return mapping(response_format.get("json_schema")).get("schema") or response_format.get("schema") or {}
    return {} if response_format.get("type") == "json_object" else None


def count(body: dict[str, Any]) -> int:
    """Count the words of a request."""
    return sum(count_words(body.get(name)) for name in ("messages", "tools"))


def read(body: dict[str, Any]) -> Conversation:
    """Understand a chat request; raises Malformed."""
    messages = _objects(body.get("messages"), "messages")
    for number, message in enumerate(messages):
        if not isinstance(message.get("role"), str):
            raise Malformed(f"messages[{number}].role must be a string")
    users = [message for message in messages if message["role"] == "user"]
    last = messages[-1]
    functions = [mapping(mapping(tool).get("function")) for tool in listed(body.get("tools"), "tools")]
    choice = body.get("tool_choice")
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    return Conversation(
        said=joined(users[-1].get("content"), _TEXT) if users else "",
        result=joined(last.get("content"), _TEXT) if last["role"] == "tool" else None,
        tools=tuple(Tool(function["name"], function.get("parameters")) for function in functions if "name" in function),
        may_call=choice != "none",
        must_call=choice == "required" or isinstance(choice, dict),
        forced=mapping(mapping(choice).get("function")).get("name"),
        schema=schema_of(mapping(body.get("response_format"))),
        limit=bound(limit, "max_completion_tokens"),
    )


def _usage(reply: Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": reply.input_tokens,
        "completion_tokens": reply.output_tokens,
        "total_tokens": reply.input_tokens + reply.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }


def _calls(reply: Reply) -> list[dict[str, Any]]:
    if reply.call is None:
        return []
    function = {"name": reply.call.name, "arguments": reply.call.text}
    return [{"id": f"call_{reply.call.id}", "type": "function", "function": function}]


def whole(reply: Reply, model: str, created: int) -> bytes:
    """Write the answer in one piece."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text, "refusal": None}
    if reply.call is not None:
        message |= {"content": None, "tool_calls": _calls(reply)}
    choice: dict[str, Any] = {"index": 0, "message": message, "logprobs": None, "finish_reason": _STOPS[reply.finish]}
    head: dict[str, Any] = {"id": f"chatcmpl-{reply.id}", "object": "chat.completion", "created": created}
    return to_json({**head, "model": model, "choices": [choice], "usage": _usage(reply)})


def _events(head: dict[str, Any], choices: Iterable[dict[str, Any]], usage: dict[str, Any] | None) -> list[bytes]:
    extra = {"usage": None} if usage else {}
    events = [b"data: %b\n\n" % to_json({**head, "choices": [choice], **extra}) for choice in choices]
    if usage:
        events[-1] += b"data: %b\n\n" % to_json({**head, "choices": [], "usage": usage})
    events[-1] += b"data: [DONE]\n\n"
    return events


def _asked_usage(body: dict[str, Any], reply: Reply) -> dict[str, Any] | None:
    return _usage(reply) if mapping(body.get("stream_options")).get("include_usage") is True else None


def stream(reply: Reply, model: str, created: int, body: dict[str, Any]) -> list[bytes]:
    """Write the answer as events, in pieces that are sent one after the other."""
    head = {"id": f"chatcmpl-{reply.id}", "object": "chat.completion.chunk", "created": created, "model": model}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "" if reply.call is None else None}]
    deltas += [{"content": word} for word in reply.words]
    deltas += [{"tool_calls": [{"index": 0, **call}]} for call in _calls(reply)]
    choices: list[dict[str, Any]] = [
        {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} for delta in deltas
    ]
    choices.append({"index": 0, "delta": {}, "logprobs": None, "finish_reason": _STOPS[reply.finish]})
    return _events(head, choices, _asked_usage(body, reply))


def read_prompt(body: dict[str, Any]) -> Conversation:
    """Understand a legacy completions request; raises Malformed."""
    prompt = body.get("prompt")
    if isinstance(prompt, list):
        prompt = next((item for item in reversed(prompt) if isinstance(item, str)), "")
    if not isinstance(prompt, str):
        raise Malformed("prompt must be a string or a list")
    return Conversation(said=prompt, limit=bound(body.get("max_tokens"), "max_tokens"))


def count_prompt(body: dict[str, Any]) -> int:
    """Count the words of a legacy completions request."""
    return count_words(body.get("prompt"))


def whole_completion(reply: Reply, model: str, created: int) -> bytes:
    """Write the answer to a legacy completions request in one piece."""
    choice = {"index": 0, "text": reply.text, "logprobs": None, "finish_reason": _STOPS[reply.finish]}
    head = {"id": f"cmpl-{reply.id}", "object": "text_completion", "created": created, "model": model}
    return to_json({**head, "choices": [choice], "usage": _usage(reply)})


def stream_completion(reply: Reply, model: str, created: int, body: dict[str, Any]) -> list[bytes]:
    """Write the answer to a legacy completions request as events."""
    head = {"id": f"cmpl-{reply.id}", "object": "text_completion", "created": created, "model": model}
    choices: list[dict[str, Any]] = [
        {"index": 0, "text": word, "logprobs": None, "finish_reason": None} for word in reply.words
    ]
    choices.append({"index": 0, "text": "", "logprobs": None, "finish_reason": _STOPS[reply.finish]})
    return _events(head, choices, _asked_usage(body, reply))
