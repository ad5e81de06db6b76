"""Request bodies on their way to an upstream, at the pace the upstream takes them."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from llmux.headers import RawHeaders
from llmux.wire.exchange import Exchange
from llmux.wire.outgoing import BodySource
from llmux.wire.sending import SendNow

SLICE = 262144  # bytes offered to the transport at once, and in the turn that begins
PER_TURN = 4 * SLICE  # bytes offered before others get their turn: the kernel takes megabytes, and that takes long


class UploadTransport(Protocol):
    """The part of a transport that an upload needs."""

    def write(self, data: bytes) -> None: ...

    def registerProducer(self, producer: object, streaming: bool) -> None: ...

    def unregisterProducer(self) -> None: ...


class UploadOwner(Protocol):
    """The connection that hears how an upload ended."""

    def upload_complete(self) -> None: ...

    def upload_lost(self) -> None: ...


@implementer(IPushProducer)
class HeldUpload:
    """Sends a body that is in memory, slice by slice, without a second copy of it.

    While it runs the buffer is exported: a bytearray can be dropped then, but not resized.
    """

    __slots__ = ("_exchange", "_offset", "_owner", "_raw", "_transport", "_view", "blocked", "done")

    def __init__(self, owner: UploadOwner, transport: UploadTransport, body: bytes | bytearray, exchange: Exchange):
        self._owner = owner
        self._transport = transport
        self._view: memoryview | None = memoryview(body)
        self._raw = isinstance(transport, SendNow)  # takes any buffer; other transports want bytes
        self._offset = 0
        self._exchange = exchange
        self.blocked = False
        self.done = False

    def start(self) -> None:
        """Send a first piece, and the rest when the transport takes it."""
        self._transport.registerProducer(self, True)
        self._send(SLICE)

    def stop(self) -> None:
        """Send no more."""
        self.blocked = True
        self._view = None

    def resumeProducing(self) -> None:
        self._send(PER_TURN)

    def _send(self, most: int) -> None:
        self.blocked = False
        end = self._offset + most
        while not self.blocked and self._view is not None:
            offset = self._offset
            if offset >= end and isinstance(self._transport, SendNow):
                self._transport.resume_later()
                return
            piece = self._view[offset : offset + SLICE]
            self._offset = offset + len(piece)
            self._exchange.stirred = True
            self._transport.write(piece if self._raw else bytes(piece))  # type: ignore[arg-type]  # SendNow takes views
            if self._view is not None and self._offset == len(self._view):
                self._view = None
                self.done = True
                self._transport.unregisterProducer()
                self._owner.upload_complete()

    def pauseProducing(self) -> None:
        self.blocked = True

    def stopProducing(self) -> None:
        self.stop()


@implementer(IPushProducer)
class PipedUpload:
    """Passes a body on as it arrives; a full transport pauses its source, and so the client."""

    __slots__ = ("_body", "_chunked", "_exchange", "_owner", "_stopped", "_transport", "blocked", "done")

    def __init__(self, owner: UploadOwner, transport: UploadTransport, body: BodySource, exchange: Exchange):
        self._owner = owner
        self._transport = transport
        self._body = body
        self._chunked = body.length is None
        self._exchange = exchange
        self._stopped = False
        self.blocked = False
        self.done = False

    def start(self) -> None:
        """Ask the body for its bytes."""
        self._transport.registerProducer(self, True)
        self._body.pipe(self)

    def stop(self) -> None:
        """Send no more; the source may run on, its bytes are dropped."""
        self._stopped = True
        if self.blocked:
            self.blocked = False
            self._body.resume()

    def data(self, data: bytes) -> None:
        if self._stopped or not data:
            return
        self._exchange.stirred = True
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self, trailers: RawHeaders) -> None:
        """Complete the body. Its trailers stay here: they could only be taken for fields of the request."""
        if self._stopped:
            return
        self.done = True
        if self._chunked:
            self._transport.write(b"0\r\n\r\n")
        self._transport.unregisterProducer()
        self._owner.upload_complete()

    def lost(self) -> None:
        if not self._stopped:
            self._owner.upload_lost()

    def pauseProducing(self) -> None:
        self.blocked = True
        self._body.pause()

    def resumeProducing(self) -> None:
        self.blocked = False
        self._exchange.stirred = True
        self._body.resume()

    def stopProducing(self) -> None:
        self.stop()
