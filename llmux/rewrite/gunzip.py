"""Undoing gzip within bounds."""

from __future__ import annotations

import zlib

from llmux.headers import RawHeaders
from llmux.rewrite.media import changed_headers, encoding, is_gzip
from llmux.rewrite.spans import Buffer

_MAGIC = b"\x1f\x8b"
_WBITS = 16 + zlib.MAX_WBITS


class BadGzip(ValueError):
    """The bytes are not gzip, or not all of it."""


class TooLarge(ValueError):
    """The unpacked body is above the limit."""


class Gunzip:
    """A decoder fed piece by piece; members that follow one another are all unpacked (RFC 1952 2.2).

    At most `limit` bytes come out, in all or after `per_feed` for each piece: what would be more raises TooLarge
    before it is in memory.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._per_feed = False
        self._fed = False
        self._member = zlib.decompressobj(_WBITS)
        self._between = b""  # bytes after a member that are not yet known to begin the next
        self._total = 0

    def per_feed(self, limit: int) -> None:
        """Bound what each piece unpacks to instead of the whole: a stream may go on for ever, a bomb may not."""
        self._per_feed = True
        self._limit = limit

    def feed(self, data: Buffer) -> bytes:
        """What `data` unpacks to; raises BadGzip, TooLarge."""
        out: list[bytes] = []
        if self._per_feed:
            self._total = 0
        self._fed = self._fed or bool(data)
        rest = bytes(data)
        while rest:
            if self._member.eof:
                rest = (self._between + rest).lstrip(b"\0")
                self._between = b""
                if rest == _MAGIC[:1]:
                    self._between = rest
                    break
                if not rest:
                    break
                if not rest.startswith(_MAGIC):
                    raise BadGzip
                self._member = zlib.decompressobj(_WBITS)
            out.append(self._inflate(rest))
            rest = self._member.unused_data
        return out[0] if len(out) == 1 else b"".join(out)

    def close(self) -> None:
        """Raise BadGzip when the input ended inside a member; no input at all is an empty body."""
        if self._fed and (not self._member.eof or self._between):
            raise BadGzip

    def _inflate(self, data: bytes) -> bytes:
        room = self._limit - self._total
        try:
            piece = self._member.decompress(data, room + 1)
        except zlib.error:
            raise BadGzip from None
        self._total += len(piece)
        if len(piece) > room:
            raise TooLarge
        return piece


def gunzip(data: Buffer, limit: int) -> bytes | None:
    """The unpacked body; None when it is not whole gzip. Raises TooLarge above `limit` bytes."""
    decoder = Gunzip(limit)
    try:
        unpacked = decoder.feed(data)
        decoder.close()
    except BadGzip:
        return None
    return unpacked


def plain_request(headers: RawHeaders, body: Buffer, limit: int) -> tuple[Buffer, bool]:
    """A request body to read and change, and whether it was gzip (SPEC R-EX-8: raw when it cannot be unpacked).

    A body that is then changed goes out with `request_headers(..., decoded=True)`. Raises TooLarge.
    """
    if not body or not is_gzip(encoding(headers)):
        return body, False
    unpacked = gunzip(body, limit)
    return (body, False) if unpacked is None else (unpacked, True)


def request_headers(headers: RawHeaders, length: int, decoded: bool) -> RawHeaders:
    """The headers of a changed request body (SPEC R-RQ-4)."""
    return changed_headers(headers, length, decoded)
