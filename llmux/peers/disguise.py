"""Errors that come with a status of success: what they should have been (DESIGN D-42); pure."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from llmux.formats.events import ErrorKind
from llmux.formats.failures import Words, error_body, google_words, kind_of, openai_words

_STATUSES: dict[ErrorKind, int] = {
    "invalid": 400,
    "context": 400,
    "policy": 400,
    "upstream_auth": 401,
    "quota": 402,
    "permission": 403,
    "not_found": 404,
    "too_large": 413,
    "rate": 429,
    "timeout": 504,
    "overloaded": 529,
}


class Disguised(NamedTuple):
    """The status that an error should have had, and the body that it should have come in."""

    status: int
    document: bytes


def disguised(text: bytes) -> Disguised:
    """Read an error event's data, or an error body, by its own words; 500 for one without words that are known.

    What only Responses streams say, `response.failed` and an `error` event without an inner error, is put as the API
    puts its errors elsewhere; all else stays as it came.
    """
    found = error_body(text) or {}
    error: Any = found.get("error")
    document = text
    if not error:
        response = found.get("response")
        error = response.get("error") if isinstance(response, dict) else None
        error = error or {name: found[name] for name in ("code", "message", "param") if name in found}
        document = json.dumps({"error": error or {"message": "the provider failed"}}).encode()
    return Disguised(_status({"error": error}), document)


def _status(body: dict[str, Any]) -> int:
    error = body["error"]
    said = error.get("code") if isinstance(error, dict) else None
    if isinstance(said, int | str) and re.fullmatch("[45][0-9]{2}", str(said)):
        return int(said)
    theirs, googles = openai_words(body), google_words(body)
    return _STATUSES.get(kind_of(None, Words(theirs.message, theirs.terms + googles.terms)), 500)
