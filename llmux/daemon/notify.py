"""Tells systemd how the daemon is doing: ready, reloading, stopping, and alive (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger


class Notifier:
    """Sends states to the socket in `NOTIFY_SOCKET`; without one it does nothing, and it never raises."""

    log = Logger()

    def __init__(self, environment: Mapping[str, str], clock: IReactorTime) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._interval = _watchdog_interval(environment)
        self._clock = clock
        self._alive: LoopingCall | None = None

    def ready(self) -> None:
        """The daemon serves; from now on the watchdog is fed, if there is one."""
        self._send(f"READY=1\nMAINPID={os.getpid()}")
        if self._address and self._interval:
            self._alive = LoopingCall(self._send, "WATCHDOG=1")
            self._alive.clock = self._clock
            self._alive.start(self._interval)

    def reloading(self) -> None:
        """A new configuration is being put in force; `ready` follows (Type=notify-reload)."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """The new configuration is in force."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The daemon drains."""
        if self._alive is not None and self._alive.running:
            self._alive.stop()
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(state.encode(), address)
        except OSError as problem:
            self.log.debug("the service manager cannot be told: {problem}", problem=problem.strerror)


def _watchdog_interval(environment: Mapping[str, str]) -> float:
    """Seconds between two signs of life, half of what the watchdog allows; 0 without one for this process."""
    owner = environment.get("WATCHDOG_PID", "")
    if owner and owner != str(os.getpid()):
        return 0.0
    microseconds = environment.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2_000_000 if microseconds.isdigit() else 0.0
