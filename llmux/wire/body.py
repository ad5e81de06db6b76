"""The body of a request as it arrives: piped on with backpressure, or held in one buffer within a budget."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed

from llmux.headers import RawHeaders


class BodyTooLarge(Exception):
    """The body is longer than the caller's limit."""


class BodyLost(Exception):
    """The client left, fell silent or broke the framing before the body was complete."""


class BodySink(Protocol):
    """Who receives a piped body: `data` any number of times, then either `end` or `lost`."""

    def data(self, data: bytes) -> None: ...

    def end(self, trailers: RawHeaders) -> None: ...

    def lost(self) -> None: ...


class BodySource(Protocol):
    """What a body needs from its connection."""

    def want_body(self) -> None:
        """Somebody reads now: ask the client to go on if it waits for that."""

    def hold_body(self, hold: bool) -> None:
        """Read nothing from the client's socket while `hold` is true."""


class BodyBudget:
    """Bytes of all held bodies together, and whose socket waits while they are too many.

    Bodies that are whole give their bytes back when their requests end. If there is none of those, waiting would
    never end, and then one body, the leader, may go beyond the total: by at most its own limit.
    """

    __slots__ = ("_leader", "_waiting", "_whole", "held", "total")

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0
        self._whole = 0
        self._waiting: dict[RequestBody, None] = {}
        self._leader: RequestBody | None = None

    def resize(self, total: int) -> None:
        """Replace the total; those who wait go on if it is enough now."""
        self.total = total
        self._resume()

    def take(self, body: RequestBody, size: int) -> bool:
        """Account `size` bytes of an incomplete body; False means: read no more until it is resumed."""
        self.held += size
        if self.held <= self.total or body is self._leader:
            return True
        if not self._whole and self._leader is None:
            self._leader = body
            return True
        self._waiting[body] = None
        return False

    def whole(self, body: RequestBody, size: int) -> None:
        """The body is complete; its `size` bytes come back with `give_back`."""
        self._whole += size
        self._forget(body)

    def give_back(self, body: RequestBody, size: int, whole: bool) -> None:
        """Return a body's bytes and resume those who waited for them."""
        self.held -= size
        if whole:
            self._whole -= size
        self._forget(body)

    def _forget(self, body: RequestBody) -> None:
        if body is self._leader:
            self._leader = None
        if self._waiting:
            self._waiting.pop(body, None)
            self._resume()

    def _resume(self) -> None:
        while self._waiting and self.held < self.total:
            self._resume_first()
        if self._waiting and not self._whole and self._leader is None:
            self._leader = self._resume_first()

    def _resume_first(self) -> RequestBody:
        body = next(iter(self._waiting))
        del self._waiting[body]
        body.within_budget()
        return body


class RequestBody:
    """One request's body. `length` is None for a chunked one; `received` counts bytes of content.

    Either `pipe` or `collect` may be called, once. `feed` to `within_budget` are for the channel and the budget.
    """

    __slots__ = (
        "_budget",
        "_buffer",
        "_collected",
        "_held",
        "_limit",
        "_over_budget",
        "_paused",
        "_sink",
        "_source",
        "complete",
        "length",
        "lost",
        "received",
        "trailers",
    )
    UNCLAIMED = 65536  # bytes that arrive before anybody asked for them

    def __init__(self, source: BodySource, length: int | None, budget: BodyBudget) -> None:
        self.length = length
        self.received = 0
        self.complete = length == 0
        self.lost = False
        self.trailers: RawHeaders = []
        self._source = source
        self._budget: BodyBudget = budget
        self._held: list[bytes] = []
        self._sink: BodySink | None = None
        self._buffer: bytearray | None = None
        self._collected: Deferred[bytearray] | None = None
        self._limit = 0
        self._paused = False
        self._over_budget = False

    def pipe(self, sink: BodySink) -> None:
        """Hand every piece to `sink` as it arrives; what is here already is delivered before this returns."""
        self._claim()
        self._sink = sink
        held, self._held = self._held, []
        for piece in held:
            sink.data(piece)
        if self.complete:
            sink.end(self.trailers)
        elif self.lost:
            sink.lost()
        else:
            self._source.want_body()
            self._hold()

    def collect(self, limit: int) -> Deferred[bytearray]:
        """Hold the body in one growing buffer, which has at most an eighth to spare, until `release`.

        Fails with BodyTooLarge beyond `limit` bytes, at once if the length says so, and with BodyLost.
        """
        self._claim()
        if (self.length or self.received) > limit:
            self._limit = -1
            return fail(BodyTooLarge())
        if self.lost:
            return fail(BodyLost())
        held, self._held = self._held, []
        self._buffer = buffer = bytearray(held[0] if len(held) == 1 else b"".join(held))
        if self.complete:
            self._budget.held += len(buffer)
            self._budget.whole(self, len(buffer))
            return succeed(buffer)
        self._limit = limit
        self._collected = Deferred()
        self._over_budget = not self._budget.take(self, len(buffer))
        self._source.want_body()
        self._hold()
        return self._collected

    def pause(self) -> None:
        """Stop reading from the client; a piece that was read already still comes."""
        if not self._paused and not self.complete:
            self._paused = True
            self._hold()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self._paused:
            self._paused = False
            self._hold()

    def release(self) -> None:
        """Drop the buffer and give its bytes back to the budget; calling again does nothing."""
        self._held = []
        if self._buffer is None:
            return
        if self._collected is not None:
            self._give_up(BodyLost(), 0)
        else:
            self._buffer = None
            self._budget.give_back(self, self.received, self.complete)

    def _claim(self) -> None:
        if self._sink is not None or self._buffer is not None or self._limit:
            raise RuntimeError("the body was asked for before")

    def _hold(self) -> None:
        unclaimed = self._sink is None and self._buffer is None
        self._source.hold_body(self._paused or self._over_budget or (unclaimed and self.received >= self.UNCLAIMED))

    def feed(self, data: bytes) -> None:
        """Take a piece of content."""
        self.received += len(data)
        sink, buffer = self._sink, self._buffer
        if sink is not None:
            sink.data(data)
        elif buffer is not None:
            if self.received > self._limit:
                self._give_up(BodyTooLarge(), len(data))
                return
            buffer += data
            if not self._budget.take(self, len(data)) and not self._over_budget:
                self._over_budget = True
                self._hold()
        elif not self._limit:
            self._held.append(data)
            if self.received >= self.UNCLAIMED:
                self._hold()

    def finish(self, trailers: RawHeaders) -> None:
        """Take the end of the body."""
        self.complete = True
        self._paused = self._over_budget = False
        self.trailers = trailers
        if self._sink is not None:
            self._sink.end(trailers)
        elif self._buffer is not None:
            self._budget.whole(self, self.received)
            collected, self._collected = self._collected, None
            if collected is not None:
                collected.callback(self._buffer)

    def lose(self) -> None:
        """Take notice that the rest will never come."""
        if self.complete or self.lost:
            return
        self.lost = True
        if self._sink is not None:
            self._sink.lost()
        elif self._collected is not None:
            self._give_up(BodyLost(), 0)

    def within_budget(self) -> None:
        """Go on after the budget had been exceeded."""
        self._over_budget = False
        self._hold()

    def _give_up(self, reason: Exception, not_taken: int) -> None:
        collected, self._collected = self._collected, None
        self._buffer = None
        self._limit = -1
        self._budget.give_back(self, self.received - not_taken, False)
        self._over_budget = False
        if collected is not None:
            collected.errback(reason)


class NoBody(RequestBody):
    """The body of a request that has none; one object serves all of them."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(_NoSource(), 0, BodyBudget(0))

    def pipe(self, sink: BodySink) -> None:
        sink.end([])

    def collect(self, limit: int) -> Deferred[bytearray]:
        return succeed(bytearray())


class _NoSource:
    def want_body(self) -> None:
        """There is nobody to ask."""

    def hold_body(self, hold: bool) -> None:
        """There is nothing to hold."""


NO_BODY = NoBody()
