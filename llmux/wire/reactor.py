"""Twisted's epoll reactor with a short way for our own transports: an event of a stream is one read and one send.

Twisted looks every descriptor over, and sets up a logging context, before it lets one read. A `SendNow` transport needs
neither: it answers for its own state, and our log records name their source themselves.
"""

from __future__ import annotations

import sys
from select import EPOLLIN

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import CONNECTION_LOST, installReactor
from twisted.logger import Logger
from twisted.python.log import callWithLogger

from llmux.wire.sending import SendNow

MOST_AT_ONCE = 512  # events taken from the kernel in one go; what is left is there in the next


class StreamReactor(EPollReactor):
    """Lets a `SendNow` transport that can be read, and nothing else, read at once."""

    log = Logger()

    def doPoll(self, timeout: float | None) -> None:
        """Wait for events, at most `timeout` seconds or for ever, and handle them."""
        selectables = self._selectables
        try:
            events = self._poller.poll(-1 if timeout is None else timeout, min(len(selectables), MOST_AT_ONCE) or 1)
        except InterruptedError:
            return
        for descriptor, event in events:
            selectable = selectables.get(descriptor)
            if event == EPOLLIN and isinstance(selectable, SendNow):
                try:
                    why = selectable.doRead()
                except Exception:
                    self.log.failure("while reading from a connection")
                    why = CONNECTION_LOST
                if why:
                    self._disconnectSelectable(selectable, why, True)
            elif selectable is not None:  # None was closed by an event before this one
                callWithLogger(selectable, self._doReadOrWrite, selectable, descriptor, event)

    doIteration = doPoll


def install() -> None:
    """Make this the process's reactor, unless another was chosen before (`twistd --reactor`)."""
    if "twisted.internet.reactor" not in sys.modules:
        installReactor(StreamReactor())
