"""Two connections joined after an upgrade: bytes both ways, at the pace of the slower side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from llmux.headers import RawHeaders
from llmux.wire.outgoing import TunnelEnd

LINGER = 30.0  # seconds for one side to take what is queued for it when the other one is gone
UNCLAIMED_BYTES = 65536  # that may wait on an upgraded connection for somebody to take it over


class Unclaimed:
    """Keeps what happens on an upgraded connection until its tunnel is there."""

    __slots__ = ("_half_closed", "_lost", "_received", "_transport")

    def __init__(self, transport: Any, received: bytes) -> None:
        self._transport = transport
        self._received = bytearray()
        self._half_closed = False
        self._lost: Failure | None = None
        if received:
            self.dataReceived(received)

    def take(self) -> bytes:
        """Return what came so far, and keep it no longer."""
        received = bytes(self._received)
        self._received.clear()
        return received

    def hand_to(self, tunnel: TunnelEnd) -> None:
        """Tell `tunnel` all that it missed."""
        if self._received:
            tunnel.dataReceived(self.take())
        if self._lost is not None:
            tunnel.connectionLost(self._lost)
        elif self._half_closed:
            tunnel.readConnectionLost()
        else:
            self._transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > UNCLAIMED_BYTES:
            self._transport.pauseProducing()

    def readConnectionLost(self) -> None:
        self._half_closed = True

    def connectionLost(self, reason: Failure) -> None:
        self._lost = reason


@dataclass(frozen=True, slots=True)
class TunnelEnded:
    """How many bytes of the new protocol a tunnel carried in each direction."""

    to_upstream: int
    to_client: int


class Upgradable(Protocol):
    """Either side of an upgrade that still has to be taken over."""

    def set_tunnel(self, tunnel: TunnelEnd) -> None: ...


class UpgradableRequest(Upgradable, Protocol):
    """The client's side: taking it over sends the 101."""

    def take_over(self, status: int, headers: RawHeaders) -> tuple[ITransport, bytes]: ...


class UpgradableExchange(Upgradable, Protocol):
    """The upstream's side, after its 101."""

    def take_over(self) -> tuple[ITransport, bytes]: ...

    def abort(self) -> None: ...


@implementer(IPushProducer)
class _Side:
    """One connection of a tunnel: takes its events, and is the producer for the other one."""

    __slots__ = ("_finished", "_tunnel", "carried", "gone", "other", "transport")

    def __init__(self, tunnel: Tunnel, transport: Any) -> None:
        self._tunnel = tunnel
        self.transport = transport
        self.other: _Side = self
        self.carried = 0
        self.gone = False
        self._finished = False

    def dataReceived(self, data: bytes) -> None:
        self._tunnel.stirred = True
        self.carried += len(data)
        self.other.transport.write(data)

    def readConnectionLost(self) -> None:
        """This side sends no more: the other one gets the same, after all that is still on its way."""
        if self._finished:
            return
        self._finished = True
        target = self.other.transport
        if (
            self.other._finished
            or isinstance(target, TLSMemoryBIOProtocol)
            or not hasattr(target, "loseWriteConnection")
        ):
            self.other.finish()
        else:
            target.unregisterProducer()
            target.loseWriteConnection()
        if self.other._finished:
            self.finish()

    def connectionLost(self, reason: Failure) -> None:
        self.gone = self._finished = True
        self.other.finish()
        self._tunnel.side_gone()

    def finish(self) -> None:
        """Close after what is queued."""
        if not self.gone:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        if not self._finished:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The other transport is going; its `connectionLost` says so."""


class Tunnel:
    """Joins a client and an upstream, both taken over, until both are gone.

    A half-close travels to the other side, a loss closes it once it has what was sent. `idle` seconds without a byte
    in either direction end the tunnel; 0 means never. `done` fires with a TunnelEnded and does not fail.
    """

    def __init__(self, client: ITransport, upstream: ITransport, clock: IReactorTime, idle: float = 0.0) -> None:
        self.done: Deferred[TunnelEnded] = Deferred(lambda _: self.abort())
        self.stirred = False
        self.client = _Side(self, client)
        self.upstream = _Side(self, upstream)
        self.client.other, self.upstream.other = self.upstream, self.client
        self._clock = clock
        self._idle = idle
        self._timer: IDelayedCall | None = clock.callLater(idle, self._look) if idle else None
        self.client.transport.registerProducer(self.upstream, True)
        self.upstream.transport.registerProducer(self.client, True)

    def abort(self) -> None:
        """Cut both connections now."""
        for side in (self.client, self.upstream):
            if not side.gone:
                side.transport.abortConnection()

    def side_gone(self) -> None:
        """One of the connections is gone."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if not (self.client.gone and self.upstream.gone):
            self._timer = self._clock.callLater(LINGER, self.abort)
        elif not self.done.called:
            self.done.callback(TunnelEnded(self.client.carried, self.upstream.carried))

    def _look(self) -> None:
        if self.stirred:
            self.stirred = False
            self._timer = self._clock.callLater(self._idle, self._look)
        else:
            self.abort()


def join(
    request: UpgradableRequest,
    exchange: UpgradableExchange,
    headers: RawHeaders,
    clock: IReactorTime,
    idle: float = 0.0,
) -> Tunnel:
    """Answer the client's upgrade with the upstream's 101 `headers`, and let both speak to each other.

    What either has sent already is delivered first. If the client cannot be taken over any more the exchange is aborted
    and the request's exception raised.
    """
    upstream, from_upstream = exchange.take_over()
    try:
        client, from_client = request.take_over(101, headers)
    except Exception:
        exchange.abort()
        raise
    tunnel = Tunnel(client, upstream, clock, idle)
    if from_upstream:
        tunnel.upstream.dataReceived(from_upstream)
    if from_client:
        tunnel.client.dataReceived(from_client)
    request.set_tunnel(tunnel.client)
    exchange.set_tunnel(tunnel.upstream)
    return tunnel
