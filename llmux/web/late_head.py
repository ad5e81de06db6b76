"""An answer whose head waits for its transform: lengths and labels are known only when the body was looked at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.logger import Logger

from llmux.errors import HTTPProblem
from llmux.headers import RawHeaders
from llmux.wire.request import Request, Source


class Transform(Protocol):
    """What a body goes through; the head may leave once `settled` is true, with `headers`.

    `overflowed` says that the body was above its limit and went through as it came.
    """

    headers: RawHeaders
    settled: bool
    overflowed: bool

    def feed(self, data: bytes) -> bytes: ...

    def close(self) -> bytes: ...


class LateHead:
    """Stands for the client's request in a relay, and sends the head just before the first byte of the body."""

    log = Logger()

    def __init__(
        self,
        request: Request,
        status: int,
        reason: bytes,
        transform: Transform,
        head: Callable[[RawHeaders], RawHeaders],
        broken: Callable[[], HTTPProblem],
    ) -> None:
        self._request = request
        self._status = status
        self._reason = reason
        self._transform = transform
        self._head = head
        self._broken = broken

    @property
    def gone(self) -> bool:
        """Whether the client has left."""
        return self._request.gone

    def settle(self) -> None:
        """Send the head if it is known by now and has not been sent."""
        if self._transform.settled and not self._request.status and not self._request.ended:
            self._request.start(self._status, self._head(self._transform.headers), self._reason or None)

    def write(self, data: bytes) -> None:
        """Send a piece of the body, after the head."""
        if data:
            self.settle()
            self._request.write(data)

    def finish(self, trailers: RawHeaders | tuple[()] = ()) -> None:
        """End the answer; an empty one still has its head to send."""
        self.settle()
        self._request.finish(trailers)
        if self._transform.overflowed:
            path = self._request.path.decode("latin-1")
            self.log.warn("{path}: an answer above limits.response went through unchanged", path=path)

    def break_off(self) -> None:
        """Cut the answer, or say that there is none while nothing has been sent."""
        if self._request.status or self._request.ended:
            self._request.break_off()
            return
        problem = self._broken()
        self._request.respond(problem.status, problem.headers, problem.body)

    def when_gone(self, callback: Callable[[], None]) -> None:
        """Call back when the client leaves before the end."""
        self._request.when_gone(callback)

    def flow(self, source: Source | None) -> None:
        """Name who is paused while the client's transport is full."""
        self._request.flow(source)
