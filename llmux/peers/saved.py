"""An error answer that was read before another candidate is asked, in case that nothing better comes."""

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
    """A request under way: the wire's own, the demo's, or an error that was read before."""

    @property
    def head(self) -> Deferred[ResponseHead]: ...

    def relay(self, receiver: Receiver) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def abort(self) -> None: ...


class SavedExchange:
    """An error answer whose body was read, up to a bound in bytes and time, so that it can be given later."""

    def __init__(self, exchange: Exchange, clock: IReactorTime) -> None:
        self.head = exchange.head
        self._exchange = exchange
        self._pieces: list[bytes] = []
        self._size = 0
        self._complete = False
        self._done: Deferred[None] = Deferred()
        self._timer = clock.callLater(ERROR_SECONDS, self._stop)

    async def read(self) -> bytes:
        """Wait for the body's end or bound, and give what came."""
        self._exchange.relay(self)
        try:
            await self._done
        except CancelledError:
            self._stop()
            raise
        return b"".join(self._pieces)

    def data(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > ERROR_BODY:
            self._stop()

    def end(self, trailers: RawHeaders) -> None:
        """Take the end of the body."""
        self._complete = True
        self._settle()

    def failed(self, failure: UpstreamFailure) -> None:
        """Take notice that the body broke off."""
        self._settle()

    def _stop(self) -> None:
        self._exchange.abort()
        self._settle()

    def _settle(self) -> None:
        if self._timer.active():
            self._timer.cancel()
        if not self._done.called:
            self._done.callback(None)

    def relay(self, receiver: Receiver) -> None:
        """Give the body to the client after all; an incomplete one fails at its end."""
        for piece in self._pieces:
            receiver.data(piece)
        if self._complete:
            receiver.end([])
        else:
            receiver.failed(UpstreamFailure("cut", "an error body that was not read to its end", answered=True))

    def pause(self) -> None:
        """There is nothing that could wait."""

    def resume(self) -> None:
        """There is nothing that waited."""

    def abort(self) -> None:
        """There is nothing to abort."""
