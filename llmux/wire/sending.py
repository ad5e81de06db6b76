"""Transports that send at once, and join what one received piece produced into one send.

Twisted queues every write for the next turn of the loop and registers for writing twice per event; a
`SendNow` transport offers the bytes to the socket first and leaves only the remainder to Twisted's queue.
While a transport delivers what it read (a turn), writes to every `SendNow` transport are held and leave
together when the delivery returns: nothing waits longer than the call that produced it.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.tcp import Connection
from twisted.logger import Logger

LARGE = 65536  # bytes that are worth a send of their own, and those of a read
_TCP_CLOSED = frozenset({7, 8})  # linux/tcp_states.h: CLOSE, CLOSE_WAIT


class Turn:
    """The delivery of one received piece: who holds writes, and what else waits for its end."""

    __slots__ = ("active", "calls", "corked")
    log = Logger()

    def __init__(self) -> None:
        self.active = False
        self.corked: list[SendNow] = []
        self.calls: list[Callable[[], None]] = []

    def end(self) -> None:
        """Run the waiting calls, then send what the transports hold."""
        while self.calls:
            calls, self.calls = self.calls, []
            for call in calls:
                try:
                    call()
                except Exception:
                    self.log.failure("in a call at the end of a turn")
        self.active = False
        corked, self.corked = self.corked, []
        for transport in corked:
            transport.uncork()

    def at_end(self, clock: IReactorTime, call: Callable[[], None]) -> None:
        """Call when the running delivery returns, or as soon as the reactor gets to it when none is running."""
        if self.active:
            self.calls.append(call)
        else:
            clock.callLater(0, call)


TURN = Turn()  # one reactor, one thread: one turn at a time


class SendNow(Connection):
    """A mixin before `tcp.Server` or `tcp.Client`: writes go out at once when nothing is queued.

    A pull producer and a connection under `startTLS` keep Twisted's own way of writing.
    """

    _corked = False
    bufferSize = LARGE
    longest_read = LARGE  # bytes, while more is waiting than a read takes; asked for in vain they are dear

    def doRead(self) -> Any:
        """Deliver what the socket has, as one turn."""
        size = self.bufferSize
        try:
            data = self.socket.recv(size)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        if len(data) == size:
            self.bufferSize = self.longest_read
        elif size > LARGE > len(data):
            self.bufferSize = LARGE
        turn = TURN
        turn.active = True
        try:
            self.protocol.dataReceived(data)
        finally:
            if turn.calls or turn.corked:
                turn.end()
            else:
                turn.active = False
        return None

    def write(self, data: bytes) -> None:
        """Send, hold until the turn ends, or queue behind what is queued; takes any bytes-like object."""
        if self.TLS or (self.producer is not None and not self.streamingProducer):
            super().write(bytes(data))
            return
        size = len(data)
        if not size or not self.connected or self._writeDisconnected or self._aborting:
            return
        if self._tempDataLen or self.dataBuffer:
            self._tempDataBuffer.append(data if type(data) is bytes else bytes(data))
            self._tempDataLen += size
            if not self._corked:
                self._maybePauseProducer()
            elif self._tempDataLen > LARGE:
                self.uncork()
        elif TURN.active and size < LARGE:
            self._tempDataBuffer.append(data if type(data) is bytes else bytes(data))
            self._tempDataLen = size
            self._corked = True
            TURN.corked.append(self)
        else:
            self._send(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def uncork(self) -> None:
        """Send what is held; without anything held this does nothing."""
        if not self._corked:
            return
        self._corked = False
        held = self._tempDataBuffer
        if not held:
            return
        self._tempDataBuffer = []
        self._tempDataLen = 0
        if self.connected and not self._aborting:
            self._send(held[0] if len(held) == 1 else b"".join(held))

    def _send(self, data: bytes) -> None:
        try:
            sent = self.socket.send(data)
        except OSError:  # full, or broken: then the queue meets the same error and reports it
            sent = 0
        if sent == len(data):
            return
        rest: Any = memoryview(data)[sent:]
        self._tempDataBuffer.append(rest if type(data) is bytes else bytes(rest))
        self._tempDataLen += len(rest)
        self._maybePauseProducer()
        self.startWriting()

    def resume_later(self) -> None:
        """Have the producer resumed in another turn, when the socket takes bytes."""
        self.producerPaused = True
        self.startWriting()

    def queued(self) -> int:
        """Bytes written that the kernel has not taken yet."""
        return len(self.dataBuffer) - self.offset + self._tempDataLen

    def unacknowledged(self) -> int:
        """Bytes written that the peer's kernel has not confirmed yet, the queued ones included."""
        if not self.connected:
            return 0
        try:
            waiting: int = struct.unpack("i", fcntl.ioctl(self.socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        except OSError:
            return self.queued()
        return waiting + self.queued()

    def peer_closed(self) -> bool:
        """True when the peer has sent FIN or RST, also while reading is paused and nobody would notice."""
        if not self.connected:
            return True
        try:
            return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _TCP_CLOSED
        except OSError:
            return False
