"""Connections to upstreams, kept while they are good, and the clock that looks at every exchange."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol

from llmux.headers import RawHeaders
from llmux.wire.client import ClientConnection
from llmux.wire.connect import Connecting
from llmux.wire.exchange import Exchange
from llmux.wire.outgoing import OutgoingRequest, request_head
from llmux.wire.tls import ClientTLS, TrustRoots

SWEEP = 0.25  # seconds between two looks at the clocks of all exchanges


def is_quiet(transport: Any) -> bool:
    """Whether an idle connection is as silent as it must be: no FIN, no unread bytes (HOSTILE rule 9).

    The reactor would find out, too, but in this turn it may not have come to it yet.
    """
    raw = transport.transport if isinstance(transport, TLSMemoryBIOProtocol) else transport
    handle = getattr(raw, "socket", None)
    if handle is None:
        return True  # a transport without a socket has nothing that it has not delivered
    try:
        handle.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


class Pool:
    """Sends requests and keeps the connections for the next ones.

    `reactor` provides IReactorTCP and IReactorTime. An idle connection is kept for `idle_seconds`, which should be less
    than the peers keep theirs; at most `max_idle_per_origin` are kept for each origin, the youngest is used first.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        trust_roots: TrustRoots = None,
        max_idle_per_origin: int = 512,
        idle_seconds: float = 25.0,
    ) -> None:
        self._reactor = reactor
        self._tls = ClientTLS(reactor, trust_roots)
        self._max_idle = max_idle_per_origin
        self._idle_seconds = idle_seconds
        self._idle: dict[str, list[ClientConnection]] = {}
        self._connections: set[ClientConnection] = set()
        self._exchanges: set[Exchange] = set()
        self._timer: IDelayedCall | None = None
        self._now = 0.0

    @property
    def open(self) -> int:
        """How many connections are established."""
        return len(self._connections)

    @property
    def idle(self) -> int:
        """How many of them wait for a request."""
        return sum(map(len, self._idle.values()))

    def send(self, request: OutgoingRequest, on_interim: Callable[[int, RawHeaders], None] | None = None) -> Exchange:
        """Send `request` on an idle connection or a new one; `on_interim` hears of 1xx answers, 100 and 101 excepted.

        Raises ValueError if a part of the request would break out of its line; everything else that can happen is told
        by the exchange.
        """
        exchange = Exchange(self, request, request_head(request), on_interim)
        self._exchanges.add(exchange)
        if self._timer is None:
            self._now = self._reactor.seconds()
            self._timer = self._reactor.callLater(SWEEP, self._sweep)
        idle = self._idle.get(request.origin.key)
        while idle:
            connection = idle.pop()
            if is_quiet(connection.transport):
                connection.begin(exchange)
                return exchange
            connection.close()
        self._connect(exchange)
        return exchange

    def close_idle(self) -> None:
        """Close what waits for a request; exchanges go on."""
        idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def abort(self) -> None:
        """Abort every exchange and close every connection, now."""
        for exchange in list(self._exchanges):
            exchange.abort()
        self._idle.clear()
        for connection in list(self._connections):
            connection.abandon()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _connect(self, exchange: Exchange) -> None:
        exchange.replayable = False
        attempt = Connecting(
            self._reactor,
            self,
            exchange.origin,
            exchange.clocks,
            self._tls,
            partial(self._established, exchange),
            exchange.fail,
        )
        exchange.attempt = attempt
        attempt.start()

    def _established(self, exchange: Exchange, connection: ClientConnection) -> None:
        self._connections.add(connection)
        exchange.attempt = None
        connection.begin(exchange)

    # what connections and exchanges report

    def release(self, connection: ClientConnection) -> None:
        """Take back a connection that is free."""
        connection.idle_since = self._now
        key = connection.origin.key
        idle = self._idle.get(key)
        if idle is None:
            self._idle[key] = [connection]
            return
        idle.append(connection)
        if len(idle) > self._max_idle:
            idle.pop(0).close()

    def closed(self, connection: ClientConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        idle = self._idle.get(connection.origin.key)
        if idle and connection in idle:
            idle.remove(connection)

    def dismiss(self, exchange: Exchange) -> None:
        """Look at the clocks of this exchange no more."""
        self._exchanges.discard(exchange)

    def renew(self, exchange: Exchange) -> None:
        """Send again what died on a connection that had been idle, once, on a new one (HOSTILE rule 9)."""
        exchange.paused = False
        self._connect(exchange)

    def _sweep(self) -> None:
        self._now = now = self._reactor.seconds()
        for exchange in list(self._exchanges):
            try:
                exchange.check(now)
            except Exception:
                self.log.failure("while ending an exchange whose time was over")
        for key, idle in list(self._idle.items()):
            while idle and idle[0].idle_since + self._idle_seconds <= now:
                idle.pop(0).close()
            if not idle:
                del self._idle[key]
        self._timer = None
        if self._exchanges or self._idle:
            self._timer = self._reactor.callLater(SWEEP, self._sweep)
