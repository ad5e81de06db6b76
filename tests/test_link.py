"""Stalls, lingering and cuts where only the kernel's count can tell."""

from __future__ import annotations

import fcntl
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from llmux.wire.request import Request
from llmux.wire.server import HTTPServer, ServerSettings
from tests.serving import GET, get, post, refuse
from tests.sockets import Listener, Reactor, Socket, Transport


class KernelTests(SynchronousTestCase):
    """What only a transport of ours can tell: what the kernel took, what it holds, whether the client closed."""

    def setUp(self) -> None:
        self.reactor = Reactor()
        self.requests: list[Request] = []
        self.server = HTTPServer(self.requests.append, refuse, self.reactor, ServerSettings())
        self.unconfirmed = 0
        self.patch(fcntl, "ioctl", lambda *args: self.unconfirmed.to_bytes(4, "little"))
        channel = self.server.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        assert channel is not None
        self.socket = Socket()
        peer = ("127.0.0.1", 1)
        self.transport = Transport(self.socket, channel, peer, Listener(), 1, self.reactor)  # type: ignore[arg-type]  # doubles
        channel.makeConnection(self.transport)

    def ask(self, data: bytes) -> Request:
        self.socket.incoming.append(data)
        self.transport.doRead()
        return self.requests[-1]

    def wait(self, seconds: float) -> None:
        self.reactor.pump([0.5] * int(seconds * 2))

    def flush(self) -> None:
        while self.transport in self.reactor.writers:
            if isinstance(why := self.transport.doWrite(), Exception):
                self.transport.connectionLost(Failure(why))

    def test_aStalledClientIsCut(self) -> None:
        request = self.ask(GET)
        self.socket.room, self.unconfirmed = 1000, 1000
        request.respond(200, [], b"a" * 5000)
        request = self.ask(GET)
        request.start(200, [])
        self.wait(50)
        self.assertFalse(request.gone)
        self.wait(20)
        self.assertTrue(request.gone)
        self.assertEqual((len(self.server.connections), self.server.busy), (0, 0))

    def test_aSlowClientIsNotCut(self) -> None:
        request = self.ask(GET)
        self.socket.room, self.unconfirmed = 1000, 1000
        request.start(200, [])
        request.write(b"a" * 5000)
        for _ in range(5):
            self.wait(50)
            self.unconfirmed -= 1
        self.assertFalse(request.gone)
        self.unconfirmed, self.socket.room = 0, 1 << 20
        self.flush()
        self.wait(100)
        self.assertFalse(request.gone)

    def test_aStalledAnswerOfAClosingConnectionIsCut(self) -> None:
        self.socket.room = 10
        self.ask(get(b"/", b"Connection: close\r\n")).respond(200, [], b"a" * 5000)
        self.wait(50)
        self.assertEqual(len(self.server.connections), 1)
        self.wait(20)
        self.assertEqual(len(self.server.connections), 0)

    def test_lingeringClosesTheWritingSideFirst(self) -> None:
        self.ask(post(length=1000)).respond(401, [], b"no")
        self.flush()
        self.assertEqual(self.socket.sent[-1], b"<FIN>")
        self.assertEqual(len(self.server.connections), 1)
        self.socket.incoming.append(b"a" * 500)
        self.transport.doRead()
        self.wait(3)
        self.assertEqual(len(self.server.connections), 0)

    def test_aPausedUploadIsReadAgainToLinger(self) -> None:
        request = self.ask(post(b"a", length=1000))
        request.body.pause()
        self.assertNotIn(self.transport, self.reactor.readers)
        request.respond(401, [], b"no")
        self.assertIn(self.transport, self.reactor.readers)

    def test_aCutBehindAQueueWaitsForIt(self) -> None:
        request = self.ask(b"GET / HTTP/1.0\r\n\r\n")
        self.socket.room = 20
        request.start(200, [])
        request.write(b"a" * 100)
        request.break_off()
        self.wait(1)
        self.assertEqual(len(self.server.connections), 1)
        self.socket.room = 1000
        self.flush()
        self.wait(1)
        self.assertEqual(len(self.server.connections), 0)
        self.assertTrue(b"".join(self.socket.sent).endswith(b"a" * 100))

    def test_headAndFirstBytesOfADeliveryAreOneSend(self) -> None:
        def answer(request: Request) -> None:
            request.start(200, [])
            request.write(b"a")
            request.write(b"b")

        self.server.handler = answer
        self.socket.incoming.append(GET)
        self.transport.doRead()
        self.assertEqual(
            self.socket.sent, [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n"]
        )

    def test_aFailingClockOfOneConnectionIsItsEnd(self) -> None:
        def fail(status: int, target: bytes, reason: str) -> Any:
            raise ZeroDivisionError

        self.server.refuse = fail
        self.socket.incoming.append(b"GET ")
        self.transport.doRead()
        self.wait(15)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(len(self.server.connections), 0)

    def test_thoseTurnedAwayAreCountedInTheLog(self) -> None:
        self.server.settings = ServerSettings(connections=1)
        with capturedLogs() as events:
            for _ in range(3):
                self.assertIsNone(self.server.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)))
            self.wait(2)
        self.assertEqual([event["count"] for event in events if "count" in event], [3])
