"""The demo as a peer that answers over time: paced, pausable, abortable, with the face of a wire exchange."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from llmux.headers import RawHeaders
from llmux.peers.demo.answers import DemoAnswer, answer, malformed
from llmux.targets import split_target
from llmux.wire.outgoing import Receiver
from llmux.wire.response_head import ResponseHead

PACE = 0.02


class DemoExchange:
    """One answer on its way: `head` has fired, the body goes to the receiver given to `relay`, a piece each `pace`."""

    __slots__ = ("_call", "_clock", "_left", "_pace", "_receiver", "head", "over", "paused")

    def __init__(self, clock: IReactorTime, found: DemoAnswer, pace: float = PACE) -> None:
        length = len(found.chunks[0]) if len(found.chunks) == 1 else None
        headers: RawHeaders = list(found.headers)
        if length is not None:
            headers.append((b"Content-Length", b"%d" % length))
        self.head: Deferred[ResponseHead] = succeed(ResponseHead(found.status, b"", headers, length))
        self.over = False
        self.paused = False
        self._clock = clock
        self._pace = pace
        self._left = deque(found.chunks)
        self._receiver: Receiver | None = None
        self._call: IDelayedCall | None = None

    def relay(self, receiver: Receiver) -> None:
        """Send the body to `receiver`, its first piece at once. To be called once."""
        if self.over:
            return
        self._receiver = receiver
        if not self.paused:
            self._send()

    def redirect(self, receiver: Receiver) -> None:
        """Send what is left to another receiver."""
        self._receiver = receiver

    def pause(self) -> None:
        """Send nothing until `resume`."""
        self.paused = True
        self._stop()

    def resume(self) -> None:
        """Go on after `pause`."""
        if self.paused:
            self.paused = False
            self._schedule()

    def abort(self) -> None:
        """Give up: the receiver hears nothing more."""
        self.over = True
        self._receiver = None
        self._left.clear()
        self._stop()

    def _stop(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _schedule(self) -> None:
        if self._receiver is not None and self._call is None and not self.paused:
            self._call = self._clock.callLater(self._pace, self._send)

    def _send(self) -> None:
        self._call = None
        receiver = self._receiver
        if receiver is None:
            return
        receiver.data(self._left.popleft())
        if self.over:
            return
        if self._left:
            self._schedule()
            return
        receiver = self._receiver or receiver  # who may have named another
        self.abort()
        receiver.end([])


class Demo:
    """The demo provider; `clock` paces its streams, a piece each `pace` seconds."""

    def __init__(self, clock: IReactorTime, pace: float = PACE) -> None:
        self._clock = clock
        self._pace = pace

    def send(self, protocol: str, verb: str, model: str, body: bytes | bytearray, target: bytes = b"") -> DemoExchange:
        """Answer a request whose body is plain JSON; the query of `target` tells how Gemini streams are framed."""
        try:
            parsed: Any = msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            parsed = None
        if not isinstance(parsed, dict):
            return DemoExchange(self._clock, malformed(protocol), self._pace)
        sse = protocol != "gemini" or b"alt=sse" in split_target(target)[1].split(b"&")
        created = int(self._clock.seconds())
        return DemoExchange(self._clock, answer(protocol, verb, model, parsed, sse=sse, created=created), self._pace)
