"""Errors of the Messages format (TRANSLATION 3.7)."""

from __future__ import annotations

from typing import Any

from llmux.formats.events import Error, ErrorKind
from llmux.formats.failures import anthropic_words, error_body, make_error, not_json, response_headers
from llmux.headers import RawHeaders

_SHAPES: dict[ErrorKind, tuple[int, str]] = {
    "invalid": (400, "invalid_request_error"),
    "context": (400, "invalid_request_error"),
    "too_large": (413, "invalid_request_error"),
    "policy": (400, "invalid_request_error"),
    "auth": (401, "authentication_error"),
    "upstream_auth": (502, "api_error"),
    "permission": (403, "permission_error"),
    "not_found": (404, "not_found_error"),
    "rate": (429, "rate_limit_error"),
    "quota": (402, "billing_error"),
    "overloaded": (529, "overloaded_error"),
    "timeout": (504, "timeout_error"),
    "server": (500, "api_error"),
    "generation": (502, "api_error"),
}
_TOO_LONG = "prompt is too long"


def decode_error(status: int, headers: RawHeaders, body: bytes) -> Error:
    """The error in an answer of an Anthropic server; also of a 200 with an error object in it."""
    found = error_body(body)
    if found is None:
        return not_json(status, headers)
    return make_error(status if status >= 400 else None, headers, anthropic_words(found))


def decode_stream_error(event: dict[str, Any]) -> Error:
    """The error in an `error` event."""
    return make_error(None, [], anthropic_words(event))


def encode_error(error: Error) -> tuple[int, RawHeaders, dict[str, Any]]:
    """Status, headers and body of an error answer for a Messages client."""
    status, _ = _SHAPES[error.kind]
    if error.kind == "server":
        status = error.status or status
    body = encode_stream_error(error)
    if error.request_id is not None:
        body["request_id"] = error.request_id
    return status, response_headers(error), body


def encode_stream_error(error: Error) -> dict[str, Any]:
    """Data of the `error` event that ends a failed stream; agents know a full context by its first words."""
    message = error.message
    if error.kind == "context" and _TOO_LONG not in message:
        message = f"{_TOO_LONG}: {message}"
    return {"type": "error", "error": {"type": _SHAPES[error.kind][1], "message": message}}
