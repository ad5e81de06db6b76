"""An accepted connection below HTTP: when the client may be read, what it takes, and how the connection ends."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import ISSLTransport, ITransport
from twisted.logger import Logger

from llmux.wire.sending import TURN, SendNow

if TYPE_CHECKING:
    from llmux.wire.server import HTTPServer

# Where the connection stands. Integers, because IDLE and HEAD are compared for every piece received.
IDLE, HEAD, BUSY, LINGER, CLOSING, TUNNEL, LOST = range(7)

# Why nothing is read from the client.
BODY, PIPELINE = 1, 2

NEVER = float("inf")
_CUT_DELAY = 0.1  # seconds a transport without a visible queue gets to send what precedes a reset


class Link:
    """The transport's side of a `ServerChannel`."""

    __slots__ = (
        "_buffer",
        "_due",
        "_holds",
        "_phase",
        "_reset",
        "_stalled",
        "_taken",
        "_written",
        "deadline",
        "factory",
        "full",
        "peer",
        "transport",
    )
    log = Logger()
    transport: Any  # no interface of Twisted has all that TCP, TLS and Unix transports share

    def __init__(self, factory: HTTPServer, peer: str) -> None:
        self.factory = factory
        self.peer = peer
        self.full = False  # the transport wants no more
        self.deadline = NEVER  # when `expire` wants to be called
        self._phase = IDLE
        self._buffer = b""  # received and not understood yet
        self._holds = 0
        self._due = 0.0  # when the next piece of the body must have come
        self._reset = False  # the connection ends by RST
        self._written = 0
        self._taken = 0  # of what was written, known to have been taken by the client
        self._stalled = 0.0  # when the client must have taken something, 0 while it need not

    def makeConnection(self, transport: ITransport) -> None:
        self.transport = transport
        self.connectionMade()

    def connectionMade(self) -> None:
        with suppress(AttributeError):  # a Unix socket, or a transport in memory
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.deadline = self.factory.now + self.factory.settings.keep_alive

    def is_secure(self) -> bool:
        """True when the client speaks TLS to us."""
        return bool(ISSLTransport.providedBy(self.transport))

    def send(self, data: bytes) -> None:
        """Write to the client."""
        self._written += len(data)
        self.transport.write(data)

    def at_end_of_turn(self, call: Callable[[], None]) -> None:
        """Call when what is being received has been handled, see `Turn.at_end`."""
        TURN.at_end(self.factory.clock, call)

    def stopProducing(self) -> None:
        """The transport is lost; `connectionLost` follows."""

    def writeConnectionLost(self) -> None:
        """Our FIN is out."""

    def _hold(self, reason: int, hold: bool) -> None:
        """Read from the client only while there is no reason not to."""
        before = self._holds
        self._holds = holds = before | reason if hold else before & ~reason
        if holds and not before:
            self.transport.pauseProducing()
            if self._phase == BUSY:
                self.deadline = self.factory.now  # to look every tick whether the client left: nobody else notices
        elif before and not holds:
            self._due = self.factory.after(self.factory.settings.body_idle_timeout)
            self.transport.resumeProducing()

    def _linger(self) -> None:
        """End after what was written, swallowing what the client still sends: a RST could overtake the answer."""
        self._phase = LINGER
        self._buffer = b""
        self.deadline = self.factory.after(self.factory.settings.linger_timeout)
        self.transport.unregisterProducer()
        self.full = False
        if self._holds:
            self._holds = 0
            self.transport.resumeProducing()
        if isinstance(self.transport, SendNow):
            self.transport.loseWriteConnection()

    def _lose(self) -> None:
        """End after what was written."""
        phase = self._phase
        if phase != LOST:
            self._phase = CLOSING
            self.deadline = self.factory.now + self.factory.check_period
            self._buffer = b""
            if phase <= BUSY:
                self.transport.unregisterProducer()
            self.transport.loseConnection()

    def _reset_after_written(self) -> None:
        """End by RST, but let what was written leave before."""
        self._phase = CLOSING
        self.deadline = self.factory.now + self.factory.check_period
        transport = self.transport
        if not isinstance(transport, SendNow):
            self.factory.clock.callLater(_CUT_DELAY, self.abort)
            return
        transport.uncork()
        if not transport.queued():
            self.abort()
            return
        transport.unregisterProducer()
        transport.registerProducer(self, False)  # a pull producer is asked whenever the queue is empty
        self._reset = True

    def abort(self) -> None:
        """End the connection now, whatever is under way."""
        if self._phase != LOST:
            self._phase = CLOSING
            self.deadline = NEVER
            self.transport.abortConnection()

    def _takes_nothing(self, now: float) -> bool:
        """True when the client has taken no byte for the send timeout although bytes wait for it."""
        transport = self.transport
        if isinstance(transport, SendNow):
            if not transport.queued():
                self._stalled = 0.0
                return False
            taken = self._written - transport.unacknowledged()
            moved = taken > self._taken
            self._taken = taken
        else:
            moved = not self.full and self._phase == BUSY
        if moved or not self._stalled:
            self._stalled = now + self.factory.settings.send_timeout
            return False
        return now >= self._stalled

    def _client_left_unseen(self) -> bool:
        return isinstance(self.transport, SendNow) and self.transport.peer_closed()
