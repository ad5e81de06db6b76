"""Gemini's generateContent; models from 3 on give their calls ids and want signatures back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.vendors.speech import (
    CACHED,
    INPUT,
    OUTPUT,
    REASONING,
    Call,
    Heard,
    Refused,
    Said,
    decoded_base64,
    dumps,
    require,
    sign,
    signed,
)
from tests.vendors.strict import camel, check_types

BYPASS = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_URLSAFE = str.maketrans("-_", "+/")
_CORRUPT = "Corrupted thought signature."
_SCHEMA = {
    *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems"),
    *("minItems", "maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties"),
    *("required", "propertyOrdering"),
}


def hear(model: str, body: dict[str, Any], stream: bool) -> Heard:
    """What the model gets of a request; raises Refused."""
    body = camel(body)
    check_types("gemini", body)
    contents = body.get("contents") or []
    require(contents, "GenerateContentRequest.contents: contents is not specified")
    config = body.get("generationConfig") or {}
    thinking = config.get("thinkingConfig") or {}
    require(
        not {"thinkingBudget", "thinkingLevel"} <= thinking.keys(), "You can only set one of thinking budget, level"
    )
    names = _check_tools(body)
    heard: dict[str, Any] = {"prompt": "", "images": []}
    pending: list[tuple[str | None, Call]] = []
    results: list[tuple[Call, str]] = []
    recalled = False
    running = max((at for at, content in enumerate(contents) if _is_said(content)), default=-1)
    for at, content in enumerate(contents):
        role = content.get("role", "user")
        require(role in ("user", "model"), "Please use a valid role: user, model.")
        require(content.get("parts"), "contents.parts must not be empty.")
        if role == "model":
            pending, recalled = _model(content["parts"], signed_calls=is_new(model) and at > running)
            results = []
            continue
        answers = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
        require(len(answers) in (0, len(content["parts"])), "function responses must stand alone in their content")
        counted = "the number of function response parts is equal to the number of function call parts"
        require(len(answers) == len(pending), f"Please ensure that {counted} of the function call turn.")
        results = _paired(pending, answers)
        pending = []
        if not answers:
            recalled = False
            _user(content["parts"], heard)
    require(not pending, "Please ensure that function call turn comes immediately before a function response turn.")
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    if schema is not None:
        require(config.get("responseMimeType") == "application/json", "response_schema needs response_mime_type")
    level = thinking.get("thinkingLevel") is not None
    return Heard(
        model=model,
        prompt=heard["prompt"],
        stream=stream,
        system=tuple(part["text"] for part in (body.get("systemInstruction") or {}).get("parts", [])),
        images=tuple(heard["images"]),
        results=tuple(results),
        tools=names,
        thinking=level or thinking.get("thinkingBudget", 0) != 0,
        shown=bool(thinking.get("includeThoughts")),
        schema=schema is not None,
        recalled=recalled,
    )


def is_new(model: str) -> bool:
    """Whether calls of this model have ids and signatures."""
    return model.startswith("gemini-3")


def _is_said(content: dict[str, Any]) -> bool:
    """Whether the user says something here: signatures are wanted only after the last such content."""
    return content.get("role", "user") == "user" and any("text" in part for part in content.get("parts") or [])


def _check_tools(body: dict[str, Any]) -> tuple[str, ...]:
    declared = [one for tool in body.get("tools", []) for one in tool.get("functionDeclarations", [])]
    for one in declared:
        require(_NAME.fullmatch(one["name"]), "Invalid function name. Must start with a letter or an underscore.")
        _check_schema(one.get("parametersJsonSchema", {}))
    require("toolConfig" not in body or declared, "Function calling config is set without function_declarations.")
    return tuple(one["name"] for one in declared)


def _check_schema(schema: Any) -> None:
    if isinstance(schema, list):
        for item in schema:
            _check_schema(item)
    elif isinstance(schema, dict):
        unknown = schema.keys() - _SCHEMA
        require(not unknown, f'Unknown name "{next(iter(unknown), "")}" in parameters_json_schema')
        for name in ("properties", "$defs"):
            for inner in schema.get(name, {}).values():
                _check_schema(inner)
        for name in ("items", "anyOf", "oneOf", "prefixItems", "additionalProperties"):
            _check_schema(schema.get(name))


def _model(parts: list[dict[str, Any]], signed_calls: bool) -> tuple[list[tuple[str | None, Call]], bool]:
    calls: list[tuple[str | None, Call]] = []
    recalled = False
    for part in parts:
        call, signature = part.get("functionCall"), part.get("thoughtSignature")
        if signature is not None and signature not in BYPASS:
            payload = signed("gemini", signature.translate(_URLSAFE), _CORRUPT)
            require(call is None or payload == _payload(Call(call["name"], call.get("args") or {})), _CORRUPT)
            recalled = True
        if call is not None:
            missing = f"Function call is missing a thought_signature in functionCall parts: {call['name']}"
            require(signature is not None or calls or not signed_calls, missing)
            calls.append((call.get("id"), Call(call["name"], call.get("args") or {})))
    return calls, recalled


def _paired(pending: list[tuple[str | None, Call]], answers: list[dict[str, Any]]) -> list[tuple[Call, str]]:
    found = []
    for (identity, call), answer in zip(pending, answers, strict=True):
        require(answer.get("name") == call.name, f"function response {answer.get('name')} for a call of {call.name}")
        require(answer.get("id") == identity, "the ids of function call and function response differ")
        response = answer["response"]
        found.append((call, str(response.get("output", response.get("result", dumps(response))))))
    return found


def _user(parts: list[dict[str, Any]], heard: dict[str, Any]) -> None:
    for part in parts:
        if "text" in part:
            require(part["text"].strip(), "Unable to submit request because it must have a text parameter.")
            heard["prompt"] = part["text"]
        elif "inlineData" in part:
            data = part["inlineData"]["data"].translate(_URLSAFE)
            heard["images"].append((part["inlineData"]["mimeType"], decoded_base64(data, "Base64 decoding failed")))
        else:
            raise Refused(f"Unsupported part in user content: {sorted(part)}")


def _payload(call: Call) -> str:
    return f"{call.name} {dumps(dict(sorted(call.arguments.items())))}"


def _parts(said: Said, heard: Heard) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": thought, "thought": True} for thought in said.thoughts]
    parts += [{"text": text} for text in said.text]
    for number, call in enumerate(said.calls):
        function: dict[str, Any] = {"name": call.name, "args": call.arguments}
        if is_new(heard.model):
            function["id"] = f"{said.number[:4]}{number}"
        part: dict[str, Any] = {"functionCall": function}
        if number == 0 and (said.thinking or is_new(heard.model)):
            part["thoughtSignature"] = sign("gemini", _payload(call))
        parts.append(part)
    if said.thinking and not said.calls:
        parts.append({"text": "", "thoughtSignature": sign("gemini", said.whole)})
    return parts


def _chunk(said: Said, heard: Heard, parts: list[Any], finish: str | None) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    usage: dict[str, Any] = {"promptTokenCount": INPUT, "cachedContentTokenCount": CACHED}
    if finish:
        thoughts = REASONING if said.thinking else 0
        usage["candidatesTokenCount"] = OUTPUT - thoughts
        if thoughts:
            usage["thoughtsTokenCount"] = thoughts
    usage["totalTokenCount"] = INPUT + (OUTPUT if finish else 0)
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": heard.model, "responseId": said.number}


def whole(said: Said, heard: Heard) -> bytes:
    """A GenerateContentResponse; neighbouring texts of one kind are one part."""
    parts: list[dict[str, Any]] = []
    for part in _parts(said, heard):
        same = parts and "thoughtSignature" not in part and parts[-1].keys() == part.keys() and "text" in part
        if same:
            parts[-1] = {**part, "text": parts[-1]["text"] + part["text"]}
        else:
            parts.append(part)
    return dumps(_chunk(said, heard, parts, "STOP")).encode()


def objects(said: Said, heard: Heard) -> list[bytes]:
    """The objects of a streamed answer."""
    parts = _parts(said, heard)
    last = len(parts) - 1
    chunks = [_chunk(said, heard, [part], "STOP" if at == last else None) for at, part in enumerate(parts)]
    return [dumps(chunk).encode() for chunk in chunks]


def events(said: Said, heard: Heard) -> Iterator[bytes]:
    """The events of a streamed answer."""
    for chunk in objects(said, heard):
        yield b"data: " + chunk + b"\r\n\r\n"


def error(status: int, message: str) -> bytes:
    """An error body."""
    words = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED"}
    inner: dict[str, Any] = {"code": status, "message": message, "status": words.get(status, "UNAVAILABLE")}
    if status == 429:
        inner["details"] = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}]
    return dumps({"error": inner}).encode()


def broken_off() -> bytes:
    """An overload in the middle of a stream."""
    return b"data: " + error(503, "The model is overloaded. Please try again later.") + b"\r\n\r\n"
