"""An upstream made of memory: a reactor that only notes connection attempts, and the peer's end of each."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from llmux.headers import RawHeaders
from llmux.wire.client import Clocks, Exchange, OutgoingRequest, ResponseHead, UpstreamFailure
from llmux.wire.origin import Origin
from llmux.wire.pool import Pool

ORIGIN = Origin("http", "upstream.test", 80)


class Peer:
    """The transport of one client connection, seen from the upstream."""

    def __init__(self, protocol: Any = None) -> None:
        self.protocol = protocol
        self.written = bytearray()
        self.writes = 0
        self.paused = False
        self.aborted = False
        self.closed = False
        self.half_closed = False
        self.producer: IPushProducer | None = None

    def write(self, data: bytes) -> None:
        assert isinstance(data, bytes)
        if not (self.aborted or self.closed):
            self.written += data
            self.writes += 1

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        assert streaming and self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseConnection(self) -> None:
        self.closed = True

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True

    @property
    def down(self) -> bool:
        return self.aborted or self.closed

    def take(self) -> bytes:
        """What was written since the last call."""
        written = bytes(self.written)
        self.written.clear()
        return written

    def says(self, data: bytes) -> None:
        self.protocol.dataReceived(data)

    def fin(self) -> None:
        self.protocol.readConnectionLost()
        self.lost(ConnectionDone())

    def rst(self) -> None:
        self.lost(ConnectionLost())

    def lost(self, error: Exception | None = None) -> None:
        if self.producer is not None:
            self.producer.stopProducing()
            self.producer = None
        self.protocol.connectionLost(Failure(error or ConnectionAborted()))


class MemoryReactor(Clock):
    """A clock that takes connection attempts; `accept` lets the oldest succeed."""

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[tuple[str, int, Any]] = []
        self.stopped: list[Any] = []

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30) -> None:
        self.attempts.append((host, port, factory))
        factory.startedConnecting(_Connector(self, factory))

    def accept(self) -> Peer:
        _, _, factory = self.attempts.pop(0)
        peer = Peer(factory.buildProtocol(None))
        peer.protocol.makeConnection(peer)
        return peer

    def refuse(self, error: Exception) -> None:
        _, _, factory = self.attempts.pop(0)
        factory.clientConnectionFailed(None, Failure(error))

    def wait(self, seconds: float) -> None:
        """Let time pass in small steps, as it does."""
        self.pump([0.25] * int(seconds * 4))


class _Connector:
    def __init__(self, reactor: MemoryReactor, factory: Any) -> None:
        self._reactor = reactor
        self._factory = factory

    def stopConnecting(self) -> None:
        self._reactor.stopped.append(self._factory)


class Taker:
    """A receiver that notes all it is told."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.trailers: RawHeaders | None = None
        self.failure: UpstreamFailure | None = None
        self.ends = 0

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)

    def data(self, data: bytes) -> None:
        assert not self.ends
        self.pieces.append(data)

    def end(self, trailers: RawHeaders) -> None:
        self.ends += 1
        self.trailers = trailers

    def failed(self, failure: UpstreamFailure) -> None:
        self.ends += 1
        self.failure = failure


class Body:
    """A request body that arrives when the test says so."""

    def __init__(self, length: int | None) -> None:
        self.length = length
        self.sink: Any = None
        self.paused = False

    def pipe(self, sink: Any) -> None:
        self.sink = sink

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Sent:
    """One exchange with what became of it. With `relay` the body is taken as soon as the head is there."""

    def __init__(self, exchange: Exchange, relay: bool = True) -> None:
        self.exchange = exchange
        self.taker = Taker()
        self.head: ResponseHead | None = None
        self.failure: UpstreamFailure | None = None
        self._relay = relay
        exchange.head.addCallbacks(self._got, self._failed)

    def _got(self, head: ResponseHead) -> None:
        self.head = head
        if self._relay:
            self.exchange.relay(self.taker)

    def _failed(self, reason: Failure) -> None:
        assert isinstance(reason.value, UpstreamFailure)
        self.failure = reason.value


def request(method: bytes = b"GET", body: Any = None, **more: Any) -> OutgoingRequest:
    """A request to the upstream in memory, with clocks of a few seconds."""
    more.setdefault("headers", [(b"X-A", b"b")])
    more.setdefault("clocks", Clocks(connect=5, tls=5, first_byte=10, idle=4))
    return OutgoingRequest(ORIGIN, method, more.pop("target", b"/p?q"), body=body, **more)


class Upstream:
    """A pool, its reactor, and shortcuts to send and to answer."""

    def __init__(self, **settings: Any) -> None:
        self.reactor = MemoryReactor()
        self.pool = Pool(self.reactor, **settings)

    def send(self, method: bytes = b"GET", body: Any = None, relay: bool = True, **more: Any) -> Sent:
        on_interim = more.pop("on_interim", None)
        return Sent(self.pool.send(request(method, body, **more), on_interim), relay)

    def exchange(self, method: bytes = b"GET", body: Any = None, **more: Any) -> tuple[Sent, Peer]:
        """Send on a new connection."""
        sent = self.send(method, body, **more)
        return sent, self.reactor.accept()

    def pooled(self) -> Peer:
        """A connection that has served one exchange and waits for the next."""
        sent, peer = self.exchange()
        peer.says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert sent.taker.ends == 1
        peer.take()
        return peer
