"""Errors of providers in one vocabulary: the kind that a status and its words mean, and the wait (TRANSLATION 3.7)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from llmux.formats.events import Error, ErrorKind
from llmux.formats.lenient import mapping, mappings, maybe, parse, string
from llmux.headers import RawHeaders

TRUNCATED = Error("server", "upstream stream ended before it was complete")
NOT_JSON = Error("server", "upstream stream is not JSON")
TOO_MUCH = Error("server", "upstream sent more tool arguments than a call may have")
CREDENTIALS = "upstream credentials were rejected"

_CONTEXT = re.compile(
    r"prompt is too long|input token count .* exceeds|context window|maximum context length", re.IGNORECASE | re.DOTALL
)
_MODEL = re.compile(r"\bmodels?\b", re.IGNORECASE)
# Words that providers put in `type`, `code` or `status`; they say more than the HTTP status.
_WORDS: dict[str, ErrorKind] = {
    "context_length_exceeded": "context",
    "content_policy_violation": "policy",
    "content_filter": "policy",
    "insufficient_quota": "quota",
    "billing_error": "quota",
    "model_not_found": "not_found",
    "rate_limit_exceeded": "rate",
    "rate_limit_error": "rate",
    "resource_exhausted": "rate",
    "overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "server_is_overloaded": "overloaded",
    "slow_down": "overloaded",
    "unavailable": "overloaded",
    "timeout": "timeout",
    "timeout_error": "timeout",
    "deadline_exceeded": "timeout",
    "request_too_large": "too_large",
    "invalid_api_key": "upstream_auth",
    "authentication_error": "upstream_auth",
    "unauthenticated": "upstream_auth",
    "api_key_invalid": "upstream_auth",
    "not_found_error": "not_found",
    "not_found": "not_found",
    "invalid_prompt": "invalid",
}
# Words that say as much as a status does: they count where there is none.
_PLAIN_WORDS: dict[str, ErrorKind] = {
    "invalid_request_error": "invalid",
    "invalid_argument": "invalid",
    "failed_precondition": "invalid",
    "out_of_range": "invalid",
    "api_error": "server",
    "server_error": "server",
    "internal": "server",
}
_STATUSES: dict[int, ErrorKind] = {
    400: "invalid",
    401: "upstream_auth",
    402: "quota",
    403: "upstream_auth",
    404: "not_found",
    408: "timeout",
    413: "too_large",
    422: "invalid",
    429: "rate",
    503: "overloaded",
    504: "timeout",
    529: "overloaded",
}
_PERMISSION_WORDS = frozenset(("permission_error", "permission_denied"))
_DEFAULT_MESSAGES: dict[ErrorKind, str] = {
    "invalid": "the provider refused the request",
    "rate": "the provider's rate limit was reached",
    "overloaded": "the provider is overloaded",
    "timeout": "the provider took too long",
}


@dataclass(frozen=True, slots=True)
class Words:
    """What the body of an error says, in no format: `terms` are its type, code, status and reasons.

    `status` is a number in the body, which counts where the HTTP status is none of an error.
    """

    message: str | None
    terms: tuple[str, ...] = ()
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    request_id: str | None = None
    status: int | None = None


def kind_of(status: int | None, words: Words) -> ErrorKind:
    """The kind of an error from its HTTP status (None: it came in a stream or under a 200) and its words."""
    message = words.message or ""
    terms = [term.lower() for term in words.terms]
    if status == 403 or any(term in _PERMISSION_WORDS for term in terms):
        named = "permission_error" in terms or "model_not_found" in terms
        return "permission" if named or _MODEL.search(message) else "upstream_auth"
    for term in terms:
        if term == "resource_exhausted" and status not in (None, 429):
            continue
        if term in _WORDS:
            return _WORDS[term]
    kind: ErrorKind
    if status is None:
        kind = next((_PLAIN_WORDS[term] for term in terms if term in _PLAIN_WORDS), "server")
    else:
        kind = _STATUSES.get(status) or ("invalid" if 400 <= status < 500 else "server")
    if kind in ("invalid", "too_large") and _CONTEXT.search(message):
        return "context"
    return kind


def make_error(status: int | None, headers: RawHeaders, words: Words) -> Error:
    """An Error from the words of a body; of rejected credentials nothing is quoted, since it may hold a key.

    `status` is the HTTP status of an error answer, else None.
    """
    kind = kind_of(status or words.status, words)
    message = CREDENTIALS if kind == "upstream_auth" else words.message or _DEFAULT_MESSAGES.get(kind, "upstream error")
    return Error(
        kind,
        message,
        status=500 if kind == "server" else None,
        code=words.code if kind != "upstream_auth" else None,
        param=words.param,
        retry_after_s=_whole_seconds(_retry_after(headers), words.retry_after),
        upstream_status=status,
        request_id=words.request_id or request_id(headers),
    )


def not_json(status: int, headers: RawHeaders) -> Error:
    """An error page of some gateway: nothing of its body is passed on."""
    kind = kind_of(status, Words(None))
    return Error(
        kind,
        CREDENTIALS if kind == "upstream_auth" else f"upstream returned {status} with a body that is not JSON",
        status=502 if kind == "server" else None,
        retry_after_s=_whole_seconds(_retry_after(headers), None),
        upstream_status=status,
        request_id=request_id(headers),
    )


def error_body(body: bytes) -> dict[str, Any] | None:
    """The JSON object of an error's body, also out of a list with one object; None when there is none."""
    try:
        value = parse(body)
    except ValueError:
        return None
    if type(value) is list:
        value = next(iter(mappings(value)), None)
    return value if type(value) is dict else None


def openai_words(body: dict[str, Any]) -> Words:
    """Words of `{"error": {message, type, param, code}}` and of its sloppier relatives."""
    error = body.get("error")
    if type(error) is str:
        return Words(maybe(error), request_id=maybe(body.get("request_id")))
    inner = mapping(error) or body
    code = inner.get("code")
    terms = [text for text in (maybe(code), maybe(inner.get("type"))) if text]
    return Words(
        maybe(inner.get("message")) or maybe(inner.get("detail")),
        tuple(terms),
        code=maybe(code),
        param=maybe(inner.get("param")),
        request_id=maybe(body.get("request_id")),
        status=_error_status(code),
    )


def anthropic_words(body: dict[str, Any]) -> Words:
    """Words of `{"type": "error", "error": {type, message}, "request_id"}`."""
    inner = mapping(body.get("error"))
    kind = maybe(inner.get("type"))
    return Words(maybe(inner.get("message")), (kind,) if kind else (), request_id=maybe(body.get("request_id")))


def google_words(body: dict[str, Any]) -> Words:
    """Words of `{"error": {code, message, status, details}}`."""
    inner = mapping(body.get("error"))
    details = mappings(inner.get("details"))
    reasons = [text for text in (maybe(detail.get("reason")) for detail in details) if text]
    word = maybe(inner.get("status"))
    delay = next((detail["retryDelay"] for detail in details if "retryDelay" in detail), None)
    return Words(
        maybe(inner.get("message")),
        (*reasons, *((word,) if word else ())),
        retry_after=_duration(delay),
        status=_error_status(inner.get("code")),
    )


def header(headers: RawHeaders, name: bytes) -> str | None:
    """The first value of a header as text; `name` in lower case."""
    for key, value in headers:
        if key.lower() == name:
            return value.decode("latin-1").strip()
    return None


def request_id(headers: RawHeaders) -> str | None:
    """The provider's id of the request, for its support."""
    return header(headers, b"request-id") or header(headers, b"x-request-id")


def response_headers(error: Error) -> RawHeaders:
    """Headers of an error answer in every client format."""
    out: RawHeaders = []
    if error.retry_after_s is not None:
        out.append((b"retry-after", str(error.retry_after_s).encode()))
    if error.upstream_status is not None:
        out.append((b"x-llmux-upstream-status", str(error.upstream_status).encode()))
    if error.request_id is not None:
        printable = re.sub(r"[^\x21-\x7e]", "", error.request_id)[:200]
        out.append((b"x-llmux-upstream-request-id", printable.encode("ascii")))
    return out


def _error_status(code: object) -> int | None:
    return code if type(code) is int and 400 <= code < 600 else None


def _whole_seconds(*delays: float | None) -> int | None:
    known = [delay for delay in delays if delay is not None and 0 <= delay < 1e9]
    return math.ceil(known[0]) if known else None


def _retry_after(headers: RawHeaders) -> float | None:
    milliseconds = _number(header(headers, b"retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = header(headers, b"retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:  # a date means something only against the sender's own clock
        until = parsedate_to_datetime(value)
        return max(0.0, (until - parsedate_to_datetime(header(headers, b"date") or "")).total_seconds())
    except (ValueError, TypeError):
        return None


def _number(value: str | None) -> float | None:
    return float(value) if value is not None and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", value) else None


def _duration(value: object) -> float | None:
    text = string(value)
    return _number(text[:-1]) if text.endswith("s") else None
