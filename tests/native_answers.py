"""What a provider of each kind says in its own format, written by hand after the vendors' documentation.

Every answer says `TEXT`, whole or as a stream, under the model name it is asked for; `script` serves them by path.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.scripted import Seen

TEXT = "Héllo from the provider."
_PARTS = ("Héllo from", " the provider.")
SCRIPTED_TOKENS = 17


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _event(value: Any, name: str | None = None) -> bytes:
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + _json(value) + b"\n\n"


def anthropic(model: str) -> bytes:
    """A whole Message."""
    return _json(_message(model, [{"type": "text", "text": TEXT}], "end_turn", 7))


def _message(model: str, content: list[Any], stop_reason: str | None, tokens: int) -> dict[str, Any]:
    return {
        "id": "msg_01",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 11, "output_tokens": tokens},
    }


def anthropic_events(model: str) -> Iterator[bytes]:
    """The events of a Message."""
    yield _event({"type": "message_start", "message": _message(model, [], None, 1)}, "message_start")
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    yield _event(block, "content_block_start")
    yield _event({"type": "ping"}, "ping")
    for part in _PARTS:
        delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": part}}
        yield _event(delta, "content_block_delta")
    yield _event({"type": "content_block_stop", "index": 0}, "content_block_stop")
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 7}}, "message_delta")
    yield _event({"type": "message_stop"}, "message_stop")


def chat(model: str) -> bytes:
    """A whole chat completion."""
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    return _json(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1760000000,
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        }
    )


def chat_events(model: str) -> Iterator[bytes]:
    """The chunks of a chat completion."""
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000, "model": model}
    for delta in ({"role": "assistant", "content": ""}, *({"content": part} for part in _PARTS)):
        yield _event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    yield _event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield b"data: [DONE]\n\n"


def _response(model: str, status: str, output: list[Any]) -> dict[str, Any]:
    details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
    usage = {"input_tokens": 11, "output_tokens": 7, "total_tokens": 18, **details}
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1760000000,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": usage if status == "completed" else None,
    }


def _item(status: str, texts: tuple[str, ...]) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"id": "msg_1", "type": "message", "status": status, "role": "assistant", "content": content}


def responses(model: str) -> bytes:
    """A whole Response."""
    return _json(_response(model, "completed", [_item("completed", (TEXT,))]))


def responses_events(model: str) -> Iterator[bytes]:
    """The events of a Response."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item, part = _item("completed", (TEXT,)), {"type": "output_text", "text": TEXT, "annotations": []}
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": _response(model, "in_progress", [])}),
        ("response.in_progress", {"response": _response(model, "in_progress", [])}),
        ("response.output_item.added", {"output_index": 0, "item": _item("in_progress", ())}),
        ("response.content_part.added", {**place, "part": {**part, "text": ""}}),
        *(("response.output_text.delta", {**place, "delta": text, "logprobs": []}) for text in _PARTS),
        ("response.output_text.done", {**place, "text": TEXT, "logprobs": []}),
        ("response.content_part.done", {**place, "part": part}),
        ("response.output_item.done", {"output_index": 0, "item": item}),
        ("response.completed", {"response": _response(model, "completed", [item])}),
    ]
    for number, (name, members) in enumerate(events):
        yield _event({"type": name, "sequence_number": number, **members}, name)


def _generated(model: str, text: str, finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": "r1"}


def gemini(model: str) -> bytes:
    """A whole GenerateContentResponse."""
    return _json(_generated(model, TEXT, "STOP"))


def gemini_events(model: str) -> Iterator[bytes]:
    """The chunks of a GenerateContentResponse."""
    yield _event(_generated(model, _PARTS[0], None))
    yield _event(_generated(model, _PARTS[1], "STOP"))


_WHOLE: dict[str, Callable[[str], bytes]] = {
    "/messages": anthropic,
    "/chat/completions": chat,
    "/responses": responses,
}
_EVENTS: dict[str, Callable[[str], Iterator[bytes]]] = {
    "/messages": anthropic_events,
    "/chat/completions": chat_events,
    "/responses": responses_events,
}


def script(seen: Seen) -> None:
    """Answer any model request in the format of its path, an unknown path with 404."""
    path = seen.target.partition("?")[0]
    if path.endswith(("/count_tokens", "/input_tokens")):
        seen.reply(200, _json({"input_tokens": SCRIPTED_TOKENS, "object": "response.input_tokens"}))
    elif ":" in path:
        _gemini(seen, path)
    else:
        ending = next((ending for ending in _WHOLE if path.endswith(ending)), None)
        if ending is None:
            seen.reply(404, b'{"error":{"message":"the script knows no such path"}}')
            return
        asked = seen.json()
        if asked.get("stream"):
            seen.stream(list(_EVENTS[ending](asked["model"])))
        else:
            seen.reply(200, _WHOLE[ending](asked["model"]))


def _gemini(seen: Seen, path: str) -> None:
    model, _, method = path.rpartition("/models/")[2].rpartition(":")
    if method == "countTokens":
        seen.reply(200, _json({"totalTokens": SCRIPTED_TOKENS}))
    elif method == "streamGenerateContent":
        seen.stream(list(gemini_events(model)))
    else:
        seen.reply(200, gemini(model))
