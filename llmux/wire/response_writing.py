"""The head of an answer as bytes: framing and Connection are ours, every other field is the caller's own."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in HTTPStatus}
_OURS = frozenset({b"connection", b"transfer-encoding", b"keep-alive", b"content-length"})
_OUR_SIZES = frozenset(map(len, _OURS))
CLOSE = b"Connection: close\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def status_line(status: int, reason: bytes | None = None) -> bytes:
    """Return the first line of an answer, with the registered phrase unless another reason is given."""
    if reason is None:
        return _LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return b"HTTP/1.1 %d %b\r\n" % (status, reason)


def field_lines(headers: Iterable[tuple[bytes, bytes]]) -> tuple[list[bytes], int | None]:
    """Return the lines of all fields but framing and Connection, and the Content-Length found among them.

    Raises ValueError if Content-Length is not digits or is given twice with different values.
    """
    lines: list[bytes] = []
    length = None
    for name, value in headers:
        if len(name) in _OUR_SIZES and (lower := name.lower()) in _OURS:
            if lower == b"content-length":
                if not value.isdigit() or (length is not None and length != int(value)):
                    raise ValueError("invalid Content-Length in an answer")
                length = int(value)
            continue
        lines.append(b"%b: %b\r\n" % (name, value))
    return lines, length


def head_bytes(lines: list[bytes]) -> bytes:
    """Join the lines of a head and its end.

    Raises ValueError if a field contains CR, LF or NUL, which would let it write other fields (RFC 9110 5.5).
    """
    count = len(lines) + 1
    head = b"%b\r\n" % b"".join(lines)
    if head.count(b"\n") != count or head.count(b"\r") != count or b"\0" in head:
        raise ValueError("a control byte in the head of an answer")
    return head
