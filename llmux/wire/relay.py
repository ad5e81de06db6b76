"""An upstream's answer on its way to the client: transformed, at the client's pace, and never whole when it was cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from llmux.headers import RawHeaders
from llmux.wire.outgoing import Receiver, UpstreamFailure

NO_LAST_WORDS = "the stream ended without its format's last words"
# Fields that a recipient could mistake for its own framing, routing, authority or content (RFC 9110 6.5.1).
_NO_TRAILER = frozenset(
    b"authorization cache-control connection content-encoding content-length content-range content-type cookie host"
    b" keep-alive location max-forwards proxy-authenticate proxy-authorization proxy-connection set-cookie te trailer"
    b" transfer-encoding upgrade www-authenticate".split()
)


class Transform(Protocol):
    """Changes a body piece by piece."""

    def feed(self, data: bytes) -> bytes: ...

    def close(self) -> bytes: ...


class Source(Protocol):
    """Whom the client's transport pauses when it is full."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class RelayedRequest(Protocol):
    """The server's request, whose head is out already."""

    @property
    def gone(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def finish(self, trailers: RawHeaders = ...) -> None: ...

    def break_off(self) -> None: ...

    def when_gone(self, callback: Callable[[], None]) -> None: ...

    def flow(self, source: Source | None) -> None: ...


class RelayedExchange(Source, Protocol):
    """The exchange whose body is relayed."""

    def relay(self, receiver: Receiver) -> None: ...

    def abort(self) -> None: ...


class Outcome(NamedTuple):
    """How a relayed answer ended.

    `complete`: the client was given all of it. `client_gone`: the client left first, which is no fault of the upstream.
    `failure`: what the upstream, or a transform, did wrong. `bytes`: what was received from the upstream.
    """

    complete: bool
    client_gone: bool
    failure: UpstreamFailure | None
    bytes: int


class Relay:
    """Gives an exchange's body to a client whose answer has begun.

    The identity transform is None. `watch` sees every piece as it came from the upstream; if it raises, it sees no
    more, and the client notices nothing. `whole` is asked at the end of an answer whose framing cannot tell a cut from
    an end; if it says no, the client sees a cut (HOSTILE rule 5). `last_words` may return bytes to send before an
    answer is cut off (DESIGN D-49). A client that leaves aborts the upstream in the same turn. `done` fires once and
    does not fail.
    """

    __slots__ = ("_exchange", "_last_words", "_over", "_received", "_request", "_transform", "_watch", "_whole", "done")
    log = Logger()

    def __init__(
        self,
        exchange: RelayedExchange,
        request: RelayedRequest,
        transform: Transform | None = None,
        watch: Callable[[bytes], None] | None = None,
        last_words: Callable[[UpstreamFailure], bytes] | None = None,
        whole: Callable[[], bool] | None = None,
    ) -> None:
        self.done: Deferred[Outcome] = Deferred()
        self._exchange = exchange
        self._request = request
        self._transform = transform
        self._watch = watch
        self._last_words = last_words
        self._whole = whole
        self._received = 0
        self._over = False
        request.when_gone(self._client_gone)
        if not self._over:
            request.flow(exchange)
            exchange.relay(self)

    def data(self, data: bytes) -> None:
        """Take a piece from the upstream."""
        self._received += len(data)
        if self._watch is not None:
            try:
                self._watch(data)
            except Exception:
                self._watch = None
                self.log.failure("while watching an answer")
        if self._transform is not None:
            try:
                data = self._transform.feed(data)
            except Exception:
                self._transform_failed()
                return
        if data:
            self._request.write(data)

    def end(self, trailers: RawHeaders) -> None:
        """Take the end of the answer."""
        if self._whole is not None and not self._whole():
            self.failed(UpstreamFailure("cut", NO_LAST_WORDS, sent=True, answered=True))
            return
        if self._transform is not None:
            try:
                rest = self._transform.close()
            except Exception:
                self._transform_failed()
                return
            if rest:
                self._request.write(rest)
                if self._over:
                    return  # the write found the client gone, or the answer longer than announced
        if trailers:
            trailers = [field for field in trailers if field[0].lower() not in _NO_TRAILER]
        self._over = True
        self._request.flow(None)
        self._request.finish(trailers)
        short = self._request.gone  # fewer bytes than were announced: the request was cut instead of finished
        self._end(complete=not short, client_gone=short)

    def failed(self, failure: UpstreamFailure) -> None:
        """Cut the client's answer where the upstream's was cut (HOSTILE P1)."""
        if self._last_words is not None and not self._request.gone:
            try:
                words = self._last_words(failure)
            except Exception:
                self.log.failure("while finding the last words of a broken answer")
            else:
                if words:
                    self._request.write(words)
        if not self._over:
            self._break_off(failure)

    def _client_gone(self) -> None:
        if self._over:
            return
        self._over = True
        self._exchange.abort()
        self._end(client_gone=True)

    def _transform_failed(self) -> None:
        self.log.failure("while transforming an answer")
        self._exchange.abort()
        self._break_off(UpstreamFailure("protocol", "the answer could not be transformed", sent=True, answered=True))

    def _break_off(self, failure: UpstreamFailure) -> None:
        self._over = True
        gone = self._request.gone or failure.kind == "aborted"
        self._request.flow(None)
        self._request.break_off()
        self._end(client_gone=gone, failure=None if gone else failure)

    def _end(
        self, *, complete: bool = False, client_gone: bool = False, failure: UpstreamFailure | None = None
    ) -> None:
        self._transform = self._watch = self._last_words = self._whole = None
        self.done.callback(Outcome(complete, client_gone, failure, self._received))
