"""Hands the listening sockets to a new process, so that a restart refuses nobody (SIGUSR2).

The old process starts a new one with the same command line and its sockets. When the new one serves, the old one stops
listening and drains; when it does not come up, the old one goes on as if nothing had been asked.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

SOCKETS = "LLMUX_SOCKETS"
READY = "LLMUX_READY"
LOOK_SECONDS = 0.1
PATIENCE = 60.0


def inherited(environment: MutableMapping[str, str]) -> dict[str, int]:
    """Endpoint description to file descriptor, as the old process left them; taken out of the environment."""
    try:
        found = json.loads(environment.pop(SOCKETS, "{}"))
    except ValueError:
        return {}
    return {name: number for name, number in found.items() if isinstance(number, int) and _is_socket(number)}


def _is_socket(number: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(number)) as copy:
            return bool(copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def family_of(number: int) -> socket.AddressFamily:
    """The address family of a socket's descriptor."""
    with socket.socket(fileno=os.dup(number)) as copy:
        return socket.AddressFamily(copy.family)


def say_ready(environment: MutableMapping[str, str]) -> None:
    """Tell the old process that this one serves; nothing without an old process."""
    number = environment.pop(READY, "")
    if number.isdigit():
        with suppress(OSError):
            os.write(int(number), b"1")
            os.close(int(number))


class Handover:
    """One attempt to be replaced; `done` is called when the new process serves."""

    log = Logger()

    def __init__(self, sockets: Mapping[str, int], clock: Any, done: Callable[[], None]) -> None:
        self._sockets = dict(sockets)
        self._clock = clock
        self._done = done
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = -1
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock
        self._deadline = 0.0

    @property
    def running(self) -> bool:
        """Whether a new process is coming up."""
        return self._process is not None

    def begin(self) -> None:
        """Start the new process; a second call while one is coming up does nothing."""
        if self.running:
            return
        self._ready, theirs = os.pipe()
        os.set_blocking(self._ready, False)
        environment = {**os.environ, SOCKETS: json.dumps(self._sockets), READY: str(theirs)}
        environment.pop("WATCHDOG_PID", None)
        try:
            self._process = subprocess.Popen(
                [sys.executable, *sys.orig_argv[1:]],
                env=environment,
                pass_fds=(*self._sockets.values(), theirs),
                stdin=subprocess.DEVNULL,
            )
        except OSError as problem:
            self.log.error("no new process: {problem}", problem=problem.strerror)
            os.close(self._ready)
            return
        finally:
            os.close(theirs)
        self.log.info("process {pid} is coming up to take over", pid=self._process.pid)
        self._deadline = self._clock.seconds() + PATIENCE
        self._looking.start(LOOK_SECONDS, now=False)

    def _look(self) -> None:
        process = self._process
        assert process is not None
        try:
            said: bytes | None = os.read(self._ready, 1)
        except BlockingIOError:
            said = None
        if said:
            self.log.info("process {pid} has taken over; this one drains", pid=process.pid)
            self._end()
            self._done()
        elif said == b"" or process.poll() is not None:
            self.log.error("the new process did not come up (status {status}); this one goes on", status=process.poll())
            self._end()
        elif self._clock.seconds() > self._deadline:
            self.log.error("the new process is not ready in time; this one goes on")
            process.kill()
            self._end()

    def _end(self) -> None:
        self._looking.stop()
        os.close(self._ready)
        self._process = None
