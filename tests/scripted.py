"""A scripted HTTP server on a real loopback socket: what upstreams and providers are in the end-to-end tests.

It parses requests strictly enough to notice a framing mistake of the proxy, records them with the exact bytes of their
heads, and lets a test answer with raw bytes, in pieces, late, or by breaking off.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure


@dataclass
class Seen:
    """One request as it arrived; `gone` fires when its connection is lost."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    connection: ScriptedConnection
    body: bytes = b""
    gone: Deferred[None] = field(default_factory=Deferred)

    def header(self, name: str) -> str | None:
        """The first value of a header, by its lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def all(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key.lower() == name]

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def write(self, data: bytes) -> None:
        """Send raw bytes."""
        self.connection.wire.write(data)

    def reply(
        self,
        status: int = 200,
        body: bytes = b"",
        content_type: str | None = "application/json",
        headers: list[tuple[str, str]] | None = None,
    ) -> None:
        """Send a whole answer with Content-Length."""
        lines = [f"HTTP/1.1 {status} Scripted"]
        if content_type:
            lines.append(f"Content-Type: {content_type}")
        lines += [f"{name}: {value}" for name, value in headers or []]
        if status != 304:
            lines.append(f"Content-Length: {len(body)}")
        self.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (b"" if self.method == "HEAD" else body))

    def begin_stream(
        self, content_type: str = "text/event-stream", headers: list[tuple[str, str]] | None = None
    ) -> None:
        """Send the head of a chunked answer."""
        extra = "".join(f"{name}: {value}\r\n" for name, value in headers or [])
        self.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{extra}Transfer-Encoding: chunked\r\n\r\n".encode()
        )

    def chunk(self, data: bytes) -> None:
        """Send one chunk of a chunked answer."""
        self.write(b"%x\r\n%b\r\n" % (len(data), data))

    def end_stream(self) -> None:
        """End a chunked answer properly."""
        self.write(b"0\r\n\r\n")

    def stream(self, chunks: list[bytes], content_type: str = "text/event-stream") -> None:
        """Send a whole chunked answer."""
        self.begin_stream(content_type)
        for data in chunks:
            self.chunk(data)
        self.end_stream()

    def cut(self) -> None:
        """Reset the connection."""
        self.connection.wire.abortConnection()

    def close(self) -> None:
        """Close the connection after what was written."""
        self.connection.wire.loseConnection()


class ScriptedConnection(Protocol):
    """Parses requests one after the other and hands each to the server's script when it is complete."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.buffer = b""
        self.current: Seen | None = None
        self.need: int | None = None
        self.open: list[Seen] = []

    @property
    def wire(self) -> Any:
        """The transport, a TCP connection."""
        return self.transport

    def connectionMade(self) -> None:
        self.server.connections.append(self)
        self.wire.setTcpNoDelay(True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.server.connections.remove(self)
        for seen in self.open:
            seen.gone.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        if self.server.on_bytes is not None and self.current is not None:
            self.server.on_bytes(data)
            return
        while self._step():
            pass

    def _step(self) -> bool:
        if self.current is None:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return False
            self.buffer = rest
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
            self.current = seen = Seen(method, target, headers, self)
            self.open.append(seen)
            encoding = seen.header("transfer-encoding")
            self.need = None if encoding == "chunked" else int(seen.header("content-length") or 0)
            if self.server.at_head is not None:
                self.server.at_head(seen)
        if not self._body():
            return False
        seen, self.current = self.current, None
        self.server.requests.append(seen)
        self.server.script(seen)
        return bool(self.buffer)

    def _body(self) -> bool:
        seen = self.current
        assert seen is not None
        if self.need is not None:
            if len(self.buffer) < self.need:
                return False
            seen.body, self.buffer = self.buffer[: self.need], self.buffer[self.need :]
            return True
        while True:
            line, found, rest = self.buffer.partition(b"\r\n")
            if not found:
                return False
            size = int(line.split(b";")[0], 16)
            if len(rest) < size + 2:
                return False
            seen.body += rest[:size]
            self.buffer = rest[size + 2 :]
            if size == 0:
                return True


class ScriptedServer(ServerFactory):
    """Listens on a loopback port, a free one if it is 0, and answers with its script.

    `requests` are the complete ones in order.
    """

    def __init__(
        self, script: Callable[[Seen], None] | None = None, reactor: IReactorTCP | None = None, port: int = 0
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = IReactorTCP(installed)
        self.script = script or (lambda seen: seen.reply(200, b"{}"))
        self.at_head: Callable[[Seen], None] | None = None
        self.on_bytes: Callable[[bytes], None] | None = None
        self.requests: list[Seen] = []
        self.connections: list[ScriptedConnection] = []
        self.port: IListeningPort = reactor.listenTCP(port, self, interface="127.0.0.1")

    def buildProtocol(self, addr: IAddress | None) -> ScriptedConnection:
        return ScriptedConnection(self)

    @property
    def url(self) -> str:
        """The base URL of this server."""
        return f"http://127.0.0.1:{self.number}"

    @property
    def number(self) -> int:
        """The port number."""
        host: Any = self.port.getHost()
        return int(host.port)

    async def stop(self) -> None:
        """Stop listening and abort what is open."""
        await maybeDeferred(self.port.stopListening)
        for connection in list(self.connections):
            connection.wire.abortConnection()
