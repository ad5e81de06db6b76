"""The head of an upstream's answer, read as strictly as a client's request (HOSTILE rules 2 and 3)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from llmux.headers import RawHeaders

HEAD_BYTES = 65536
HEAD_FIELDS = 300
INTERIM_HEADS = 20

_TEXT = rb"[\t\x20-\x7e\x80-\xff]*+"
_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (" + _TEXT + rb"))?\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:" + _TEXT + rb"\r\n)*+)\r\n"
)
_FIELD = re.compile(rb"([^:]++):[ \t]*+([^\r]*+)\r\n")
_LENGTH_DIGITS = 15
_BEGINNING = b"HTTP/1."

# Only fields with names of these lengths can change framing: Connection, Content-Length, Transfer-Encoding.
_FRAMING_NAMES = frozenset({10, 14, 17})


class BadHead(ValueError):
    """The upstream's bytes are no valid response head; the text names the rule and quotes nothing."""


@dataclass(slots=True)
class ResponseHead:
    """Status line and fields of one answer, and how its body ends.

    `length` is the Content-Length or None; `has_body` is False for answers to HEAD, for 1xx, 204 and 304, whose length
    says nothing about what follows. `persistent` is False when the peer will close (RFC 9112 9.3).
    """

    status: int
    reason: bytes
    headers: RawHeaders
    length: int | None = None
    has_body: bool = True
    chunked: bool = False
    persistent: bool = True

    @property
    def until_close(self) -> bool:
        """Whether only the connection's end tells where the body ends: nobody can tell that from a cut."""
        return self.has_body and not self.chunked and self.length is None


def find_head(received: bytes | bytearray, searched: int = 0) -> int:
    """Return where the first head in `received` ends, or -1 if more bytes are needed; `searched` were seen before.

    Raises BadHead when no continuation can make it a valid head.
    """
    end = received.find(b"\r\n\r\n", max(0, searched - 3))
    if end < 0:
        if len(received) > HEAD_BYTES:
            raise BadHead("response head too long")
        if not received.startswith(_BEGINNING[: len(received)]):
            raise BadHead("not an HTTP/1.1 response")
        return -1
    if end + 4 > HEAD_BYTES:
        raise BadHead("response head too long")
    return end + 4


def parse_head(head: bytes | bytearray, method: bytes) -> ResponseHead:
    """Read one whole head, line ends included, that answers a request with `method`.

    Raises BadHead. Interim answers come back with their status of 100 to 199: their number is the caller's to bound,
    and whether a 101 was asked for is the caller's to know.
    """
    match = _HEAD.fullmatch(bytes(head))
    if match is None:
        raise BadHead("invalid response head")
    minor, digits, reason, lines = match.groups(b"")
    status = int(digits)
    if status > 599:
        raise BadHead("status out of range")
    headers: RawHeaders = _FIELD.findall(lines)
    if len(headers) > HEAD_FIELDS:
        raise BadHead("too many response fields")
    if b" \r\n" in lines or b"\t\r\n" in lines:
        headers = [(name, value.rstrip(b" \t")) for name, value in headers]
    result = ResponseHead(status, reason, headers)
    lengths: list[bytes] = []
    for name, value in headers:
        if len(name) in _FRAMING_NAMES:
            lower = name.lower()
            if lower == b"content-length":
                lengths.append(value)
            elif lower == b"transfer-encoding":
                if result.chunked or value.lower() != b"chunked" or minor == b"0":
                    raise BadHead("invalid Transfer-Encoding")
                result.chunked = True
            elif lower == b"connection" and b"close" in value.lower() and b"close" in _options(value):
                result.persistent = False
    if lengths:
        if result.chunked:
            raise BadHead("both Content-Length and Transfer-Encoding")
        digits = lengths[0]
        if not digits.isdigit() or len(digits) > _LENGTH_DIGITS:
            raise BadHead("invalid Content-Length")
        if len(lengths) > 1:
            if lengths.count(digits) != len(lengths):
                raise BadHead("several Content-Length")
            result.headers = _with_one_length(headers)
        result.length = int(digits)
    if minor == b"0":
        result.persistent = False
    if status < 200 or status == 204 or status == 304 or method == b"HEAD":
        result.has_body = False
    elif not result.chunked and result.length is None:
        result.persistent = False
    return result


def _options(value: bytes) -> list[bytes]:
    return [option.strip(b" \t") for option in value.lower().split(b",")]


def _with_one_length(headers: RawHeaders) -> RawHeaders:
    """Keep the first of several equal lengths (RFC 9112 6.3)."""
    kept: RawHeaders = []
    seen = False
    for name, value in headers:
        if name.lower() == b"content-length":
            if seen:
                continue
            seen = True
        kept.append((name, value))
    return kept
