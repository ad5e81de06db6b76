"""What is asked of an upstream, who gives the body and takes the answer, and how it can fail."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from twisted.python.failure import Failure

from llmux.headers import RawHeaders
from llmux.wire.origin import Origin

_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[!-~]+")
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_COLON = b": "
_BODY_EXPECTED = frozenset({b"POST", b"PUT", b"PATCH"})


@dataclass(frozen=True, slots=True)
class Clocks:
    """How long each part of an exchange may take, in seconds; 0 means for ever (HOSTILE rule 7).

    `connect` covers name resolution and TCP, `tls` the handshake, `first_byte` the wait between the end of the request
    and the head of the answer, `idle` any pause inside the body, `total` all of it. They are looked at four times a
    second, and stand still while the pause is the client's doing.
    """

    connect: float = 10.0
    tls: float = 10.0
    first_byte: float = 600.0
    idle: float = 300.0
    total: float = 0.0


DEFAULT_CLOCKS = Clocks()


class UpstreamFailure(Exception):
    """An exchange that did not end well; the text is fit for a log and holds nothing that the peer or the client sent.

    `kind` is one of connect, dns, tls, connect-timeout, tls-timeout, first-byte-timeout, idle-timeout, total-timeout,
    closed (before a whole head), protocol (bad head or framing), cut (inside the body), aborted (by this side).
    `sent`: a byte of the request was written; `answered`: a byte of an answer was read.
    """

    def __init__(self, kind: str, detail: str = "", *, sent: bool = False, answered: bool = False) -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind
        self.sent = sent
        self.answered = answered


class BodySink(Protocol):
    """Who receives a request body: `data` any number of times, then `end` or `lost`."""

    def data(self, data: bytes) -> None: ...

    def end(self, trailers: RawHeaders) -> None: ...

    def lost(self) -> None: ...


class BodySource(Protocol):
    """A request body that still arrives; `length` is None when only its end will tell."""

    @property
    def length(self) -> int | None: ...

    def pipe(self, sink: BodySink) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Receiver(Protocol):
    """Who receives an answer's body: `data` any number of times, then `end` or `failed`, once."""

    def data(self, data: bytes) -> None: ...

    def end(self, trailers: RawHeaders) -> None: ...

    def failed(self, failure: UpstreamFailure) -> None: ...


class TunnelEnd(Protocol):
    """What takes a connection's events once it carries another protocol."""

    def dataReceived(self, data: bytes) -> None: ...

    def readConnectionLost(self) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


RequestContent = bytes | bytearray | BodySource | None


@dataclass(slots=True)
class OutgoingRequest:
    """What is to be sent. `headers` come without Host, framing and hop-by-hop fields, which the connection adds.

    `upgrade` asks for that protocol, and only then a 101 is an answer. `host` replaces the origin's own Host value.
    The body's bytes must not change until the exchange is over.
    """

    origin: Origin
    method: bytes
    target: bytes
    headers: RawHeaders = field(repr=False)
    body: RequestContent = field(default=None, repr=False)
    clocks: Clocks = DEFAULT_CLOCKS
    upgrade: bytes | None = None
    host: bytes | None = None


def request_head(request: OutgoingRequest) -> bytes:
    """Return the head as it goes over the wire: Host first, framing last (RFC 9112 3.2 and 6).

    Raises ValueError, quoting nothing, if a part would break out of its line.
    """
    method, target, body = request.method, request.target, request.body
    if (method not in _METHODS and _METHOD.fullmatch(method) is None) or _TARGET.fullmatch(target) is None:
        raise ValueError("invalid method or target of an outgoing request")
    lines = [method + b" " + target + b" HTTP/1.1\r\nHost: " + (request.host or request.origin.authority)]
    lines += map(_COLON.join, request.headers)
    if request.upgrade is not None:
        lines.append(b"Connection: Upgrade\r\nUpgrade: " + request.upgrade)
    if body is None:
        if method in _BODY_EXPECTED:
            lines.append(b"Content-Length: 0")
    else:
        length = len(body) if isinstance(body, (bytes, bytearray)) else body.length
        lines.append(b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length)
    lines.append(b"\r\n")
    head = b"\r\n".join(lines)
    breaks = len(lines) + 1 + (request.upgrade is not None)
    if head.count(b"\n") != breaks or head.count(b"\r") != breaks or b"\0" in head:
        raise ValueError("a line break or NUL in a field of an outgoing request")
    return head
