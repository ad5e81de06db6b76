"""The listening side of the daemon: who may connect, what they may use, and how it stops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolNegotiationFactory, IReactorTime
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from llmux.headers import RawHeaders
from llmux.wire.body import BodyBudget
from llmux.wire.channel import ServerChannel
from llmux.wire.request import Request

__all__ = ["HTTPServer", "Refuse", "ServerChannel", "ServerSettings"]

Refuse = Callable[[int, bytes, str], tuple[RawHeaders, bytes]]

TICK = 0.5  # seconds between two looks at all deadlines


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Limits of the listening side, in bytes, counts and seconds (HOSTILE rules 3 and 7).

    `header_timeout` is absolute, from the first byte of a head. `keep_alive` also bounds the wait for the first byte.
    `send_timeout` is for a client that takes nothing of an answer, `body_idle_timeout` for one that owes body bytes and
    sends none. `buffered` bounds all collected bodies together.
    """

    header_bytes: int = 32768
    header_fields: int = 200
    target: int = 12288
    connections: int = 20000
    connections_per_address: int = 20000
    header_timeout: float = 10.0
    keep_alive: float = 75.0
    send_timeout: float = 60.0
    body_idle_timeout: float = 60.0
    linger_bytes: int = 262144
    linger_timeout: float = 2.0
    buffered: int = 512 * 1024 * 1024


@implementer(IProtocolNegotiationFactory)
class HTTPServer(Factory[ServerChannel]):
    """Makes a `ServerChannel` for each connection and looks at all their deadlines twice a second.

    `handler` is called with each `Request` as soon as its head is there. `refuse(status, raw target, reason)` gives
    headers and body of the answers that the wire itself must give. `over`, if there is one, is called with each request
    that is answered or lost. Timeouts fire within two ticks after they are due.
    """

    noisy = False
    log = Logger()

    def __init__(
        self,
        handler: Callable[[Request], None],
        refuse: Refuse,
        clock: IReactorTime,
        settings: ServerSettings | None = None,
    ) -> None:
        self.handler = handler
        self.refuse = refuse
        self.over: Callable[[Request], None] | None = None
        self.clock = clock
        self.connections: set[ServerChannel] = set()
        self.busy = 0
        self.draining = False
        self.now = clock.seconds()
        self.check_period = TICK
        self.budget = BodyBudget(0)
        self._turned_away = 0
        self._per_address: dict[str, int] = {}
        self._ticking: IDelayedCall | None = None
        self.settings = settings or ServerSettings()

    @property
    def settings(self) -> ServerSettings:
        """The limits in force; assigning replaces them for every connection."""
        return self._settings

    @settings.setter
    def settings(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.budget.resize(settings.buffered)
        self.check_period = min(5.0, max(TICK, settings.send_timeout / 8), max(TICK, settings.body_idle_timeout / 8))

    def buildProtocol(self, addr: IAddress | None) -> ServerChannel | None:
        """Accept a connection, or return None (it is closed at once) beyond the limits."""
        peer: str = getattr(addr, "host", "")
        if peer.startswith("::ffff:"):
            peer = peer[7:]
        settings = self._settings
        count = self._per_address.get(peer, 0)
        if len(self.connections) >= settings.connections or count >= settings.connections_per_address or self.draining:
            self._turned_away += 1
            return None
        self._per_address[peer] = count + 1
        if self._ticking is None:
            self.now = self.clock.seconds()
            self._ticking = self.clock.callLater(TICK, self._tick)
        channel = ServerChannel(self, peer)
        self.connections.add(channel)
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """Return what a TLS client may choose: without an answer Twisted fails a handshake that offers anything."""
        return [b"http/1.1", b"http/1.0"]

    def forget(self, channel: ServerChannel) -> None:
        """A connection is lost."""
        self.connections.discard(channel)
        left = self._per_address[channel.peer] - 1
        if left:
            self._per_address[channel.peer] = left
        else:
            del self._per_address[channel.peer]
        if not self.connections and self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None

    def after(self, seconds: float) -> float:
        """The moment that is surely `seconds` away, though `now` may be a tick old."""
        return self.now + seconds + TICK

    def drain(self, close_idle: bool = True) -> None:
        """Let every further answer end its connection; `close_idle` also closes those on which nothing is under way.

        A client may be sending on an idle connection just when it is closed; without `close_idle` it is answered.
        """
        self.draining = True
        if close_idle:
            for channel in list(self.connections):
                channel.close_if_idle()

    def abort(self) -> None:
        """End every connection now."""
        for channel in list(self.connections):
            channel.abort()

    def _tick(self) -> None:
        self._ticking = self.clock.callLater(TICK, self._tick)
        self.now = now = self.clock.seconds()
        for channel in [channel for channel in self.connections if channel.deadline <= now]:
            try:
                channel.expire(now)
            except Exception:
                self.log.failure("in the clock of a connection")
                channel.abort()
        if self._turned_away:
            self.log.warn("turned away {count} connections beyond the limits", count=self._turned_away)
            self._turned_away = 0
