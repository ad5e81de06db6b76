"""A server in memory: one client's connection, the requests that its handler got, and a clock."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from llmux.headers import RawHeaders
from llmux.wire.channel import ServerChannel
from llmux.wire.request import Request
from llmux.wire.server import HTTPServer, ServerSettings

TEXT: RawHeaders = [(b"Content-Type", b"text/plain")]


def refuse(status: int, target: bytes, reason: str) -> tuple[RawHeaders, bytes]:
    """Answer refusals with their reason and the target."""
    return [(b"Content-Type", b"application/json")], b"%d %b %b" % (status, target, reason.encode())


def hello(request: Request) -> None:
    """Answer with the method and the target."""
    request.respond(200, TEXT, request.method + b" " + request.uri)


class Serving:
    """A server with one connection; `handler` is called for each request after it was appended to `requests`."""

    def __init__(
        self, handler: Callable[[Request], None] = lambda request: None, settings: ServerSettings | None = None
    ) -> None:
        self.requests: list[Request] = []
        self.handler = handler
        self.clock = Clock()
        self.server = HTTPServer(self._handle, refuse, self.clock, settings)
        self.channel, self.transport = self.connect()

    def connect(self, host: str = "127.0.0.1") -> tuple[ServerChannel, StringTransport]:
        """Accept another connection."""
        channel = self.server.buildProtocol(IPv4Address("TCP", host, 4000))
        assert channel is not None
        transport = StringTransport()
        channel.makeConnection(transport)
        return channel, transport

    def _handle(self, request: Request) -> None:
        self.requests.append(request)
        self.handler(request)

    def receive(self, data: bytes) -> Request:
        """Deliver bytes from the client and return the latest request."""
        self.channel.dataReceived(data)
        return self.requests[-1] if self.requests else None  # type: ignore[return-value]  # a test knows which

    def turn(self) -> None:
        """Let the reactor's turn end."""
        self.clock.advance(0)

    def wait(self, seconds: float) -> None:
        """Let time pass in ticks."""
        while seconds > 0:
            self.clock.advance(min(0.25, seconds))
            seconds -= 0.25

    def sent(self) -> bytes:
        """Return what the client got since the last call."""
        self.turn()
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def leave(self) -> None:
        """The client goes away."""
        self.channel.connectionLost(Failure(ConnectionDone()))

    @property
    def closed(self) -> str:
        """How the server ended the connection: open, closed or aborted."""
        if self.transport.disconnected:
            return "aborted"
        return "closed" if self.transport.disconnecting else "open"


GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


def get(path: bytes, extra: bytes = b"") -> bytes:
    """Return a GET without a body."""
    return b"GET " + path + b" HTTP/1.1\r\nHost: h\r\n" + extra + b"\r\n"


def post(body: bytes = b"", extra: bytes = b"", length: int | None = None) -> bytes:
    """Return a POST with a Content-Length."""
    size = len(body) if length is None else length
    return b"POST /p HTTP/1.1\r\nHost: h\r\n%bContent-Length: %d\r\n\r\n%b" % (extra, size, body)


def chunked(body: bytes = b"", extra: bytes = b"") -> bytes:
    """Return a POST with a chunked body."""
    return b"POST /c HTTP/1.1\r\nHost: h\r\n%bTransfer-Encoding: chunked\r\n\r\n%b" % (extra, body)
