"""The client's end of a connection to the daemon: writes raw requests, reads answers strictly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet import reactor as installed
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

reactor: Any = installed
Headers = list[tuple[str, str]]
T = TypeVar("T")
PATIENCE = 10.0
FIN, RST = "fin", "rst"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as far as it came; `complete` when its framing says that all of it is there."""

    status: int
    reason: str
    headers: Headers
    body: bytes
    complete: bool
    interim: list[int]
    rest: bytes = b""

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next(iter(self.all(name)), None)

    def all(self, name: str) -> list[str]:
        """Every value of a header, in order."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def request_bytes(method: str, target: str, headers: Headers, body: bytes | None = None) -> bytes:
    """One request with Host and Content-Length where they are needed and not given."""
    names = {name.lower() for name, _ in headers}
    fields = [*headers] if "host" in names else [("Host", "daemon.test"), *headers]
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def _unchunked(data: bytes) -> tuple[bytes, bool, bytes]:
    """The content so far, whether the last chunk and the trailers came, and what is behind them."""
    content = b""
    while True:
        line, found, rest = data.partition(b"\r\n")
        if not found:
            return content, False, b""
        size = int(line, 16)
        if size == 0:
            if rest.startswith(b"\r\n"):
                return content, True, rest[2:]
            _, found, behind = rest.partition(b"\r\n\r\n")
            return content, bool(found), behind
        content += rest[:size]
        if len(rest) < size + 2:
            return content, False, b""
        if rest[size : size + 2] != b"\r\n":
            raise AssertionError(f"a chunk does not end with CRLF: {rest[size : size + 2]!r}")
        data = rest[size + 2 :]


def read_answer(data: bytes, method: str, ended: str | None) -> Answer | None:
    """The first answer in `data`; None while its head is not whole. `ended` says how the connection ended, if so."""
    interim: list[int] = []
    while True:
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, reason = (*first.split(" ", 2), "")[:3]
        if version != "HTTP/1.1":
            raise AssertionError(f"not a status line: {first!r}")
        if not 100 <= int(status) <= 199 or status == "101":
            break
        interim.append(int(status))
        data = rest
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    fields = {name.lower(): value for name, value in headers}

    def answer(body: bytes, complete: bool, behind: bytes = b"") -> Answer:
        return Answer(int(status), reason, headers, body, complete, interim, behind)

    if method == "HEAD" or status in ("101", "204", "304"):
        return answer(b"", True, rest)
    if fields.get("transfer-encoding") == "chunked":
        if "content-length" in fields:
            raise AssertionError("both Transfer-Encoding and Content-Length")
        return answer(*_unchunked(rest))
    if "content-length" in fields:
        length = int(fields["content-length"])
        return answer(rest[:length], len(rest) >= length, rest[length:])
    return answer(rest, ended == FIN)


class Conversation(Protocol):
    """A client of the daemon; works on real sockets and, with `in_memory`, from any address."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.ended: str | None = None
        self.method = "GET"
        self._waiting: list[Deferred[None]] = []

    @property
    def wire(self) -> Any:
        """The transport."""
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._stir()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = FIN if reason.check(ConnectionDone) else RST
        self._stir()

    def _stir(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    def send(self, data: bytes) -> None:
        """Write raw bytes."""
        self.wire.write(data)

    def ask(self, method: str, target: str, headers: Headers | None = None, body: bytes | None = None) -> None:
        """Write one request."""
        self.method = method
        self.send(request_bytes(method, target, headers or [], body))

    def leave(self) -> None:
        """Reset the connection."""
        self.wire.abortConnection()

    @property
    def so_far(self) -> Answer | None:
        """The answer as far as it came."""
        return read_answer(bytes(self.received), self.method, self.ended)

    async def until(self, what: Callable[[], T | None], seconds: float = PATIENCE) -> T:
        """Wait until `what` gives something; it is asked again whenever bytes come or the connection ends."""
        while True:
            found = what()
            if found is not None:
                return found
            if self.ended:
                raise AssertionError(f"the connection ended by {self.ended} after {bytes(self.received[:500])!r}")
            changed: Deferred[None] = Deferred()
            self._waiting.append(changed)
            await changed.addTimeout(seconds, reactor)

    async def head(self) -> Answer:
        """Wait for the head of the answer."""
        return await self.until(lambda: self.so_far)

    async def answer(self) -> Answer:
        """Wait for the whole answer, or for the end of the connection when it comes first."""
        begun = await self.head()
        if begun.complete:
            return begun
        length = int(begun.header("Content-Length") or 0)

        def whole() -> Answer | None:
            received = self.received
            if not self.ended and (len(received) < length or (not length and not received.endswith(b"\r\n\r\n"))):
                # To read a large answer anew with every piece of it would take minutes.
                return None
            found = self.so_far
            return found if found is not None and (found.complete or self.ended) else None

        return await self.until(whole)

    async def content(self, wanted: bytes) -> Answer:
        """Wait until the body, as far as it came, contains this."""

        def there() -> Answer | None:
            found = self.so_far
            return found if found is not None and wanted in found.body else None

        return await self.until(there)

    async def end(self) -> str:
        """Wait for the end of the connection; says how it ended."""
        return await self.until(lambda: self.ended)

    def next_answer(self) -> None:
        """Forget the answer that was read, on a connection that goes on."""
        found = self.so_far
        assert found is not None and found.complete
        self.received = bytearray(found.rest)


class Wire:
    """A connection that exists in memory only: what either end does reaches the other one in a later turn, in order."""

    def __init__(self, server: Any, client: Conversation) -> None:
        self.server = server
        self.client = client
        self.lost = False
        self._queue: list[Callable[[], None]] = []

    def later(self, call: Callable[[], None]) -> None:
        """Do this in another turn."""
        self._queue.append(call)
        if len(self._queue) == 1:
            reactor.callLater(0, self._pump)

    def to_client(self, data: bytes) -> None:
        """Deliver what the daemon wrote."""

        def deliver() -> None:
            if not self.lost:
                self.client.dataReceived(data)

        self.later(deliver)

    def to_server(self, data: bytes) -> None:
        """Deliver what the client wrote."""

        def deliver() -> None:
            if not self.lost:
                self.server.dataReceived(data)

        self.later(deliver)

    def lose(self, server: Exception, client: Exception) -> None:
        """Tell both ends, once, why it is over."""

        def over() -> None:
            if not self.lost:
                self.lost = True
                self.server.connectionLost(Failure(server))
                self.client.connectionLost(Failure(client))

        self.later(over)

    def _pump(self) -> None:
        queue, self._queue = self._queue, []
        for call in queue:
            call()


class ServerEnd:
    """The transport of the daemon's protocol; memory is never full, so producers are ignored."""

    disconnecting = False

    def __init__(self, wire: Wire, peer: IPv4Address | IPv6Address) -> None:
        self._wire = wire
        self._peer = peer
        self._writable = True

    def getPeer(self) -> IPv4Address | IPv6Address:
        return self._peer

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "127.0.0.1", 8317)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Nobody will be paused."""

    def unregisterProducer(self) -> None:
        """Nobody was paused."""

    def pauseProducing(self) -> None:
        """What the client wrote has been delivered already."""

    def resumeProducing(self) -> None:
        """What the client wrote has been delivered already."""

    def write(self, data: bytes) -> None:
        if self._writable:
            self._wire.to_client(bytes(data))

    def loseConnection(self) -> None:
        self._writable = False
        self._wire.lose(ConnectionDone(), ConnectionDone())

    def abortConnection(self) -> None:
        self._writable = False
        self._wire.lose(ConnectionAborted(), ConnectionLost())


class ClientEnd:
    """The transport of a conversation in memory."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def write(self, data: bytes) -> None:
        self._wire.to_server(data)

    def abortConnection(self) -> None:
        self._wire.lose(ConnectionLost(), ConnectionAborted())


def in_memory(factory: Any, host: str, port: int = 5000) -> Conversation:
    """Connect to a factory from an address of choice; a refused connection has ended at once."""
    kind = IPv6Address if ":" in host else IPv4Address
    address = kind("TCP", host, port)
    client = Conversation()
    server = factory.buildProtocol(address)
    if server is None:
        client.connectionLost(Failure(ConnectionLost()))
        return client
    wire = Wire(server, client)
    end: Any = ClientEnd(wire)
    client.makeConnection(end)
    server.makeConnection(ServerEnd(wire, address))
    return client
