"""What the headers of an answer say about its body, and headers that follow a changed one (SPEC 8, 9, 14)."""

from __future__ import annotations

from enum import Enum

from llmux.headers import RawHeaders
from llmux.rewrite.spans import BOM

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))
_DIGESTS = frozenset((b"digest", b"content-digest", b"repr-digest", b"content-md5"))
_GZIP = frozenset((b"gzip", b"x-gzip"))
_STREAM_BEGINNINGS = (b"data:", b"event:", b":")
_WHITE_SPACE = b" \t\r\n"


class Form(Enum):
    """How a body is to be treated."""

    STREAM = "stream"
    DOCUMENT = "document"
    VERBATIM = "verbatim"


def value(headers: RawHeaders, name: bytes) -> bytes | None:
    """The values of a header joined as HTTP allows; None when there is none. `name` is in lower case."""
    size = len(name)
    found = [content for key, content in headers if len(key) == size and key.lower() == name]
    return b", ".join(found) if found else None


def is_json(media: bytes) -> bool:
    """Whether a media type names JSON (SPEC R-RJ-5)."""
    return media == b"application/json" or media.endswith(b"+json")


def encoding(headers: RawHeaders) -> bytes:
    """The content coding in lower case; b"" for none or identity."""
    coding = (value(headers, b"content-encoding") or b"").strip().lower()
    return b"" if coding == b"identity" else coding


def is_gzip(coding: bytes) -> bool:
    """Whether this is the one coding that llmux undoes."""
    return coding in _GZIP


def bodiless(status: int, method: bytes) -> bool:
    """Whether an answer has no body whatever its headers say (RFC 9110 6.4.1)."""
    return method == b"HEAD" or status < 200 or status in (204, 304)


def sniff(media: bytes, beginning: bytes, ended: bool) -> Form | None:
    """Decide the form from the media type and the first bytes; None asks for more bytes (SPEC R-SS-3, R-RJ-5).

    Only for a missing type, `text/plain` and JSON types; every other type has been decided by its name.
    """
    if not ended and len(beginning) < len(BOM) and BOM.startswith(beginning):
        return None
    start = beginning.removeprefix(BOM)
    if start.startswith(_STREAM_BEGINNINGS):
        return Form.STREAM
    if not ended and any(begin.startswith(start) for begin in _STREAM_BEGINNINGS):
        return None
    if is_json(media):
        return Form.DOCUMENT
    if media:
        return Form.VERBATIM
    first = start.lstrip(_WHITE_SPACE)[:1]
    if not first and not ended:
        return None
    return Form.DOCUMENT if first in (b"{", b"[") and first else Form.VERBATIM


def changed_headers(headers: RawHeaders, length: int | None, decoded: bool = False) -> RawHeaders:
    """Headers for a body that was changed: `length` None drops the length (the wire then chunks), digests go too.

    `decoded` drops the content coding (SPEC R-RQ-4, R-RJ-6, R-RJ-7, R-SS-7).
    """
    kept = [
        (name, content)
        for name, content in headers
        if (lower := name.lower()) not in _FRAMING
        and lower not in _DIGESTS
        and not (decoded and lower == b"content-encoding")
    ]
    if length is not None:
        kept.append((b"Content-Length", b"%d" % length))
    return kept


def sized_headers(headers: RawHeaders, length: int) -> RawHeaders:
    """Headers for a body that was held but not changed: only its framing may differ."""
    kept = [(name, content) for name, content in headers if name.lower() not in _FRAMING]
    kept.append((b"Content-Length", b"%d" % length))
    return kept
