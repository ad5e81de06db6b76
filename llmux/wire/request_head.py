"""The head of a request, read strictly and without a socket.

Everything that two parsers could read in two ways is refused (HOSTILE rule 1, RFC 9112): the grammar is one regular
expression over the whole head, and the framing that is found there is the only one that the daemon acts on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from llmux.headers import RawHeaders

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_LINE = rb"(" + _TOKEN + rb"{1,32}+) (/[\x21\x22\x24-\x5b\x5d-\x7e]*+) HTTP/1\.([01])\r\n"
_HEAD = re.compile(_LINE + rb"((?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+)\r\n")
_FIELD = re.compile(rb"([^:]++):[ \t]*+([^\r]*+)\r\n")
_OTHER_VERSION = re.compile(_TOKEN + rb"++ [\x21-\x7e]++ HTTP/[0-9]\.[0-9]\r\n")
_HOST = re.compile(rb"(?:[0-9A-Za-z._~-]++|\[[0-9A-Fa-f:.]++\])(?::[0-9]{1,5}+)?")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_NEVER = re.compile(rb"(?<!\r)\n|\r[^\n]|\0|\A[^!#$%&'*+\-.^_`|~0-9A-Za-z\r]")
# The requests of an agent differ in this value alone, so that the rest of their heads is read once.
_LENGTH_FIELD = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,15})\r\n")
_MOST_KNOWN, _LONGEST_KNOWN = 256, 4096  # heads, bytes
_SINGLE = (b"host", b"content-length", b"transfer-encoding")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a head cannot be served: an HTTP status and a reason that quotes nothing of the request."""

    status: int
    reason: str


class RequestHead(NamedTuple):
    """A head that means one thing only.

    `length` is the body's length in bytes, 0 for none, None for a chunked body. `first` maps lower-case names to the
    first value of each. `expect` says that the client waits for `100 Continue`, `close` that it wants no second
    request. `upgrade` is the value of Upgrade if Connection lists it and it is not HTTP/2 in disguise.
    """

    method: bytes
    target: bytes
    http10: bool
    headers: RawHeaders
    first: dict[bytes, bytes]
    length: int | None
    expect: bool
    close: bool
    upgrade: bytes | None


def never_a_head(beginning: bytes, position: int = 0) -> bool:
    """Return True if no continuation can make these bytes a head; those before `position` were asked about before."""
    return _NEVER.search(beginning, max(0, position - 1)) is not None


_known: dict[tuple[bytes, bytes], tuple[RequestHead, int]] = {}


def read_head(head: bytes, max_fields: int = 200, max_target: int = 12288) -> RequestHead | Refusal:
    """Read a whole head, request line to empty line (RFC 9112 3 and 5, HOSTILE rules 1, 3 and 12).

    Limits are a number of header lines and a number of bytes. Refusals: 400 malformed, 414 target too long, 417 an
    expectation other than 100-continue, 431 too many fields, 501 CONNECT or an unknown transfer coding, 505 version.
    A head that differs from an earlier one in its Content-Length alone is not read again, up to a bound.
    """
    found = _LENGTH_FIELD.search(head)
    if found is None:
        return _read(head, max_fields, max_target)
    start, end = found.span(1)
    key = head[:start], head[end:]
    known = _known.get(key)
    if known is not None and len(known[0].headers) <= max_fields and len(known[0].target) <= max_target:
        return _with_length(*known, found[1])
    read = _read(head, max_fields, max_target)
    # What the client expects depends on whether there is a body.
    if type(read) is RequestHead and len(head) <= _LONGEST_KNOWN and b"expect" not in read.first:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()  # heads with an id in them must not keep the others out for good
        at = [name.lower() for name, _ in read.headers].index(b"content-length")
        _known[key] = _with_length(read, at, found[1]), at
    return read


def _with_length(known: RequestHead, at: int, digits: bytes) -> RequestHead:
    """A known head with another Content-Length, in a list and a dictionary of its own."""
    method, target, http10, headers, first, _, expect, close, upgrade = known
    headers = headers.copy()
    headers[at] = headers[at][0], digits
    first = first.copy()
    first[b"content-length"] = digits
    return RequestHead(method, target, http10, headers, first, int(digits), expect, close, upgrade)


def _read(head: bytes, max_fields: int, max_target: int) -> RequestHead | Refusal:
    match = _HEAD.fullmatch(head)
    if match is None:
        return _malformed(head)
    method, target, minor, block = match.groups()
    if len(target) > max_target:
        return Refusal(414, "the request target is too long")
    headers: RawHeaders = _FIELD.findall(block)
    if len(headers) > max_fields:
        return Refusal(431, "too many header fields")
    if b" \r\n" in block or b"\t\r\n" in block:
        headers = [(name, value.rstrip(b" \t")) for name, value in headers]
    first = {name.lower(): value for name, value in headers}
    if len(first) != len(headers):
        names = [name.lower() for name, _ in headers]
        for name in _SINGLE:
            if names.count(name) > 1:
                return Refusal(400, f"more than one {name.decode()} field")
        first = {}
        for name, (_, value) in zip(names, headers, strict=True):
            first.setdefault(name, value)
    http10 = minor == b"0"
    host = first.get(b"host")
    if host is None:
        if not http10:
            return Refusal(400, "no host field")
    elif _HOST.fullmatch(host) is None:
        return Refusal(400, "invalid host field")
    if method == b"CONNECT":
        return Refusal(501, "this is not a forward proxy")
    length: int | None = 0
    digits = first.get(b"content-length")
    if digits is not None:
        if _LENGTH.fullmatch(digits) is None:
            return Refusal(400, "invalid content-length field")
        length = int(digits)
    coding = first.get(b"transfer-encoding")
    if coding is not None:
        if digits is not None:
            return Refusal(400, "both content-length and transfer-encoding")
        if http10:
            return Refusal(400, "transfer-encoding in HTTP/1.0")
        if coding.lower() != b"chunked":
            return Refusal(501, "the only transfer coding understood is chunked")
        length = None
    expect = False
    if b"expect" in first and not http10:
        if {value.lower() for name, value in headers if name.lower() == b"expect"} != {b"100-continue"}:
            return Refusal(417, "the only expectation understood is 100-continue")
        expect = length != 0
    close, upgrade = http10, None
    if b"connection" in first:
        options = _list(headers, b"connection")
        close = close or b"close" in options
        if not http10 and b"upgrade" in options and b"upgrade" in first:
            protocols = _list(headers, b"upgrade")
            if not protocols & {b"h2c", b"h2"}:
                upgrade = first[b"upgrade"] or None
    return RequestHead(method, target, http10, headers, first, length, expect, close, upgrade)


def _list(headers: RawHeaders, lower_name: bytes) -> set[bytes]:
    return {
        option.strip(b" \t").lower()
        for name, value in headers
        if name.lower() == lower_name
        for option in value.split(b",")
    }


def _malformed(head: bytes) -> Refusal:
    line = _OTHER_VERSION.match(head)
    if line is not None and line[0][-5:] not in (b"1.0\r\n", b"1.1\r\n"):
        return Refusal(505, "the only versions understood are HTTP/1.1 and HTTP/1.0")
    return Refusal(400, "the request head is malformed")
