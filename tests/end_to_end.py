"""What the end-to-end tests share: daemons and servers that end with their test, and a client that sees raw bytes."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from twisted.internet.interfaces import IAddress, IReactorTCP
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.running import Daemon, pause
from tests.scripted import ScriptedServer, Seen

T = TypeVar("T")
LOOK_SECONDS = 0.01


async def eventually(found: Callable[[], T | None], seconds: float = 15.0, what: str = "the condition") -> T:
    """Wait until a function gives something true, and give that; AssertionError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        await pause(LOOK_SECONDS)
    return value


@dataclass
class Answer:
    """An answer as `http.client` saw it; `broken` when the transfer was not complete."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False


def ask(
    port: int,
    target: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    method: str | None = None,
    seconds: float = 20.0,
) -> Answer:
    """Make one request over a connection of its own; blocks, so call it in a thread."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        kind = {"Content-Type": "application/json"} if body is not None else {}
        connection.request(method or ("GET" if body is None else "POST"), target, body, {**kind, **(headers or {})})
        return received(connection)
    finally:
        connection.close()


def received(connection: http.client.HTTPConnection) -> Answer:
    """The answer to the request that was just sent."""
    response = connection.getresponse()
    names = {name.lower(): value for name, value in response.getheaders()}
    try:
        return Answer(response.status, names, response.read())
    except http.client.IncompleteRead as cut:
        return Answer(response.status, names, cut.partial, broken=True)
    except ConnectionResetError:
        return Answer(response.status, names, b"", broken=True)


class RawClient(Protocol):
    """A connection whose bytes are collected as they come; `ended` is the reason of its end."""

    def __init__(self) -> None:
        self.data = b""
        self.ended: Failure | None = None

    @property
    def wire(self) -> Any:
        """The transport, a TCP connection."""
        return self.transport

    def dataReceived(self, data: bytes) -> None:
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended = reason

    async def end(self, what: str, seconds: float = 15.0) -> Failure:
        """Wait until the other side ends the connection, and tell how it did."""
        return await eventually(lambda: self.ended, seconds, f"the end of the connection: {what}")

    async def until(self, text: bytes, seconds: float = 15.0) -> bytes:
        """Wait until the received bytes contain a text."""
        deadline = time.monotonic() + seconds
        while text not in self.data:
            if time.monotonic() > deadline or self.ended is not None:
                raise AssertionError(f"{text!r} is not in {self.data!r} ({self.ended})")
            await pause(LOOK_SECONDS)
        return self.data


class _RawFactory(ClientFactory):
    noisy = False

    def __init__(self, client: RawClient) -> None:
        self.client = client

    def buildProtocol(self, addr: IAddress | None) -> RawClient:
        return self.client


def request_bytes(
    target: str, body: bytes = b"", headers: tuple[str, ...] = (), method: str = "POST", version: str = "1.1"
) -> bytes:
    """A request as bytes."""
    lines = [f"{method} {target} HTTP/{version}", "Host: localhost", *headers]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@dataclass
class Paused:
    """A script that keeps the requests it gets, for a test that answers by hand."""

    requests: list[Seen] = field(default_factory=list)

    def __call__(self, seen: Seen) -> None:
        self.requests.append(seen)

    async def next(self) -> Seen:
        """Wait for a request and take it."""
        await eventually(lambda: self.requests, what="a request at the scripted server")
        return self.requests.pop(0)


class EndToEndCase(TestCase):
    """Starts daemons, servers and clients that are gone when the test is over."""

    timeout = 100

    def serve(self, script: Callable[[Seen], None] | None = None) -> ScriptedServer:
        """A scripted server."""
        server = ScriptedServer(script)
        self.addCleanup(server.stop)
        return server

    async def run_daemon(self, config: str | None, *options: str, env: dict[str, str] | None = None) -> Daemon:
        """The real daemon, listening."""
        daemon = Daemon(config, *options, env=env)
        self.addCleanup(daemon.stop)
        return await daemon.started()

    async def connect(self, port: int, sent: bytes = b"") -> RawClient:
        """A raw client that has connected and sent these bytes."""
        from twisted.internet import reactor

        client = RawClient()
        tcp = IReactorTCP(reactor)
        tcp.connectTCP("127.0.0.1", port, _RawFactory(client))
        await eventually(lambda: client.transport is not None, what="the connection")
        client.wire.setTcpNoDelay(True)
        if sent:
            client.wire.write(sent)
        self.addCleanup(self._disconnect, client)
        return client

    async def _disconnect(self, client: RawClient) -> None:
        if client.ended is None:
            client.wire.abortConnection()
            await eventually(lambda: client.ended is not None, what="the end of the client's connection")

    async def ask(self, port: int, target: str, body: bytes | None = None, **options: Any) -> Answer:
        """One request in a thread."""
        return await deferToThread(ask, port, target, body, **options)
