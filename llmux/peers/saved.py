"""An error answer that is read before it is passed on: its text tells who is to blame, and another may do better."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from llmux.headers import RawHeaders
from llmux.wire.outgoing import Receiver, UpstreamFailure
from llmux.wire.response_head import ResponseHead

ERROR_BODY = 64 * 1024
ERROR_SECONDS = 2.0


class Exchange(Protocol):
    """A request under way: the wire's own, the demo's, or one whose beginning was read before."""

    @property
    def head(self) -> Deferred[ResponseHead]: ...

    def relay(self, receiver: Receiver) -> None: ...

    def redirect(self, receiver: Receiver) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self) -> None: ...


class HeldExchange:
    """An exchange whose beginning is kept until `relay` gives all of it to a receiver, once; the rest goes past here.

    Whoever derives from it takes the pieces and the end until then.
    """

    __slots__ = ("_end", "_exchange", "_failure", "_paused", "_pieces", "_relayed", "_size", "head")

    def __init__(self, exchange: Exchange) -> None:
        self.head: Deferred[ResponseHead] = exchange.head
        self._exchange = exchange
        self._pieces: list[bytes] = []
        self._size = 0
        self._end: RawHeaders | None = None
        self._failure: UpstreamFailure | None = None
        self._relayed = False
        self._paused = False

    @property
    def _over(self) -> bool:
        return self._end is not None or self._failure is not None

    def relay(self, receiver: Receiver) -> None:
        """Hand everything to `receiver`: what was held at once; an answer that broke off fails after it."""
        self._relayed = True
        pieces, self._pieces = self._pieces, []
        for piece in pieces:
            receiver.data(piece)
            if not self._relayed:
                return  # given up meanwhile
        if self._failure is not None:
            receiver.failed(self._failure)
        elif self._end is not None:
            receiver.end(self._end)
        else:
            self._exchange.redirect(receiver)
            if not self._paused:
                self._exchange.resume()

    def redirect(self, receiver: Receiver) -> None:
        """Give what is yet to come to another receiver; after `relay` only."""
        if not self._over:
            self._exchange.redirect(receiver)

    def pause(self) -> None:
        """Stop reading the answer."""
        self._paused = True
        if not self._over:
            self._exchange.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._paused = False
        if not self._over:
            self._exchange.resume()


class SavedExchange(HeldExchange):
    """An error answer whose body was read, up to a bound in bytes and time; `relay` gives all of it, once.

    What is longer, or comes later, waits on its connection until it is relayed. `give_up` closes that connection and
    keeps what was read.
    """

    __slots__ = ("_done", "_timer")

    def __init__(self, exchange: Exchange, clock: IReactorTime) -> None:
        super().__init__(exchange)
        self._done: Deferred[None] = Deferred()
        self._timer = clock.callLater(ERROR_SECONDS, self._wait)

    async def read(self) -> bytes:
        """Wait for the body's end or bound, and give what came."""
        self._exchange.relay(self)
        try:
            await self._done
        except CancelledError:
            self.abort()
            raise
        return b"".join(self._pieces)

    def data(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > ERROR_BODY and not self._done.called:
            self._wait()

    def end(self, trailers: RawHeaders) -> None:
        """Take the end of the body."""
        self._end = trailers
        self._settle()

    def failed(self, failure: UpstreamFailure) -> None:
        """Take notice that the body broke off."""
        self._failure = failure
        self._settle()

    def _wait(self) -> None:
        self._exchange.pause()
        self._settle()

    def _settle(self) -> None:
        if self._timer.active():
            self._timer.cancel()
        if not self._done.called:
            self._done.callback(None)

    def give_up(self) -> None:
        """Read no further: a body that is not complete by now ends where it is."""
        if not self._over:
            self._exchange.abort()
            self._failure = UpstreamFailure("cut", "an error body that was not read to its end", answered=True)

    def replace(self, body: bytes) -> None:
        """Let `relay` give this body instead; what comes from the provider is not read any further."""
        self._exchange.abort()
        self._pieces, self._end = [body], []
        self._settle()

    def abort(self) -> None:
        """Give the answer up."""
        if self._timer.active():
            self._timer.cancel()
        self._relayed = False
        if not self._over:
            self._exchange.abort()
            self._failure = UpstreamFailure("aborted", answered=True)
