"""Holds the beginning of an answer back until it is known not to be an error in disguise (DESIGN D-42).

Some providers say 200 and then send an error: as the first event of a stream, or as the body. So the first event, or
the first bytes of a body, are looked at before the client is told anything.
"""

from __future__ import annotations

import re
from functools import partial

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from llmux.headers import RawHeaders
from llmux.peers.disguise import Disguised, disguised
from llmux.peers.saved import Exchange, HeldExchange
from llmux.rewrite.spans import BOM
from llmux.rewrite.sse import EventReader
from llmux.wire.outgoing import UpstreamFailure
from llmux.wire.sending import TURN

_ERROR_BODY = re.compile(rb'\s*\[?\s*\{\s*(?:"type"\s*:\s*"error"\s*,\s*)?"error"\s*:\s*[{"]')
_ERROR_EVENT = re.compile(rb'\s*\{\s*(?:"type"\s*:\s*"(?:error|response\.failed)"|"error"\s*:\s*[{"])')
_ERROR_NAMES = frozenset((b"error", b"response.failed"))
_FIELDS = (b":", b"data:", b"event:", b"id:", b"retry:")
_LONGEST_FIELD = len(BOM) + len(b"event:")
BODY_PREFIX = 64
_STEP = 1024


class Opening(HeldExchange):
    """An exchange whose beginning was looked at; after that it is relayed like any other.

    `verdict` fires with None for an answer worth having or with Disguised, and fails with UpstreamFailure when the
    answer breaks off before there is either. At most `seconds` and `most` bytes are waited for.
    """

    __slots__ = ("_begun", "_most", "_open", "_reader", "_timer", "verdict")

    def __init__(self, exchange: Exchange, stream: bool, clock: IReactorTime, seconds: float, most: int) -> None:
        super().__init__(exchange)
        self.verdict: Deferred[Disguised | None] = Deferred(lambda _: self.abort())
        self._reader = EventReader() if stream else None
        self._most = most
        self._open = True
        self._begun = False  # somebody can wait for the verdict
        self._timer: IDelayedCall | None = None
        exchange.relay(self)
        self._begun = True
        if self._over:
            return
        if TURN.active:  # mostly what brought the head brings the verdict as well
            TURN.calls.append(partial(self._wait, clock, seconds))
        else:
            self._wait(clock, seconds)

    def data(self, data: bytes) -> None:
        """Take a piece of the answer."""
        self._pieces.append(data)
        self._size += len(data)
        if not self._open:
            return
        found = self._look(data)
        if found is not None:
            self._settle(found)
        elif self._size >= self._most:
            self._settle(None)

    def _look(self, data: bytes) -> Disguised | None:
        """What the answer turns out to be; settles at once when it is a good one."""
        if self._reader is None:
            prefix = b"".join(self._pieces)
            if _ERROR_BODY.match(prefix):
                return disguised(prefix)
            if len(prefix) >= BODY_PREFIX:
                self._settle(None)
            return None
        if self._size - len(data) < _LONGEST_FIELD and not _may_be_events(b"".join(self._pieces)[:_STEP]):
            self._settle(None)  # nobody can tell: it goes on as it is, and no byte of it waits
            return None
        for start in range(0, len(data), _STEP):  # the events behind the first one need not be read
            for event in self._reader.feed(data[start : start + _STEP]):
                if event.data is None:
                    continue
                if event.name in _ERROR_NAMES or _ERROR_EVENT.match(event.data):
                    return disguised(event.data)
                if event.name != b"ping":
                    self._settle(None)
                    return None
        return None

    def end(self, trailers: RawHeaders) -> None:
        """Take the end of the answer."""
        self._end = trailers
        if self._open and self._reader is not None:
            self._close()
            self.verdict.errback(UpstreamFailure("cut", "a stream without an event", answered=True))
        else:
            self._settle(None)

    def failed(self, failure: UpstreamFailure) -> None:
        """Take notice that the answer broke off."""
        self._failure = failure
        if self._open:
            self._close()
            self.verdict.errback(failure)
        else:
            self._settle(None)

    def _wait(self, clock: IReactorTime, seconds: float) -> None:
        if self._open:
            self._timer = clock.callLater(seconds, self._settle, None)
        elif not self._relayed and not self._over:
            self._exchange.pause()

    def _settle(self, found: Disguised | None) -> None:
        self._close()
        if not self.verdict.called:
            self.verdict.callback(found)
            # Mostly whoever waits for the verdict has the answer relayed at once.
            if self._begun and found is None and not self._relayed and not self._over:
                self._exchange.pause()

    def _close(self) -> None:
        """Look no further."""
        self._open = False
        self._reader = None
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def abort(self) -> None:
        """Give the answer up."""
        self._close()
        self._relayed = False
        self._exchange.abort()
        if not self.verdict.called:
            self.verdict.errback(CancelledError())


def _may_be_events(beginning: bytes) -> bool:
    """Whether a stream that begins so can be an event stream as services write them."""
    text = beginning.removeprefix(BOM).lstrip(b"\r\n")
    return BOM.startswith(text) or text.startswith(_FIELDS) or any(field.startswith(text) for field in _FIELDS)
