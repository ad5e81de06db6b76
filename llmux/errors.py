"""What a client is told when something goes wrong: statuses, bodies and texts (SPEC 15)."""

from __future__ import annotations

import json
from typing import Any

from llmux.headers import RawHeaders

_JSON_TYPE = (b"Content-Type", b"application/json")
_DO_NOT_RETRY = (b"x-should-retry", b"false")
_LONGEST_NAME = 256

_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_OPENAI_CODES = {
    401: "invalid_api_key",
    403: "permission_denied",
    404: "model_not_found",
    413: "request_too_large",
    429: "rate_limit_exceeded",
    504: "timeout",
}
# The words of Anthropic's own SDK, which has no `server_error` (TRANSLATION 3.7).
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_GOOGLE_STATUSES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
_TEXTS = {
    400: "Bad request",
    408: "The request did not arrive in time",
    413: "Request body too large",
    414: "Request target too long",
    417: "Expectation failed",
    426: "This path does not take protocol upgrades; use plain HTTP",
    431: "Request header fields too large",
    501: "Not implemented",
    502: "Bad gateway",
    503: "Service unavailable",
    505: "HTTP version not supported",
}
_CLOCKS = {
    "connect-timeout": ("The provider did not accept the connection", "connect"),
    "tls-timeout": ("The provider did not finish the TLS handshake", "tls"),
    "first-byte-timeout": ("The provider sent no answer", "first-byte"),
    "idle-timeout": ("The provider fell silent in the middle of its answer", "idle"),
    "total-timeout": ("The provider did not finish its answer", "total"),
}


def to_json(value: Any) -> bytes:
    """Write compact JSON in UTF-8; text that has no UTF-8 form is written in escapes."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


class HTTPProblem(Exception):
    """Ends a request with an answer of the daemon's own; its text is fit for the client and for a log."""

    def __init__(self, status: int, body: bytes, headers: RawHeaders | None = None, message: str = "") -> None:
        super().__init__(message or f"HTTP {status}")
        self.status = status
        self.body = body
        self.headers: RawHeaders = headers if headers is not None else [_JSON_TYPE]


def openai_type(status: int) -> str:
    """Give the error type that OpenAI's formats use for a status (SPEC 15)."""
    return _OPENAI_TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")


def anthropic_type(status: int) -> str:
    """Give the error type that Anthropic's format uses for a status (TRANSLATION 3.7)."""
    return _ANTHROPIC_TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")


def google_status(status: int) -> str:
    """Give the canonical name that Google's format uses for a status (TRANSLATION 3.7)."""
    return _GOOGLE_STATUSES.get(status) or ("INTERNAL" if status >= 500 else "INVALID_ARGUMENT")


def error_body(protocol: str | None, status: int, message: str, code: str | None = None) -> bytes:
    """Write an error in the shape of a route's protocol, `{"error": message}` for None.

    `protocol` is `chat`, `completions`, `responses`, `anthropic` or `gemini`; `code` is OpenAI's, by status if None.
    """
    if protocol is None:
        return to_json({"error": message})
    if protocol == "anthropic":
        return to_json({"type": "error", "error": {"type": anthropic_type(status), "message": message}})
    if protocol == "gemini":
        # `type` is for clients that know OpenAI's words only (SPEC 15).
        error = {"code": status, "message": message, "status": google_status(status), "type": openai_type(status)}
        return to_json({"error": error})
    code = code or _OPENAI_CODES.get(status)
    return to_json({"error": {"message": message, "type": openai_type(status), "param": None, "code": code}})


def problem(
    protocol: str | None, status: int, message: str = "", *, code: str | None = None, headers: RawHeaders | None = None
) -> HTTPProblem:
    """Make an error answer in a route's protocol; a missing message is the usual text of the status."""
    text = message or _TEXTS.get(status) or ("Internal error" if status >= 500 else "Bad request")
    return HTTPProblem(status, error_body(protocol, status, text, code), [_JSON_TYPE, *(headers or ())], text)


def missing_key() -> HTTPProblem:
    """No credential at all (SPEC R-ER-6)."""
    return problem(None, 401, "Missing API key")


def invalid_key() -> HTTPProblem:
    """Credentials, and none of them right (SPEC R-ER-6); the text does not repeat them."""
    return problem(None, 401, "Invalid API key")


def forbidden_origin() -> HTTPProblem:
    """A remote peer on a restricted route (SPEC R-ER-7)."""
    return problem(None, 403, "Access denied: management routes restricted to localhost")


def options_refused() -> HTTPProblem:
    """OPTIONS on a passthrough route: an empty 403 (SPEC R-ER-7)."""
    return HTTPProblem(403, b"", [], "OPTIONS refused")


def not_found() -> HTTPProblem:
    """No route (SPEC R-ER-8)."""
    return problem(None, 404, "Not found")


def method_not_allowed(allow: str) -> HTTPProblem:
    """A known path with a wrong method; `allow` lists the right ones (SPEC R-ER-8)."""
    return problem(None, 405, "Method not allowed", headers=[(b"Allow", allow.encode())])


def unsafe_path() -> HTTPProblem:
    """A path with dot segments on a proxied route (SPEC R-HD-11)."""
    return problem(None, 400, "Invalid path")


def upgrade_refused(protocol: str | None) -> HTTPProblem:
    """A protocol upgrade on a model or list path; clients fall back at once on a 426 (DESIGN D-55)."""
    return problem(protocol, 426)


def upstream_failed() -> HTTPProblem:
    """The upstream cannot be reached, or its answer is not HTTP (SPEC R-ER-1)."""
    message = "Failed to reach Amp upstream"
    return HTTPProblem(502, to_json({"error": "amp_upstream_proxy_error", "message": message}), message=message)


def no_upstream() -> HTTPProblem:
    """A passthrough request, and no upstream is configured (SPEC R-ER-4)."""
    return problem(None, 503, "amp upstream proxy not available")


def no_provider_text(model: str) -> str:
    """Say that nothing serves a model (SPEC R-ER-5); absurdly long names are cut."""
    return f"No provider available for model: {_shown(model)}"


def _shown(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "..."


def no_provider(protocol: str | None, model: str, refusal: str | None = None) -> HTTPProblem:
    """NO_PROVIDER (SPEC R-ER-5); `refusal` is the router's own text. SDKs are told that retrying is of no use."""
    return problem(protocol, 503, refusal or no_provider_text(model), code="no_provider", headers=[_DO_NOT_RETRY])


def model_missing(protocol: str | None) -> HTTPProblem:
    """A model request without a model (SPEC R-ER-11)."""
    return problem(protocol, 400, "The request names no model", code="model_missing")


def bridge_path_invalid() -> HTTPProblem:
    """A v1beta1 path without `/models/` at the bridge (SPEC R-ER-10)."""
    return problem(None, 400, "Invalid Gemini API path format")


def action_not_found(path: str) -> HTTPProblem:
    """A Gemini action without a method or with an unknown one (SPEC R-ER-10)."""
    return problem("gemini", 404, f"{_shown(path)} not found")


def model_not_found(protocol: str, model: str) -> HTTPProblem:
    """GET of a model that nothing serves; Gemini routes have a fixed body (SPEC R-ER-10)."""
    if protocol == "gemini":
        return HTTPProblem(404, to_json({"error": {"message": "Not Found", "type": "not_found"}}), message="Not Found")
    return problem(protocol, 404, f"The model {_shown(model)} does not exist")


def body_too_large(protocol: str | None, limit: int) -> HTTPProblem:
    """A request body above `limits.body` bytes (SPEC R-ER-12)."""
    return problem(protocol, 413, f"The request body is larger than {limit} bytes (limits.body)")


def provider_failed(protocol: str | None, provider: str) -> HTTPProblem:
    """A local provider cannot be reached or breaks off before the answer (SPEC R-ER-13)."""
    return problem(protocol, 502, f"The provider {_shown(provider)} could not be reached", code="provider_failed")


def timed_out(protocol: str | None, clock: str, seconds: float) -> HTTPProblem:
    """A provider was too slow; `clock` is the failure's kind on the wire, such as `first-byte-timeout`."""
    text, key = _CLOCKS.get(clock, ("The provider did not answer", "first-byte"))
    return problem(protocol, 504, f"{text} within {seconds:g} seconds (timeouts.{key})")


def internal_error(protocol: str | None = None) -> HTTPProblem:
    """Anything unexpected; says nothing about it (SPEC R-ER-9)."""
    return problem(protocol, 500, "Internal error")
