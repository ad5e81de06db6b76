"""Errors of the Gemini format (TRANSLATION 3.7)."""

from __future__ import annotations

from typing import Any

from llmux.formats.events import Error, ErrorKind
from llmux.formats.failures import error_body, google_words, make_error, not_json, response_headers
from llmux.headers import RawHeaders

_SHAPES: dict[ErrorKind, tuple[int, str]] = {
    "invalid": (400, "INVALID_ARGUMENT"),
    "context": (400, "INVALID_ARGUMENT"),
    "too_large": (413, "INVALID_ARGUMENT"),
    "policy": (400, "INVALID_ARGUMENT"),
    "auth": (401, "UNAUTHENTICATED"),
    "upstream_auth": (502, "INTERNAL"),
    "permission": (403, "PERMISSION_DENIED"),
    "not_found": (404, "NOT_FOUND"),
    "rate": (429, "RESOURCE_EXHAUSTED"),
    "quota": (429, "RESOURCE_EXHAUSTED"),
    "overloaded": (503, "UNAVAILABLE"),
    "timeout": (504, "DEADLINE_EXCEEDED"),
    "server": (500, "INTERNAL"),
    "generation": (502, "INTERNAL"),
}
_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


def decode_error(status: int, headers: RawHeaders, body: bytes) -> Error:
    """The error in an answer of a Google server, whose body may be a list with one object."""
    found = error_body(body)
    if found is None:
        return not_json(status, headers)
    return make_error(status if status >= 400 else None, headers, google_words(found))


def decode_stream_error(chunk: dict[str, Any]) -> Error:
    """The error in a chunk that has an `error` member."""
    return make_error(None, [], google_words(chunk))


def encode_error(error: Error) -> tuple[int, RawHeaders, dict[str, Any]]:
    """Status, headers and body of an error answer for a Gemini client."""
    body = encode_stream_error(error)
    return body["error"]["code"], response_headers(error), body


def encode_stream_error(error: Error) -> dict[str, Any]:
    """The last chunk of a failed stream; the SDK looks for `error` as the first member and for an integer code."""
    code, word = _SHAPES[error.kind]
    if error.kind == "server":
        code = error.status or code
    inner: dict[str, Any] = {"code": code, "message": error.message, "status": word}
    if error.retry_after_s is not None:
        inner["details"] = [{"@type": _RETRY_INFO, "retryDelay": f"{error.retry_after_s}s"}]
    return {"error": inner}
