"""One request to an upstream and its answer, as the handle that the caller holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITransport

from llmux.headers import RawHeaders
from llmux.wire.outgoing import OutgoingRequest, Receiver, TunnelEnd, UpstreamFailure
from llmux.wire.response_head import ResponseHead

HELD_BYTES = 65536  # of a body that nobody has asked for yet; then the upstream waits

_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Upload(Protocol):
    """A request body on its way out. `blocked` means that the upstream does not take more."""

    done: bool
    blocked: bool


class Carrier(Protocol):
    """What an exchange needs from its connection."""

    @property
    def upload(self) -> Upload | None: ...

    def hold(self) -> None:
        """Stop reading."""

    def go_on(self) -> None:
        """Read again."""

    def abandon(self) -> None:
        """Abort the connection in this turn and say nothing to the exchange."""

    def take_over(self) -> tuple[ITransport, bytes]: ...

    def set_tunnel(self, tunnel: TunnelEnd) -> None: ...


class Attempt(Protocol):
    """A connection in the making."""

    def cancel(self) -> None: ...


class Keeper(Protocol):
    """What an exchange needs from its pool."""

    def dismiss(self, exchange: Exchange) -> None:
        """Look at its clocks no more."""


class Exchange:
    """One request and its answer, as `Pool.send` returns it.

    `head` fires once, with the final answer's head or an UpstreamFailure; cancelling it is `abort()`. The body goes to
    the receiver given to `relay`; what comes earlier is held, and beyond 64 kB the upstream waits. The attributes
    without documentation belong to the pool and the connection.
    """

    __slots__ = (
        "_deadline",
        "_held",
        "_held_bytes",
        "_on_interim",
        "_outcome",
        "_pool",
        "_receiver",
        "_total_deadline",
        "answered",
        "attempt",
        "body",
        "clocks",
        "connection",
        "head",
        "head_bytes",
        "method",
        "origin",
        "over",
        "paused",
        "replayable",
        "sent",
        "stirred",
        "upgrade",
    )

    def __init__(
        self,
        pool: Keeper,
        request: OutgoingRequest,
        head_bytes: bytes,
        on_interim: Callable[[int, RawHeaders], None] | None,
    ) -> None:
        self.head: Deferred[ResponseHead] = Deferred(self._cancelled)
        self.origin = request.origin
        self.method = request.method
        self.body = request.body
        self.clocks = request.clocks
        self.upgrade = request.upgrade is not None
        self.head_bytes = head_bytes
        self.connection: Carrier | None = None
        self.attempt: Attempt | None = None
        self.sent = False
        self.answered = False
        self.over = False
        self.paused = False
        self.stirred = True
        self.replayable = request.body is None and request.method in _IDEMPOTENT
        self._pool = pool
        self._on_interim = on_interim
        self._receiver: Receiver | None = None
        self._held: list[bytes] | None = None
        self._held_bytes = 0
        self._outcome: RawHeaders | UpstreamFailure | None = None
        self._deadline = 0.0
        self._total_deadline = 0.0

    # what the caller does

    def relay(self, receiver: Receiver) -> None:
        """Hand the body to `receiver`: what is here already at once, the rest as it comes. To be called once."""
        self._receiver = receiver
        held, self._held = self._held, None
        waiting = self.paused and self._held_bytes > HELD_BYTES
        self._held_bytes = 0
        if waiting:
            self.paused = False  # a pause that the receiver asks for from here on is its own
        for piece in held or ():
            self._receiver.data(piece)
            if self._receiver is None:
                return
        outcome = self._outcome
        if outcome is not None:
            receiver, self._receiver = self._receiver, None
            if isinstance(outcome, UpstreamFailure):
                receiver.failed(outcome)
            else:
                receiver.end(outcome)
        elif waiting and not self.paused and self.connection is not None:
            self.connection.go_on()

    def redirect(self, receiver: Receiver) -> None:
        """After `relay`: hand what is yet to come to another receiver."""
        if self._receiver is not None:
            self._receiver = receiver

    def pause(self) -> None:
        """Stop reading the answer; what was read already still comes, and the idle clock stands still."""
        if not self.paused and self._outcome is None and self.connection is not None:
            self.paused = True
            self.connection.hold()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self.paused and self._held_bytes <= HELD_BYTES:
            self.paused = False
            if self.connection is not None:
                self.connection.go_on()

    def abort(self) -> None:
        """Give up: the connection is aborted in this turn, and nobody hears of this exchange again.

        A head that has not come fails with kind "aborted". After the end of the exchange this does nothing.
        """
        if self.over and self._receiver is None and not self._held:
            return
        self._close()
        self._outcome = None
        if not self.head.called:
            self.head.errback(self.failure("aborted"))
            self.head.addErrback(lambda _: None)  # whoever aborts need not also listen

    def take_over(self) -> tuple[ITransport, bytes]:
        """After the 101 that was asked for: return the transport and the bytes that followed the head."""
        if self.connection is None:
            raise RuntimeError("the upgraded connection is gone")
        return self.connection.take_over()

    def set_tunnel(self, tunnel: TunnelEnd) -> None:
        """Send the taken-over connection's events to `tunnel`."""
        if self.connection is None:
            raise RuntimeError("the upgraded connection is gone")
        self.connection.set_tunnel(tunnel)

    # what the connection reports

    def got_interim(self, head: ResponseHead) -> None:
        """An interim answer came: it restarts the wait for the head."""
        self.stirred = True
        if self._on_interim is not None and head.status != 100:
            self._on_interim(head.status, head.headers)

    def got_head(self, head: ResponseHead) -> None:
        """The final head came."""
        self.stirred = True
        self.head_bytes = b""
        self.replayable = False
        if not self.head.called:
            self.head.callback(head)

    def got_data(self, data: bytes) -> None:
        """A piece of the body came."""
        receiver = self._receiver
        if receiver is not None:
            receiver.data(data)
            return
        if self.over:
            return
        if self._held is None:
            self._held = [data]
        else:
            self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > HELD_BYTES:
            self.pause()

    def got_end(self, trailers: RawHeaders) -> None:
        """The body is complete."""
        self._outcome = trailers
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.end(trailers)

    def fail(self, kind: str, detail: str = "") -> None:
        """End the exchange, and its connection if it has one, with a failure."""
        if self.over:
            return
        failure = self.failure(kind, detail)
        answer_complete = self._outcome is not None
        receiver, held = self._receiver, self._held
        self._close()
        if answer_complete:
            self._held = held
            return
        self._outcome = failure
        if not self.head.called:
            self.head.errback(failure)
        elif receiver is not None:
            receiver.failed(failure)
        else:
            self._held = held

    def failure(self, kind: str, detail: str = "") -> UpstreamFailure:
        """Say what happened, with how far the exchange had come."""
        return UpstreamFailure(kind, detail, sent=self.sent, answered=self.answered)

    def check(self, now: float) -> None:
        """Look at the clocks; the pool calls this four times a second."""
        clocks = self.clocks
        if clocks.total:
            if not self._total_deadline:
                self._total_deadline = now + clocks.total
            elif now >= self._total_deadline:
                self.fail("total-timeout")
                return
        connection = self.connection
        if connection is None:
            return
        upload = connection.upload
        if self.stirred or self.paused or (upload is not None and not upload.done and not upload.blocked):
            self.stirred = False
            limit = clocks.idle if self.head.called else clocks.first_byte
            self._deadline = now + limit if limit else 0.0
        elif self._deadline and now >= self._deadline:
            self.fail("idle-timeout" if self.head.called else "first-byte-timeout")

    def _close(self) -> None:
        self.over = True
        self._receiver = None
        self._held = None
        self.body = None
        self._pool.dismiss(self)
        connection, self.connection = self.connection, None
        attempt, self.attempt = self.attempt, None
        if connection is not None:
            connection.abandon()
        if attempt is not None:
            attempt.cancel()

    def _cancelled(self, _: Deferred[ResponseHead]) -> None:
        self._close()  # Deferred.cancel fails the head with CancelledError itself
