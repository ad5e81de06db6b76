"""Errors of OpenAI's two formats; Responses differs in one path and in its stream (TRANSLATION 3.7)."""

from __future__ import annotations

from typing import Any

from llmux.formats.events import Error, ErrorKind
from llmux.formats.failures import error_body, make_error, not_json, openai_words, response_headers
from llmux.headers import RawHeaders

# status, type, code (None: what the provider said, for kinds of the client's own doing, else null)
_SHAPES: dict[ErrorKind, tuple[int, str, str | None]] = {
    "invalid": (400, "invalid_request_error", None),
    "context": (400, "invalid_request_error", "context_length_exceeded"),
    "too_large": (413, "invalid_request_error", "request_too_large"),
    "policy": (400, "invalid_request_error", "content_policy_violation"),
    "auth": (401, "invalid_request_error", "invalid_api_key"),
    "upstream_auth": (502, "server_error", "upstream_auth"),
    "permission": (403, "invalid_request_error", "permission_denied"),
    "not_found": (404, "invalid_request_error", "model_not_found"),
    "rate": (429, "rate_limit_error", "rate_limit_exceeded"),
    "quota": (429, "insufficient_quota", "insufficient_quota"),
    "overloaded": (503, "server_error", "overloaded"),
    "timeout": (504, "server_error", "timeout"),
    "server": (500, "server_error", None),
    "generation": (502, "server_error", None),
}


def decode_error(status: int, headers: RawHeaders, body: bytes) -> Error:
    """The error in an answer of an OpenAI server; also of a 200 with an error object in it."""
    found = error_body(body)
    if found is None:
        return not_json(status, headers)
    return make_error(status if status >= 400 else None, headers, openai_words(found))


def decode_stream_error(chunk: dict[str, Any]) -> Error:
    """The error in a chunk that has an `error` member."""
    return make_error(None, [], openai_words(chunk))


def encode_error(error: Error) -> tuple[int, RawHeaders, dict[str, Any]]:
    """Status, headers and body of an error answer for a Chat client."""
    return shape(error, "messages")


def encode_stream_error(error: Error) -> dict[str, Any]:
    """The last chunk of a stream that failed."""
    return shape(error, "messages")[2]


def shape(error: Error, prompt: str) -> tuple[int, RawHeaders, dict[str, Any]]:
    """As `encode_error`; `prompt` is the member that holds the prompt in the client's format."""
    status, kind, code = _SHAPES[error.kind]
    param = error.param if error.kind == "invalid" else None
    if error.kind == "context":
        param = prompt
    elif error.kind == "not_found":
        param = "model"
    if error.kind in ("invalid", "generation"):
        code = error.code
    if error.kind == "server":
        status = error.status or status
    body = {"error": {"message": error.message, "type": kind, "param": param, "code": code}}
    return status, response_headers(error), body
