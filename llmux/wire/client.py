"""One connection to an upstream: HTTP/1.1 as a client, one exchange at a time."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IProtocol, ITransport
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from llmux.wire.chunked import ChunkedDecoder, FramingError
from llmux.wire.exchange import Exchange
from llmux.wire.origin import Origin
from llmux.wire.outgoing import Clocks, OutgoingRequest, Receiver, TunnelEnd, UpstreamFailure
from llmux.wire.response_head import INTERIM_HEADS, BadHead, ResponseHead, find_head, parse_head
from llmux.wire.sending import SendNow
from llmux.wire.tunnel import Unclaimed
from llmux.wire.upload import HeldUpload, PipedUpload

__all__ = ["ClientConnection", "Clocks", "Exchange", "OutgoingRequest", "Receiver", "ResponseHead", "UpstreamFailure"]

JOINED_BODY = 65536  # a body up to this size leaves in one write with its head

# What the next byte is. Plain integers: an enumeration's members cost a look-up per event.
_CONNECTING, _IDLE, _HEAD, _LENGTH, _CHUNKED, _UNTIL_CLOSE, _UPLOADING, _TUNNEL, _CLOSED = range(9)


class Opening(Protocol):
    """Who waits for a connection to come up."""

    def established(self, connection: ClientConnection) -> None:
        """TCP, and TLS if spoken, are up."""

    def broken(self, connection: ClientConnection, reason: Failure) -> None:
        """The peer left before that."""


class ConnectionOwner(Protocol):
    """What a connection needs from its pool."""

    def release(self, connection: ClientConnection) -> None:
        """The connection is free for another exchange."""

    def closed(self, connection: ClientConnection) -> None:
        """The connection will never carry another exchange. May be said twice."""

    def dismiss(self, exchange: Exchange) -> None: ...

    def renew(self, exchange: Exchange) -> None:
        """Send the exchange again, on a new connection."""


@implementer(IProtocol, IHalfCloseableProtocol, IHandshakeListener)
class ClientConnection:
    """The protocol of one upstream connection.

    It has at most one exchange, and is free again only if the answer was complete, persistent and exactly as long as
    it said, and the request was sent whole; otherwise it is closed (HOSTILE P4 and rule 9). Every byte that comes
    while no answer is due closes it.
    """

    factory = None

    __slots__ = (
        "_buffer",
        "_decoder",
        "_exchange",
        "_interims",
        "_left",
        "_mode",
        "_opening",
        "_owner",
        "_persistent",
        "_tunnel",
        "idle_since",
        "origin",
        "transport",
        "upload",
    )

    def __init__(self, owner: ConnectionOwner, origin: Origin, opening: Opening | None = None) -> None:
        self._owner = owner
        self._opening = opening
        self.origin = origin
        self.transport: Any = None
        self.upload: HeldUpload | PipedUpload | None = None
        self.idle_since = 0.0
        self._mode = _CONNECTING
        self._exchange: Exchange | None = None
        self._buffer: bytearray | None = None
        self._decoder: ChunkedDecoder | None = None
        self._left = 0
        self._interims = 0
        self._persistent = True
        self._tunnel: TunnelEnd | None = None

    # what the pool does

    def begin(self, exchange: Exchange) -> None:
        """Send the exchange's request and wait for its answer."""
        self._mode = _HEAD
        self._exchange = exchange
        self._interims = 0
        exchange.connection = self
        exchange.sent = True
        exchange.stirred = True
        head, body = exchange.head_bytes, exchange.body
        if body is None:
            self.upload = None
            self.transport.write(head)
        elif isinstance(body, (bytes, bytearray)):
            if len(body) <= JOINED_BODY:
                self.upload = None
                exchange.body = None
                self.transport.write(head + body)
                return
            self.upload = HeldUpload(self, self.transport, body, exchange)
            self.transport.write(head)
            self.upload.start()
        else:
            self.upload = PipedUpload(self, self.transport, body, exchange)
            self.transport.write(head)
            self.upload.start()

    def close(self) -> None:
        """Close an idle connection in good order; TLS says goodbye and does not wait for the answer."""
        self._shut(orderly=True)

    # what the exchange and the upload do

    def hold(self) -> None:
        self.transport.pauseProducing()

    def go_on(self) -> None:
        self.transport.resumeProducing()

    def abandon(self) -> None:
        self._shut(orderly=False)

    def take_over(self) -> tuple[ITransport, bytes]:
        """Return the transport of an upgraded connection and what came behind the 101."""
        if not isinstance(self._tunnel, Unclaimed):
            raise RuntimeError("the connection was not upgraded")
        return self.transport, self._tunnel.take()

    def set_tunnel(self, tunnel: TunnelEnd) -> None:
        """Deliver everything that happens from here on, and what happened since `take_over`, to `tunnel`."""
        unclaimed, self._tunnel = self._tunnel, tunnel
        if isinstance(unclaimed, Unclaimed):
            unclaimed.hand_to(tunnel)

    def upload_complete(self) -> None:
        """The whole request is with the transport."""
        exchange = self._exchange
        if exchange is not None:
            exchange.body = None
            exchange.stirred = True
            if self._mode == _UPLOADING:
                self._detach(exchange)
                self._free()

    def upload_lost(self) -> None:
        """The client will not send the rest of its body: the upstream must not take this for a whole request."""
        if self._exchange is not None:
            self._exchange.fail("aborted", "the request body ended too early")

    # what the transport reports

    def makeConnection(self, transport: Any) -> None:
        self.transport = transport
        set_no_delay = getattr(transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        if not isinstance(transport, TLSMemoryBIOProtocol):
            self._established()

    def connectionMade(self) -> None:
        """`makeConnection` did it."""

    def handshakeCompleted(self) -> None:
        self._established()

    def dataReceived(self, data: bytes) -> None:
        mode, exchange = self._mode, self._exchange
        if mode == _TUNNEL and self._tunnel is not None:
            self._tunnel.dataReceived(data)
        elif exchange is None or mode == _UPLOADING:
            # Nothing is due: an answer to no request, or more than the answer (HOSTILE P4).
            if exchange is not None:
                self._detach(exchange)
            self._shut(orderly=False)
        elif mode == _HEAD:
            self._head_data(exchange, data)
        else:
            exchange.stirred = True
            self._body_data(exchange, data)

    def readConnectionLost(self) -> None:
        """Take a FIN. Outside a tunnel, whoever closes his half gets the other half closed, too."""
        if self._mode == _TUNNEL and self._tunnel is not None:
            self._tunnel.readConnectionLost()
            return
        upload = self.upload
        self._ended(Failure(ConnectionDone()))
        if upload is None or upload.done:
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """Our own half-close took place; only tunnels do that, and they need no notice."""

    def connectionLost(self, reason: Failure) -> None:
        self._ended(reason)

    # the state machine

    def _established(self) -> None:
        self._mode = _IDLE
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.established(self)

    def _head_data(self, exchange: Exchange, data: bytes) -> None:
        exchange.answered = True
        searched = 0
        if self._buffer is None:
            received: bytes | bytearray = data
        else:
            received = self._buffer
            searched = len(received)
            received += data
        try:
            while True:
                end = find_head(received, searched)
                if end < 0:
                    self._buffer = bytearray(received) if received is not self._buffer else self._buffer
                    return
                head = parse_head(received[:end], exchange.method)
                received, searched = received[end:], 0
                if head.status >= 200 or head.status == 101:
                    break
                self._interims += 1
                if self._interims > INTERIM_HEADS:
                    raise BadHead("too many interim responses")
                exchange.got_interim(head)
                if self._exchange is not exchange:
                    return
            if head.status == 101 and not exchange.upgrade:
                raise BadHead("an upgrade that nobody asked for")
        except BadHead as error:
            exchange.fail("protocol", str(error))
            return
        self._buffer = None
        self._final_head(exchange, head, bytes(received))  # bytes stay what they are, without a copy

    def _final_head(self, exchange: Exchange, head: ResponseHead, rest: bytes) -> None:
        self._persistent = head.persistent
        if head.status == 101:
            self._mode = _TUNNEL
            self._tunnel = Unclaimed(self.transport, rest)
            self._owner.dismiss(exchange)
        elif not head.has_body or head.length == 0:
            self._left = 0
            self._mode = _LENGTH
        elif head.chunked:
            self._decoder = ChunkedDecoder()
            self._mode = _CHUNKED
        elif head.length is not None:
            self._left = head.length
            self._mode = _LENGTH
        else:
            self._mode = _UNTIL_CLOSE
        # Whoever waits for the head finds what came with it, often all of the answer, and waits no second time.
        if self._mode != _TUNNEL and (rest or (self._mode == _LENGTH and not self._left)):
            self._body_data(exchange, rest)
        exchange.got_head(head)

    def _body_data(self, exchange: Exchange, data: bytes) -> None:
        mode = self._mode
        if mode == _CHUNKED:
            decoder = self._decoder
            assert decoder is not None
            try:
                pieces, consumed = decoder.feed(data)
            except FramingError as error:
                exchange.fail("protocol", str(error))
                return
            if pieces:
                exchange.got_data(pieces[0] if len(pieces) == 1 else b"".join(pieces))
            if decoder.done and self._exchange is exchange:
                self._answer_complete(exchange, consumed < len(data), decoder)
        elif mode == _LENGTH:
            left = self._left - len(data)
            self._left = left
            if left > 0:
                exchange.got_data(data)
                return
            if left < 0:
                data = data[:left]
            if data:
                exchange.got_data(data)
            if self._exchange is exchange:
                self._answer_complete(exchange, left < 0, None)
        else:
            exchange.got_data(data)

    def _answer_complete(self, exchange: Exchange, excess: bool, decoder: ChunkedDecoder | None) -> None:
        self._decoder = None
        upload = self.upload
        if upload is not None and not upload.done and self._persistent and not excess:
            self._mode = _UPLOADING  # the upstream may want the rest; the connection is free when it has it
            if exchange.paused:
                exchange.paused = False
                self.transport.resumeProducing()
        else:
            paused = exchange.paused
            self._detach(exchange)
            if excess or not self._persistent:
                self._shut(orderly=not excess)
            else:
                if paused:
                    self.transport.resumeProducing()
                self._free()
        exchange.got_end(decoder.trailers if decoder is not None else [])

    def _free(self) -> None:
        self.upload = None
        self._mode = _IDLE
        self._owner.release(self)

    def _detach(self, exchange: Exchange) -> None:
        """Part from the exchange before anything else is done with this connection."""
        self._exchange = None
        exchange.connection = None
        exchange.over = True
        exchange.paused = False
        self._owner.dismiss(exchange)

    def _shut(self, *, orderly: bool) -> None:
        if self._mode == _CLOSED:
            return
        self._mode = _CLOSED
        self._exchange = self._opening = None
        upload, self.upload = self.upload, None
        if upload is not None:
            upload.stop()
        self._owner.closed(self)
        transport = self.transport
        if not orderly or upload is not None or isinstance(transport, TLSMemoryBIOProtocol):
            transport.abortConnection()  # over TLS this still sends the close alert, but waits for nothing
        elif isinstance(transport, SendNow) and transport.queued():
            transport.abortConnection()  # the peer has answered and does not read
        else:
            transport.loseConnection()

    def _ended(self, reason: Failure) -> None:
        """The peer sends no more, in good order or not: what does that mean for the exchange?"""
        mode, self._mode = self._mode, _CLOSED
        self._owner.closed(self)
        if self._tunnel is not None:
            self._tunnel.connectionLost(reason)  # also after an abort: the other side of the tunnel must hear of it
            return
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.broken(self, reason)
        upload, self.upload = self.upload, None
        if upload is not None:
            upload.stop()
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if mode == _UNTIL_CLOSE and reason.check(ConnectionDone):
            self._detach(exchange)
            exchange.got_end([])
            return
        exchange.connection = None
        if mode != _HEAD:
            exchange.fail("cut")
        elif exchange.replayable and not exchange.answered:
            self._owner.renew(exchange)
        else:
            exchange.fail("closed")
