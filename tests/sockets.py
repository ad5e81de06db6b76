"""A socket and a reactor in memory, for transports that send by themselves."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.tcp import Server

from llmux.wire.sending import SendNow


class Transport(SendNow, Server):
    """An accepted connection."""


class Socket:
    """A socket whose kernel takes `room` bytes."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.room = 1 << 30
        self.incoming: list[bytes] = []
        self.broken = False
        self.state = 1

    def setblocking(self, flag: bool) -> None:
        """It never blocks."""

    def fileno(self) -> int:
        return 99

    def send(self, data: bytes) -> int:
        if self.broken:
            raise BrokenPipeError(32, "broken")
        taken = bytes(data)[: self.room]
        if not taken and data:
            raise BlockingIOError(11, "full")
        self.room -= len(taken)
        if taken:
            self.sent.append(taken)
        return len(taken)

    def recv(self, size: int) -> bytes:
        if not self.incoming:
            raise BlockingIOError(11, "empty")
        data = self.incoming.pop(0)
        if data == b"RST":
            raise ConnectionResetError
        return data

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        if self.broken:
            raise OSError
        return bytes([self.state])

    def setsockopt(self, *args: Any) -> None:
        """Options do not matter."""

    def shutdown(self, how: int) -> None:
        self.sent.append(b"<FIN>")

    def close(self) -> None:
        """It is gone."""


class Reactor(Clock):
    """Records who wants to be told of readiness."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[object] = set()
        self.writers: set[object] = set()
        self.addReader, self.addWriter = self.readers.add, self.writers.add
        self.removeReader, self.removeWriter = self.readers.discard, self.writers.discard


class Listener:
    """What a transport wants to know of its port."""

    _realPortNumber = 1
