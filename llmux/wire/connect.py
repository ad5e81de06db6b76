"""Ways to an upstream: names to addresses, addresses to connections, with a clock on each part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet import tcp
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostResolution,
    IProtocol,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.internet.posixbase import PosixReactorBase
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from llmux.wire.client import ClientConnection, ConnectionOwner
from llmux.wire.origin import Origin
from llmux.wire.outgoing import Clocks
from llmux.wire.sending import SendNow
from llmux.wire.tls import ClientTLS, describe

STAGGER = 0.3  # seconds until the next address is tried beside one that has not answered (RFC 8305 5)


class Client(SendNow, tcp.Client):
    """A TCP client transport that sends at once."""


class _Try:
    """One address being tried. It plays the connector for our transports, and the factory for other reactors'."""

    __slots__ = ("connecting", "connection", "stop")

    noisy = False

    def __init__(self, connecting: Connecting) -> None:
        self.connecting: Connecting | None = connecting
        self.connection: ClientConnection | None = None
        self.stop: Callable[[], None] | None = None

    def buildProtocol(self, address: IAddress) -> IProtocol | None:
        if self.connecting is None:
            return None
        return self.connecting.build(self)

    def connectionFailed(self, reason: Failure) -> None:
        connecting, self.connecting = self.connecting, None
        if connecting is not None:
            connecting.failed(self, reason)

    def connectionLost(self, reason: Failure) -> None:
        """The protocol was told, too."""

    def startedConnecting(self, connector: Any) -> None:
        self.stop = connector.stopConnecting

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.connectionFailed(reason)

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        """The protocol was told, too."""

    def doStart(self) -> None:
        """Nothing to start."""

    def doStop(self) -> None:
        """Nothing to stop."""

    def give_up(self) -> None:
        """Stop trying; a connection that is up already is aborted."""
        self.connecting = None
        connection, self.connection = self.connection, None
        stop, self.stop = self.stop, None
        if connection is not None and connection.transport is not None:
            connection.abandon()
        elif stop is not None:
            stop()


@implementer(IResolutionReceiver)
class Connecting:
    """Gets one connection to an origin, or says why not; one of the two callbacks is called, once, unless cancelled.

    All addresses of the name are tried, a next one when one fails or is slow; the first that answers wins.
    """

    __slots__ = (
        "_addresses",
        "_clock",
        "_clocks",
        "_done",
        "_failed",
        "_last",
        "_origin",
        "_owner",
        "_reactor",
        "_resolved",
        "_stagger",
        "_tls",
        "_tries",
    )

    def __init__(
        self,
        reactor: Any,
        owner: ConnectionOwner,
        origin: Origin,
        clocks: Clocks,
        tls: ClientTLS,
        done: Callable[[ClientConnection], None],
        failed: Callable[[str, str], None],
    ) -> None:
        self._reactor = reactor
        self._owner = owner
        self._origin = origin
        self._clocks = clocks
        self._tls = tls
        self._done: Callable[[ClientConnection], None] | None = done
        self._failed: Callable[[str, str], None] | None = failed
        self._addresses: list[str] = []
        self._tries: list[_Try] = []
        self._resolved = False
        self._last: tuple[str, str] = ("dns", "the name has no address")
        self._clock: IDelayedCall | None = None
        self._stagger: IDelayedCall | None = None

    def start(self) -> None:
        """Begin with the name, or with the address if it is one."""
        host = self._origin.host
        if self._clocks.connect:
            self._clock = self._reactor.callLater(self._clocks.connect, self._give_up, "connect-timeout")
        if self._origin.secure:
            try:
                self._tls.factory(host)
            except ValueError as error:
                self._give_up("tls", str(error))
                return
        if isIPAddress(host) or isIPv6Address(host) or not IReactorPluggableNameResolver.providedBy(self._reactor):
            self._resolved = True
            self._addresses.append(host)
            self._try_next()
        else:
            self._reactor.nameResolver.resolveHostName(self, host, self._origin.port)

    def cancel(self) -> None:
        """Stop; nobody is called."""
        self._done = self._failed = None
        self._stop_clocks()
        tries, self._tries = self._tries, []
        for each in tries:
            each.give_up()

    # the resolver

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """Twisted's resolution cannot be cancelled, so it is not kept."""

    def addressResolved(self, address: IAddress) -> None:
        self._addresses.append(cast(Any, address).host)
        if not self._tries:
            self._try_next()

    def resolutionComplete(self) -> None:
        self._resolved = True
        if not self._tries:
            self._try_next()

    # the addresses

    def _try_next(self) -> None:
        if self._failed is None:
            return
        if not self._addresses:
            if self._resolved and not self._tries:
                self._give_up(*self._last)
            return
        address = self._addresses.pop(0)
        attempt = _Try(self)
        self._tries.append(attempt)
        if isinstance(self._reactor, PosixReactorBase):
            transport = Client(address, self._origin.port, None, attempt, self._reactor)
            attempt.stop = transport.stopConnecting
        else:
            self._reactor.connectTCP(address, self._origin.port, attempt, timeout=self._clocks.connect or 86400)
        if self._addresses or not self._resolved:
            self._stagger = self._reactor.callLater(STAGGER, self._stagger_over)

    def _stagger_over(self) -> None:
        self._stagger = None
        if not any(attempt.connection for attempt in self._tries):
            self._try_next()

    def build(self, attempt: _Try) -> IProtocol:
        """TCP is up: from here on the handshake has the time."""
        attempt.connection = connection = ClientConnection(self._owner, self._origin, self)
        if not self._origin.secure:
            return connection
        self._stop_clocks()
        if self._clocks.tls:
            self._clock = self._reactor.callLater(self._clocks.tls, self._give_up, "tls-timeout")
        return TLSMemoryBIOProtocol(self._tls.factory(self._origin.host), connection)

    def established(self, connection: ClientConnection) -> None:
        done = self._done
        if done is None:
            connection.abandon()
            return
        for attempt in self._tries:
            if attempt.connection is connection:
                attempt.connecting = attempt.connection = attempt.stop = None
        self.cancel()
        done(connection)

    def broken(self, connection: ClientConnection, reason: Failure) -> None:
        for attempt in self._tries:
            if attempt.connection is connection:
                attempt.connecting = attempt.connection = attempt.stop = None
                self._last = ("tls", describe(reason))
                self._next_after(attempt)
                return

    def failed(self, attempt: _Try, reason: Failure) -> None:
        """One address did not answer or refused."""
        attempt.stop = None
        kind = "connect-timeout" if reason.check(ConnectTimeout) else "connect"
        self._last = (kind, type(reason.value).__name__)
        self._next_after(attempt)

    def _next_after(self, attempt: _Try) -> None:
        if attempt in self._tries:
            self._tries.remove(attempt)
            if self._stagger is not None:
                self._stagger.cancel()
                self._stagger = None
            self._try_next()

    def _give_up(self, kind: str, detail: str = "") -> None:
        failed = self._failed
        self.cancel()
        if failed is not None:
            failed(kind, detail)

    def _stop_clocks(self) -> None:
        for clock in (self._clock, self._stagger):
            if clock is not None and clock.active():
                clock.cancel()
        self._clock = self._stagger = None
