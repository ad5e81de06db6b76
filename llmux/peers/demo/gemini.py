"""The demo in Google's generateContent format."""

from __future__ import annotations

from typing import Any

from llmux.errors import to_json
from llmux.peers.demo.script import Conversation, Malformed, Reply, Tool, bound, count_words, listed, mapping
from llmux.peers.demo.script import objects as _objects

_FINISHES = {"stop": "STOP", "length": "MAX_TOKENS", "call": "STOP"}


def _either(holder: dict[str, Any], camel: str, snake: str) -> Any:
    return holder[camel] if camel in holder else holder.get(snake)


def count(body: dict[str, Any]) -> int:
    """Count the words of a request, or of the one that a counting request wraps."""
    wrapped = _either(body, "generateContentRequest", "generate_content_request")
    body = wrapped if isinstance(wrapped, dict) else body
    system = _either(body, "systemInstruction", "system_instruction")
    return sum(count_words(value) for value in (system, body.get("contents"), body.get("tools")))


def check(body: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Give the parts of each content whose role is not `model`; raises Malformed."""
    wrapped = _either(body, "generateContentRequest", "generate_content_request")
    contents = mapping(wrapped).get("contents") if isinstance(wrapped, dict) else body.get("contents")
    turns = []
    for number, content in enumerate(_objects(contents, "contents")):
        if content.get("role") not in (None, "user", "model", "function", "tool"):
            raise Malformed("Please use a valid role: user, model.")
        parts = _objects(content.get("parts"), f"contents[{number}].parts")
        if content.get("role") != "model":
            turns.append(parts)
    return turns


def _declarations(body: dict[str, Any]) -> list[Tool]:
    found = []
    for tool in listed(body.get("tools"), "tools"):
        declared = _either(mapping(tool), "functionDeclarations", "function_declarations")
        for function in listed(declared, "functionDeclarations"):
            schema = mapping(function).get("parameters") or _either(
                mapping(function), "parametersJsonSchema", "parameters_json_schema"
            )
            if isinstance(mapping(function).get("name"), str):
                found.append(Tool(function["name"], schema))
    return found


def read(body: dict[str, Any]) -> Conversation:
    """Understand a request; raises Malformed."""
    turns = check(body)
    last = turns[-1] if turns else []
    results = [result for part in last if (result := _either(part, "functionResponse", "function_response"))]
    said = next((texts for turn in reversed(turns) if (texts := [p["text"] for p in turn if _is_text(p)])), [])
    config = mapping(_either(body, "generationConfig", "generation_config"))
    calling = mapping(_either(body, "toolConfig", "tool_config"))
    calling = mapping(_either(calling, "functionCallingConfig", "function_calling_config"))
    allowed = listed(_either(calling, "allowedFunctionNames", "allowed_function_names"), "allowedFunctionNames")
    mode = str(calling.get("mode", "AUTO")).upper()
    schema = _either(config, "responseSchema", "response_schema") or _either(
        config, "responseJsonSchema", "response_json_schema"
    )
    if schema is None and _either(config, "responseMimeType", "response_mime_type") == "application/json":
        schema = {}
    return Conversation(
        said="\n".join(said),
        result=to_json(mapping(results[0]).get("response")).decode() if results else None,
        tools=tuple(_declarations(body)),
        may_call=mode != "NONE",
        must_call=mode == "ANY",
        forced=allowed[0] if allowed else None,
        schema=schema,
        limit=bound(_either(config, "maxOutputTokens", "max_output_tokens"), "maxOutputTokens"),
    )


def _is_text(part: dict[str, Any]) -> bool:
    return isinstance(part.get("text"), str)


def _chunk(reply: Reply, model: str, part: dict[str, Any], *, last: bool) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": 0}
    usage = {"promptTokenCount": reply.input_tokens, "totalTokenCount": reply.input_tokens}
    if last:
        candidate["finishReason"] = _FINISHES[reply.finish]
        usage = {
            "promptTokenCount": reply.input_tokens,
            "candidatesTokenCount": reply.output_tokens,
            "totalTokenCount": reply.input_tokens + reply.output_tokens,
        }
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": reply.id}


def _parts(reply: Reply) -> list[dict[str, Any]]:
    if reply.call is not None:
        return [{"functionCall": {"id": reply.call.id, "name": reply.call.name, "args": reply.call.arguments}}]
    return [{"text": word} for word in reply.words]


def whole(reply: Reply, model: str) -> bytes:
    """Write the answer in one piece."""
    part = {"text": reply.text} if reply.call is None else _parts(reply)[0]
    return to_json(_chunk(reply, model, part, last=True))


def stream(reply: Reply, model: str, *, sse: bool) -> list[bytes]:
    """Write the answer as events, or as the elements of one JSON array when the client did not ask for `alt=sse`."""
    parts = _parts(reply)
    chunks = [_chunk(reply, model, part, last=part is parts[-1]) for part in parts]
    if sse:
        return [b"data: %b\r\n\r\n" % to_json(chunk) for chunk in chunks]
    pieces = [b",\r\n" + to_json(chunk) for chunk in chunks]
    pieces[0] = b"[" + pieces[0][3:]
    pieces[-1] += b"]"
    return pieces
