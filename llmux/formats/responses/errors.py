"""Errors of the Responses format: OpenAI's body, and a closed list of codes in streams (TRANSLATION 3.7)."""

from __future__ import annotations

from typing import Any

from llmux.formats.chat.errors import decode_error, shape
from llmux.formats.events import Error, ErrorKind
from llmux.formats.failures import Words, make_error
from llmux.formats.lenient import mapping, maybe
from llmux.headers import RawHeaders

__all__ = ["decode_error", "decode_stream_error", "encode_error", "encode_stream_error"]

_STREAM_CODES: dict[ErrorKind, str] = {
    "rate": "rate_limit_exceeded",
    "quota": "rate_limit_exceeded",
    "invalid": "invalid_prompt",
    "context": "invalid_prompt",
    "policy": "invalid_prompt",
}


def decode_stream_error(event: dict[str, Any]) -> Error:
    """The error in `response.failed`, in a bare `error` event, or in a failed answer."""
    inner = mapping(mapping(event.get("response")).get("error")) or mapping(event.get("error")) or event
    code = maybe(inner.get("code"))
    terms = [text for text in (code, maybe(inner.get("type"))) if text and text != "error"]
    return make_error(
        None, [], Words(maybe(inner.get("message")), tuple(terms), code=code, param=maybe(inner.get("param")))
    )


def encode_error(error: Error) -> tuple[int, RawHeaders, dict[str, Any]]:
    """Status, headers and body of an error answer for a Responses client."""
    return shape(error, "input")


def encode_stream_error(error: Error) -> dict[str, Any]:
    """The `error` member of the response in `response.failed`; its code is of a closed enumeration."""
    return {"code": _STREAM_CODES.get(error.kind, "server_error"), "message": error.message}
