"""Starts the real `twistd llmux` on loopback for the end-to-end tests, and stops it by its pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

STARTUP_SECONDS = 30.0
STOP_SECONDS = 20.0
_RESERVED: list[socket.socket] = []
_SECRETS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "AMP_API_KEY", "LLMUX_CONFIG", "GOOGLE_API_KEY")


def free_port() -> int:
    """A loopback port that nobody is given from now on, but that a daemon may listen on.

    A bound socket keeps the kernel from giving the port away, to an outgoing connection for example. On Linux another
    socket may still listen there as long as both allow reuse; allowed after the bind only, so that nobody shares it by
    chance.
    """
    probe = socket.socket()
    probe.bind(("127.0.0.1", 0))
    port = int(probe.getsockname()[1])
    if sys.platform == "linux":
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _RESERVED.append(probe)
    else:
        probe.close()
    return port


def pause(seconds: float) -> Deferred[None]:
    """Let the reactor turn while another process works."""
    return deferLater(IReactorTime(reactor), seconds, lambda: None)


class Daemon:
    """One running daemon with its configuration file and its log, in a folder of its own."""

    def __init__(self, config: str | None, *options: str, env: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="llmux-test-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.port = free_port()
        self.config = self.folder / "llmux.yaml"
        self.log_path = self.folder / "log"
        arguments = ["--pidfile", str(self.folder / "pid"), "-n", "llmux", *options]
        if config is not None:
            self.config.write_text(f"listen: tcp:{self.port}:interface=127.0.0.1\n{config}", encoding="utf-8")
            arguments += ["--config", str(self.config)]
        inherited = {name: value for name, value in os.environ.items() if name not in _SECRETS}
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).with_name("twistd")), *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={
                    **inherited,
                    "HOME": str(self.folder),
                    "XDG_CONFIG_HOME": str(self.folder),
                    "XDG_STATE_HOME": str(self.folder / "state"),
                    **(env or {}),
                },
            )

    @property
    def url(self) -> str:
        """The address of the daemon."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    async def started(self) -> Daemon:
        """Wait until it answers, which is later than that it listens; raises with its log when it does not."""
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"llmux ended with {self.process.returncode}:\n{self.log}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                    connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                    if connection.recv(12).startswith(b"HTTP/1.1 "):
                        return self
            except OSError:
                pass
            await pause(0.05)
        raise AssertionError(f"llmux does not listen:\n{self.log}")

    async def until(self, text: str, seconds: float = 10.0) -> str:
        """Wait until the log contains a text; raises when it does not come."""
        deadline = time.monotonic() + seconds
        while text not in self.log:
            if time.monotonic() > deadline:
                raise AssertionError(f"{text!r} is not in the log:\n{self.log}")
            await pause(0.05)
        return self.log

    async def ended(self, seconds: float = STOP_SECONDS) -> int:
        """Wait for its exit status."""
        return await deferToThread(self.process.wait, seconds)

    async def stop(self) -> None:
        """Ask it to stop, and kill it when it does not."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                await self.ended()
            except subprocess.TimeoutExpired:
                self.process.kill()
                await self.ended()
