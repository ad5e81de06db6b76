"""What each crossing cannot carry: one request for each member of each format, and what translation says of it.

`python -m tests.crossings.losses` prints the table of the README.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from llmux.formats.capabilities import default_capabilities
from llmux.formats.losses import RequestRefused
from llmux.formats.neutral import Format
from llmux.formats.requests import REQUESTS
from llmux.formats.target import Target

FORMATS: tuple[Format, ...] = ("chat", "responses", "anthropic", "gemini")
TITLES: Mapping[Format, str] = {
    "chat": "Chat Completions",
    "responses": "Responses",
    "anthropic": "Messages",
    "gemini": "Gemini",
}
_MODELS: Mapping[Format, str] = {"chat": "gpt-4.1", "responses": "gpt-5", "anthropic": "claude", "gemini": "gemini-2.5"}
_WAV = "UklGRiQAAABXQVZF"
_SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}

_CHAT: dict[str, dict[str, Any]] = {
    "n": {"n": 2},
    "seed": {"seed": 1},
    "presence_penalty": {"presence_penalty": 0.5},
    "frequency_penalty": {"frequency_penalty": 0.5},
    "logit_bias": {"logit_bias": {"1": 5}},
    "logprobs": {"logprobs": True, "top_logprobs": 2},
    "stop": {"stop": ["a", "b"]},
    "temperature above 1": {"temperature": 1.5},
    "temperature with top_p": {"temperature": 0.5, "top_p": 0.5},
    "json_object": {"response_format": {"type": "json_object"}},
    "verbosity": {"verbosity": "low"},
    "audio output": {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}},
    "audio input": {"part": {"type": "input_audio", "input_audio": {"data": _WAV, "format": "wav"}}},
    "image by URL": {"part": {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}},
    "file_id": {"part": {"type": "file", "file": {"file_id": "file-1"}}},
    "parallel_tool_calls: false": {"tools": ["function"], "parallel_tool_calls": False},
    "grammar of a custom tool": {"tools": ["custom"]},
    "web_search_options": {"web_search_options": {}},
    "prediction": {"prediction": {"type": "content", "content": "x"}},
    "system message later on": {"later": "system"},
    "service_tier: flex": {"service_tier": "flex"},
    "image in a tool result": {
        "result": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    },
    "max_completion_tokens below 16": {"max_completion_tokens": 8},
}
_RESPONSES: dict[str, dict[str, Any]] = {
    "previous_response_id": {"previous_response_id": "resp_1"},
    "conversation": {"conversation": "conv_1"},
    "prompt": {"prompt": {"id": "pmpt_1"}},
    "background": {"background": True},
    "truncation": {"truncation": "auto"},
    "max_tool_calls": {"max_tool_calls": 3},
    "logprobs": {"include": ["message.output_text.logprobs"], "top_logprobs": 2},
    "temperature above 1": {"temperature": 1.5},
    "temperature with top_p": {"temperature": 0.5, "top_p": 0.5},
    "json_object": {"text": {"format": {"type": "json_object"}}},
    "verbosity": {"text": {"verbosity": "low"}},
    "image by URL": {"part": {"type": "input_image", "detail": "auto", "image_url": "https://example.org/a.png"}},
    "file_id": {"part": {"type": "input_file", "file_id": "file-1"}},
    "file_url": {"part": {"type": "input_file", "file_url": "https://example.org/a.pdf"}},
    "parallel_tool_calls: false": {"tools": ["function"], "parallel_tool_calls": False},
    "grammar of a custom tool": {"tools": ["custom"]},
    "web_search": {"tools": [{"type": "web_search"}]},
    "other hosted tools": {"tools": [{"type": "file_search", "vector_store_ids": ["vs_1"]}]},
    "system message later on": {"later": "system"},
    "service_tier: flex": {"service_tier": "flex"},
    "image in a tool result": {
        "result": [{"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,iVBORw0KGgo="}]
    },
}
_ANTHROPIC: dict[str, dict[str, Any]] = {
    "top_k": {"top_k": 5},
    "stop_sequences": {"stop_sequences": ["a", "b"]},
    "container": {"container": "container_1"},
    "image by URL": {"part": {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}},
    "document by URL": {"part": {"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}},
    "file_id": {"part": {"type": "document", "source": {"type": "file", "file_id": "file_1"}}},
    "disable_parallel_tool_use": {
        "tools": ["function"],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    },
    "web_search": {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    "other server tools": {"tools": [{"type": "code_execution_20250825", "name": "code_execution"}]},
    "image in a tool result": {
        "result": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]
    },
    "max_tokens below 16": {"max_tokens": 8},
}
_GEMINI: dict[str, dict[str, Any]] = {
    "candidateCount": {"config": {"candidateCount": 2}},
    "seed": {"config": {"seed": 1}},
    "presencePenalty": {"config": {"presencePenalty": 0.5}},
    "frequencyPenalty": {"config": {"frequencyPenalty": 0.5}},
    "responseLogprobs": {"config": {"responseLogprobs": True, "logprobs": 2}},
    "topK": {"config": {"topK": 5}},
    "stopSequences": {"config": {"stopSequences": ["a"]}},
    "temperature above 1": {"config": {"temperature": 1.5}},
    "temperature with topP": {"config": {"temperature": 0.5, "topP": 0.5}},
    "JSON without a schema": {"config": {"responseMimeType": "application/json"}},
    "image and audio output": {"config": {"responseModalities": ["TEXT", "IMAGE"]}},
    "cachedContent": {"cachedContent": "cachedContents/1"},
    "audio input": {"part": {"inlineData": {"mimeType": "audio/wav", "data": _WAV}}},
    "video input": {"part": {"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}}},
    "file uploads": {"part": {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}}},
    "googleSearch": {"tools": [{"googleSearch": {}}]},
    "other built-in tools": {"tools": [{"codeExecution": {}}]},
    "maxOutputTokens below 16": {"config": {"maxOutputTokens": 8}},
}
MEMBERS: Mapping[Format, Mapping[str, dict[str, Any]]] = {
    "chat": _CHAT,
    "responses": _RESPONSES,
    "anthropic": _ANTHROPIC,
    "gemini": _GEMINI,
}


def body(client: Format, members: Mapping[str, Any]) -> dict[str, Any]:
    """A request with some members; `part`, `later`, `result` and `config` go where their words belong."""
    plain = {
        name: value for name, value in members.items() if name not in ("part", "later", "result", "config", "tools")
    }
    extra = [members["part"]] if "part" in members else []
    tools = [_tool(client, tool) for tool in members.get("tools", [])]
    if client == "gemini":
        contents = [{"role": "user", "parts": [{"text": "hi"}, *extra]}]
        config = {"generationConfig": members["config"]} if "config" in members else {}
        return {"contents": contents, **({"tools": tools} if tools else {}), **config, **plain}
    turns = list(_turns(client, extra, members.get("later"), members.get("result")))
    more: dict[str, Any] = {"tools": tools} if tools else {}
    if client == "anthropic":
        more["max_tokens"] = 100
    return {"model": "m", "input" if client == "responses" else "messages": turns, **more, **plain}


def _tool(client: Format, tool: Any) -> Any:
    if not isinstance(tool, str):
        return tool
    if tool == "custom":
        grammar: dict[str, Any] = {"syntax": "lark", "definition": "start: /a/"}
        if client == "responses":
            return {"type": "custom", "name": "c", "format": {"type": "grammar", **grammar}}
        return {"type": "custom", "custom": {"name": "c", "format": {"type": "grammar", "grammar": grammar}}}
    if client == "anthropic":
        return {"name": "f", "input_schema": _SCHEMA}
    function = {"name": "f", "parameters": _SCHEMA}
    if client == "responses":
        return {"type": "function", **function, "strict": False}
    return {"type": "function", "function": function}


def _turns(client: Format, extra: list[Any], later: str | None, result: Any) -> Iterator[dict[str, Any]]:
    text = {"type": "input_text" if client == "responses" else "text", "text": "hi"}
    yield {"role": "user", "content": [text, *extra]}
    if later is not None:
        yield {"role": "assistant", "content": "a"}
        yield {"role": later, "content": "b"}
        yield {"role": "user", "content": "c"}
    if result is not None and client == "chat":
        call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        yield {"role": "assistant", "content": None, "tool_calls": [call]}
        yield {"role": "tool", "tool_call_id": "call_1", "content": result}
    elif result is not None and client == "responses":
        yield {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
        yield {"type": "function_call_output", "call_id": "call_1", "output": result}
    elif result is not None:
        yield {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]}
        yield {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": result}]}


def outcome(client: Format, upstream: Format, members: Mapping[str, Any]) -> str:
    """`carried`, `warned` or `refused`."""
    model = _MODELS[upstream]
    try:
        request = REQUESTS[client].decode(body(client, members), model, False)
        encoded = REQUESTS[upstream].encode(request, Target(model, default_capabilities(upstream, model)))
    except RequestRefused:
        return "refused"
    return "warned" if encoded.warnings else "carried"


def rows() -> list[tuple[str, ...]]:
    """The rows of the table: client, provider, what is left out or changed with a warning, what is refused."""
    found = []
    for client in FORMATS:
        for upstream in FORMATS:
            if client == upstream:
                continue
            by_outcome: dict[str, list[str]] = {"warned": [], "refused": []}
            for name, members in MEMBERS[client].items():
                by_outcome.setdefault(outcome(client, upstream, members), []).append(name)
            cells = ("; ".join(by_outcome[key]) or "nothing" for key in ("warned", "refused"))
            found.append((TITLES[client], TITLES[upstream], *cells))
    return found


if __name__ == "__main__":
    print("| client | provider | left out or changed, with a warning | refused |\n| --- | --- | --- | --- |")
    for row in rows():
        print(f"| {' | '.join(row)} |")
