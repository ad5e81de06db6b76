"""Counting tokens: the question as each service takes it, the answer, and an estimate without any (TRANSLATION 7.3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from llmux.formats import members
from llmux.formats.gemini.spelling import camel
from llmux.formats.jsontext import compact
from llmux.formats.losses import too_deep
from llmux.formats.neutral import Audio, Call, Document, Format, Image, Inline, Part, PlainText, Request, Result, Video
from llmux.formats.requests import REQUESTS
from llmux.formats.target import Encoded, Target

BYTES_PER_TOKEN = 3.5
_PER_MESSAGE = 4
_PER_TOOL = 10
_PER_IMAGE = 1100
_PER_PAGE = 1600
_PAGE_BYTES = 50_000
_ANTHROPIC = ("messages", "model", "system", "tools", "tool_choice", "thinking", "output_config")
_RESPONSES = ("input", "instructions", "model", "reasoning", "text", "tools", "tool_choice", "parallel_tool_calls")


def decode_count_request(client: Format, body: Mapping[str, Any], url_model: str | None = None) -> Request:
    """The request whose tokens a client wants counted. Raises RequestRefused as `decode_request` does."""
    if client == "gemini":
        whole = camel(body)
        inner = members.mapping(whole, "generateContentRequest")
        body = whole if inner is None else inner
    return REQUESTS[client].decode(body, url_model, False)


def encode_count_request(request: Request, upstream: Format, target: Target) -> Encoded | None:
    """The question for the upstream's counting endpoint; None for Chat, which has none: use `estimate`.

    Raises RequestRefused as `encode_request` does.
    """
    if upstream == "chat":
        return None
    encoded = REQUESTS[upstream].encode(request, target)
    if upstream == "gemini":
        model = target.model.removeprefix("models/")
        body: dict[str, Any] = {"generateContentRequest": {"model": f"models/{model}", **encoded.body}}
        quoted = quote(model, safe="/-._~:@", errors="replace")
        path = f"/{target.capabilities.api_version}/models/{quoted}:countTokens"
    else:
        kept = _ANTHROPIC if upstream == "anthropic" else _RESPONSES
        body = {name: value for name, value in encoded.body.items() if name in kept}
        path = encoded.path + ("/count_tokens" if upstream == "anthropic" else "/input_tokens")
    return Encoded(body, path, encoded.headers, encoded.warnings)


def decode_count(upstream: Format, body: object) -> int | None:
    """The number in a counting endpoint's answer; None when it holds none."""
    if not isinstance(body, Mapping):
        return None
    count = body.get("totalTokens" if upstream == "gemini" else "input_tokens")
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else None


def encode_count(client: Format, tokens: int) -> dict[str, Any]:
    """The answer of a counting endpoint in the client's format."""
    if client == "gemini":
        return {"totalTokens": tokens}
    if client == "anthropic":
        return {"input_tokens": tokens}
    return {"object": "response.input_tokens", "input_tokens": tokens}


def estimate(request: Request) -> int:
    """About how many tokens the model will read, rather too many than too few: agents then compact earlier.

    Raises RequestRefused when the request is nested too deeply to be measured.
    """
    try:
        return _estimate(request)
    except RecursionError:
        raise too_deep() from None


def _estimate(request: Request) -> int:
    size = sum(_size(text.text) for text in request.system)
    tokens = _PER_TOOL * len(request.tools) + _PER_MESSAGE * (len(request.turns) + bool(request.system))
    for tool in request.tools:
        size += _size(tool.name) + _size(tool.description or "")
        size += _size(compact(tool.schema)) if tool.schema else 0
    if request.output.schema:
        size += _size(compact(request.output.schema))
    for turn in request.turns:
        for part in _flat(turn.parts):
            handle = _MEASURES.get(type(part))
            if handle is not None:
                more_size, more_tokens = handle(part)
                size += more_size
                tokens += more_tokens
            else:
                size += _size(getattr(part, "text", ""))
    return math.ceil(size / BYTES_PER_TOKEN) + tokens


def _flat(parts: tuple[Part, ...]) -> Iterator[Part]:
    for part in parts:
        if isinstance(part, Result):
            yield from part.parts
        else:
            yield part


def _of_call(call: Call) -> tuple[int, int]:
    text = call.arguments if call.arguments is not None else compact(call.value)
    return _size(call.name) + _size(text), 0


def _of_image(image: Image) -> tuple[int, int]:
    return 0, _PER_IMAGE


def _of_document(document: Document | Audio | Video) -> tuple[int, int]:
    if isinstance(document.source, PlainText):
        return _size(document.source.text), 0
    size = len(document.source.data) * 3 // 4 if isinstance(document.source, Inline) else 0
    return 0, _PER_PAGE * max(1, math.ceil(size / _PAGE_BYTES))


_MEASURES: Mapping[type, Callable[[Any], tuple[int, int]]] = {
    Call: _of_call,
    Image: _of_image,
    Document: _of_document,
    Audio: _of_document,
    Video: _of_document,
}


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
