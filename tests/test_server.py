"""Connections: answers in order, clocks for what clients owe, limits, draining; the same calls for every cut."""

from __future__ import annotations

import socket
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from llmux.wire.listening import ListeningPort
from llmux.wire.request import Request
from llmux.wire.server import HTTPServer, ServerSettings
from tests.serving import GET, TEXT, Serving, chunked, get, hello, post, refuse


class ChannelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()

    def test_theChannelIsWhatItSays(self) -> None:
        for interface in (IProtocol, IPushProducer, IHalfCloseableProtocol):
            verifyObject(interface, self.serving.channel)

    def test_theHandlerIsCalledAtTheHead(self) -> None:
        request = self.serving.receive(post(length=100))
        self.assertEqual((request.method, request.uri, request.body.complete), (b"POST", b"/p", False))
        self.assertEqual(self.serving.server.busy, 1)

    def test_pipelinedRequestsAreAnsweredInOrder(self) -> None:
        self.serving.receive(get(b"/1") + post(b"abc") + chunked(b"1\r\nx\r\n0\r\n\r\n") + get(b"/4"))
        seen = []
        for number in range(4):
            self.assertEqual(len(self.serving.requests), number + 1)
            self.serving.requests[number].respond(200, [], b"%d" % number)
            seen.append(self.serving.sent()[-1:])
        self.assertEqual(seen, [b"0", b"1", b"2", b"3"])
        self.assertEqual((self.serving.closed, self.serving.server.busy), ("open", 0))

    def test_manyPipelinedRequestsDoNotKeepOthersWaiting(self) -> None:
        self.serving.handler = hello
        self.serving.receive(GET * 100)
        self.assertLess(len(self.serving.requests), 50)
        for _ in range(5):
            self.serving.turn()
        self.assertEqual(len(self.serving.requests), 100)
        self.assertEqual(self.serving.sent().count(b"HTTP/1.1 200 OK"), 100)

    def test_waitingRequestsAreBounded(self) -> None:
        request = self.serving.receive(GET)
        for _ in range(5):
            self.serving.receive(b"\r\n" * 16384)
        self.assertEqual(self.serving.transport.producerState, "paused")
        request.respond(200, [])
        self.assertEqual(self.serving.transport.producerState, "producing")

    def test_waitingRequestsBehindABodyAreBounded(self) -> None:
        self.serving.receive(post(b"a", length=2))
        self.serving.receive(b"b" + GET * 4000)
        self.assertEqual(self.serving.transport.producerState, "paused")
        self.serving.handler = hello
        self.serving.requests[0].respond(200, [])
        for _ in range(200):
            self.serving.turn()
        self.assertEqual((len(self.serving.requests), self.serving.transport.producerState), (4001, "producing"))

    def test_emptyLinesBeforeARequestAreIgnored(self) -> None:
        for _ in range(1000):
            self.serving.receive(b"\r\n")
        self.serving.receive(GET)
        self.assertEqual(len(self.serving.requests), 1)

    def test_emptyLinesBehindARequestAreNotTheBeginningOfAnother(self) -> None:
        self.serving.handler = hello
        self.serving.receive(GET + b"\r\n")
        self.serving.sent()
        self.serving.wait(80)
        self.assertEqual((self.serving.sent(), self.serving.closed), (b"", "closed"))

    def test_connectionCloseIsKept(self) -> None:
        self.serving.handler = hello
        self.serving.receive(get(b"/1", b"Connection: close\r\n"))
        self.assertIn(b"\r\nConnection: close\r\n", self.serving.sent())
        self.assertEqual(self.serving.closed, "closed")

    def test_http10IsNotKeptAlive(self) -> None:
        self.serving.handler = hello
        self.serving.receive(b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        self.assertIn(b"\r\nConnection: close\r\n", self.serving.sent())
        self.assertEqual(self.serving.closed, "closed")

    def test_aBodyThatIsHereBesideTheHeadKeepsTheConnection(self) -> None:
        self.serving.handler = hello
        self.serving.receive(post(b"abc") + GET)
        self.assertEqual(self.serving.sent().count(b"HTTP/1.1 200 OK"), 2)
        self.assertEqual(self.serving.closed, "open")

    def test_anAnswerBeforeTheBodyClosesAndTheRestIsNoRequest(self) -> None:
        self.serving.handler = lambda request: request.respond(401, TEXT, b"no")
        self.serving.receive(post(length=len(GET) + 10) + b"0123456789")
        self.assertIn(b"\r\nConnection: close\r\n", self.serving.sent())
        self.assertEqual(self.serving.closed, "open")
        self.serving.receive(GET + GET)
        self.assertEqual((len(self.serving.requests), self.serving.sent()), (1, b""))
        self.serving.wait(3)
        self.assertEqual(self.serving.closed, "closed")

    def test_lingeringIsBounded(self) -> None:
        self.serving.handler = lambda request: request.respond(413, TEXT, b"no")
        self.serving.receive(post(length=1 << 30))
        for _ in range(4):
            self.serving.receive(b"a" * 65536)
        self.assertEqual(self.serving.closed, "open")
        self.serving.receive(b"a")
        self.assertEqual(self.serving.closed, "closed")

    def test_handlerErrorsAreAnsweredWith500(self) -> None:
        def fail(request: Request) -> None:
            request.when_gone(lambda: gone.append(True))
            raise ZeroDivisionError

        gone: list[bool] = []
        self.serving.handler = fail
        self.serving.receive(get(b"/x"))
        self.assertTrue(self.serving.sent().startswith(b"HTTP/1.1 500 Internal Server Error\r\n"))
        self.assertEqual(gone, [True])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_handlerErrorsCutAnAnswerThatHasBegun(self) -> None:
        def fail(request: Request) -> None:
            request.start(200, [])
            request.write(b"a")
            raise ZeroDivisionError

        self.serving.handler = fail
        self.serving.receive(get(b"/x"))
        self.assertTrue(self.serving.sent().endswith(b"\r\n1\r\na\r\n"))
        self.assertEqual(self.serving.closed, "closed")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_handlerErrorsAfterTheAnswerAreOnlyLogged(self) -> None:
        def fail(request: Request) -> None:
            hello(request)
            raise ZeroDivisionError

        self.serving.handler = fail
        self.serving.receive(GET + GET)
        self.assertEqual(self.serving.sent().count(b"HTTP/1.1 200 OK"), 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)


class RefusalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving(hello)

    def refused(self, data: bytes, status: int) -> bytes:
        self.serving.receive(data)
        answer = self.serving.sent()
        self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), answer)
        self.assertIn(b"\r\nConnection: close\r\n", answer)
        self.serving.receive(GET)
        self.assertEqual((self.serving.requests, self.serving.sent()), ([], b""))
        self.serving.wait(3)
        self.assertEqual(self.serving.closed, "closed")
        return answer

    def test_malformedHeadsAreRefusedAndNothingBehindThemIsRead(self) -> None:
        answer = self.refused(b"GET /secret HTTP/1.1\r\nX : y\r\nHost: h\r\n\r\n" + GET, 400)
        self.assertTrue(answer.endswith(b"400 /secret the request head is malformed"))

    def test_uselessBeginningsAreRefusedBeforeTheyEnd(self) -> None:
        self.refused(b"GET / HTTP/1.1\nHost: h\n\n", 400)

    def test_handshakesOfTlsAreRefusedAtOnce(self) -> None:
        self.refused(b"\x16\x03\x01", 400)

    def test_longHeadsAreRefused(self) -> None:
        self.refused(b"GET / HTTP/1.1\r\nX: " + b"a" * 32768, 431)

    def test_longHeadsThatAreWholeAreRefused(self) -> None:
        self.refused(b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 32768 + b"\r\n\r\n", 431)

    def test_manyFieldsAreRefused(self) -> None:
        self.refused(b"GET / HTTP/1.1\r\nHost: h\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431)

    def test_longTargetsAreRefused(self) -> None:
        self.refused(b"GET /" + b"a" * 12400, 414)

    def test_otherVersionsAreRefused(self) -> None:
        self.refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505)

    def test_otherCodingsAreRefused(self) -> None:
        self.refused(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501)

    def test_otherExpectationsAreRefused(self) -> None:
        self.refused(b"POST / HTTP/1.1\r\nHost: h\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n", 417)

    def test_headGetsNoBodyWithItsRefusal(self) -> None:
        self.assertTrue(self.refused(b"HEAD /#x HTTP/1.1\r\nHost: h\r\n\r\n", 400).endswith(b"\r\n\r\n"))

    def test_answersBeforeABadHeadStand(self) -> None:
        self.serving.receive(GET + b"GARBAGE\r\n\r\n")
        answer = self.serving.sent()
        self.assertEqual((answer.count(b"HTTP/1.1 200 OK"), answer.count(b"HTTP/1.1 400 ")), (1, 1))


class ClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()

    def test_headsHaveAnAbsoluteTime(self) -> None:
        self.serving.receive(b"GET / HTTP/1.1\r\n")
        for _ in range(38):
            self.serving.wait(0.25)
            self.serving.receive(b"X: y\r\n")
        self.assertEqual(self.serving.sent(), b"")
        self.serving.wait(2)
        self.assertTrue(self.serving.sent().startswith(b"HTTP/1.1 408 "))
        self.serving.wait(3)
        self.assertEqual(self.serving.closed, "closed")

    def test_silentConnectionsAreClosed(self) -> None:
        self.serving.wait(74)
        self.assertEqual(self.serving.closed, "open")
        self.serving.wait(2)
        self.assertEqual((self.serving.closed, self.serving.sent()), ("closed", b""))

    def test_connectionsBetweenRequestsAreClosed(self) -> None:
        self.serving.handler = hello
        self.serving.wait(60)
        self.serving.receive(GET)
        self.serving.wait(70)
        self.assertEqual(self.serving.closed, "open")
        self.serving.wait(6)
        self.assertEqual(self.serving.closed, "closed")

    def test_aRequestUnderWayHasAllTheTimeItNeeds(self) -> None:
        self.serving.receive(GET)
        self.serving.wait(700)
        self.assertEqual((self.serving.closed, self.serving.sent()), ("open", b""))

    def test_aClientThatOwesBodyBytesIsAnswered408(self) -> None:
        request = self.serving.receive(post(b"a", length=10))
        self.serving.wait(50)
        self.serving.receive(b"b")
        self.serving.wait(50)
        self.assertEqual(self.serving.sent(), b"")
        self.serving.wait(20)
        self.assertTrue(self.serving.sent().startswith(b"HTTP/1.1 408 "))
        self.assertTrue(request.gone)

    def test_aClientThatTakesNothingIsCut(self) -> None:
        request = self.serving.receive(GET)
        gone: list[bool] = []
        request.when_gone(lambda: gone.append(True))
        request.start(200, [])
        self.serving.channel.pauseProducing()
        self.serving.wait(59)
        self.assertEqual((self.serving.closed, gone), ("open", []))
        self.serving.wait(15)
        self.assertEqual((self.serving.closed, gone), ("aborted", [True]))

    def test_aClientThatTakesSomethingIsNot(self) -> None:
        self.serving.receive(GET).start(200, [])
        for _ in range(5):
            self.serving.channel.pauseProducing()
            self.serving.wait(40)
            self.serving.channel.resumeProducing()
            self.serving.wait(10)
        self.assertEqual(self.serving.closed, "open")

    def test_aClosedConnectionThatDoesNotEndIsAborted(self) -> None:
        self.serving.handler = hello
        self.serving.receive(get(b"/", b"Connection: close\r\n"))
        self.serving.wait(80)
        self.assertEqual(self.serving.closed, "aborted")

    def test_theClockStopsWithTheLastConnection(self) -> None:
        self.assertEqual(len(self.serving.clock.getDelayedCalls()), 1)
        self.serving.leave()
        self.assertEqual(self.serving.clock.getDelayedCalls(), [])

    def test_manyConnectionsShareOneTimer(self) -> None:
        for _ in range(10):
            self.serving.connect()
        self.assertEqual(len(self.serving.clock.getDelayedCalls()), 1)


class LimitTests(SynchronousTestCase):
    def test_connectionsAreLimited(self) -> None:
        serving = Serving(settings=ServerSettings(connections=2))
        serving.connect("10.0.0.1")
        self.assertIsNone(serving.server.buildProtocol(IPv4Address("TCP", "10.0.0.2", 1)))
        serving.leave()
        serving.connect("10.0.0.2")

    def test_connectionsOfAnAddressAreLimited(self) -> None:
        serving = Serving(settings=ServerSettings(connections_per_address=1))
        self.assertIsNone(serving.server.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)))
        self.assertIsNone(serving.server.buildProtocol(IPv6Address("TCP", "::ffff:127.0.0.1", 1)))
        serving.connect("10.0.0.1")
        serving.leave()
        serving.connect()

    def test_peersAreAddressesWithoutPorts(self) -> None:
        serving = Serving()
        for address, peer in (
            (IPv6Address("TCP", "::1", 1), "::1"),
            (IPv6Address("TCP", "::ffff:10.0.0.1", 1), "10.0.0.1"),
            (UNIXAddress(b"/x"), ""),
        ):
            channel = serving.server.buildProtocol(address)
            assert channel is not None
            self.assertEqual(channel.peer, peer)

    def test_newSettingsHoldForConnectionsThatAreOpen(self) -> None:
        serving = Serving(hello)
        serving.server.settings = ServerSettings(target=3)
        serving.receive(get(b"/abc"))
        self.assertTrue(serving.sent().startswith(b"HTTP/1.1 414 "))


class DrainTests(SynchronousTestCase):
    def test_idleConnectionsCloseAndAnswersSaySo(self) -> None:
        serving = Serving()
        request = serving.receive(GET)
        _, idle_transport = serving.connect()
        beginning, beginning_transport = serving.connect()
        beginning.dataReceived(GET[:10])
        serving.server.drain()
        self.assertTrue(idle_transport.disconnecting)
        self.assertFalse(beginning_transport.disconnecting)
        self.assertTrue(request.draining)
        request.respond(200, [])
        self.assertIn(b"\r\nConnection: close\r\n", serving.sent())
        self.assertEqual(serving.closed, "closed")
        beginning.dataReceived(GET[10:])
        serving.requests[-1].respond(200, [])
        self.assertIn(b"\r\nConnection: close\r\n", beginning_transport.value())
        self.assertIsNone(serving.server.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1)))

    def test_aStreamThatHadBegunEndsItsConnection(self) -> None:
        serving = Serving()
        request = serving.receive(GET)
        request.start(200, [])
        serving.turn()
        serving.server.drain()
        request.finish()
        self.assertTrue(serving.sent().endswith(b"0\r\n\r\n"))
        self.assertEqual(serving.closed, "closed")

    def test_abortEndsEverything(self) -> None:
        serving = Serving()
        serving.receive(GET)
        _, idle = serving.connect()
        serving.server.abort()
        self.assertEqual((serving.closed, idle.disconnected), ("aborted", True))


TARGETS = st.from_regex(rb"/[a-z]{0,6}", fullmatch=True)
BODIES = st.binary(max_size=30)


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, tuple[bytes, bytes]]:
    """A request's bytes, and the target and body that the handler shall see."""
    target, kind, body = draw(TARGETS), draw(st.integers(0, 2)), draw(BODIES)
    if kind == 0:
        return get(target), (target, b"")
    line = b"POST " + target + b" HTTP/1.1\r\nHost: h\r\n"
    if kind == 1:
        return line + b"Content-Length: %d\r\n\r\n" % len(body) + body, (target, body)
    coded = b"%x;e\r\n%b\r\n" % (len(body), body) if body else b""
    return line + b"Transfer-Encoding: chunked\r\n\r\n" + coded + b"0\r\nX-T: v\r\n\r\n", (target, body)


class CutTests(SynchronousTestCase):
    def run_pieces(self, pieces: list[bytes], later: bool) -> tuple[list[Any], bytes]:
        serving = Serving()
        seen: list[Any] = []

        def handler(request: Request) -> None:
            def answer(body: bytearray) -> None:
                seen.append((request.uri, bytes(body), list(request.headers)))
                if later:
                    serving.clock.callLater(0, request.respond, 200, TEXT, request.uri)
                else:
                    request.respond(200, TEXT, request.uri)

            request.body.collect(1000).addCallback(answer)

        serving.handler = handler
        for piece in pieces:
            serving.receive(piece)
            serving.turn()
        for _ in range(10):
            serving.turn()
        return seen, serving.sent()

    @given(st.lists(requests(), min_size=1, max_size=4), st.booleans(), st.data())
    @settings(max_examples=120, deadline=None)
    def test_everyCutOfAStreamGivesTheSameCalls(
        self, stream: list[tuple[bytes, tuple[bytes, bytes]]], later: bool, data: st.DataObject
    ) -> None:
        whole = b"".join(request for request, _ in stream)
        cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=6)))
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if a < b]
        seen, answers = self.run_pieces(pieces, later)
        self.assertEqual([(uri, body) for uri, body, _ in seen], [expected for _, expected in stream])
        self.assertEqual((seen, answers), self.run_pieces([whole], False))

    def test_byteByByteToo(self) -> None:
        whole = get(b"/1") + post(b"ab") + chunked(b"1\r\nx\r\n0\r\n\r\n") + get(b"/2")
        pieces = [whole[n : n + 1] for n in range(len(whole))]
        self.assertEqual(self.run_pieces(pieces, True), self.run_pieces([whole], False))


class LoopbackTests(TestCase):
    """The same over a real socket, where RST and FIN exist."""

    def setUp(self) -> Deferred[None]:  # type: ignore[override]  # trial waits for it
        self.requests: list[Request] = []
        self.server = HTTPServer(self.requests.append, refuse, reactor)
        self.port = ListeningPort(0, self.server, interface="127.0.0.1", reactor=reactor)
        self.port.startListening()
        self.addCleanup(self._stop)
        return self.ask(b"GET /a HTTP/1.0\r\n\r\n")

    async def _until(self, condition: Any) -> None:
        for _ in range(400):
            if condition():
                return
            await deferLater(reactor, 0.005)
        self.fail("it did not happen")

    def ask(self, data: bytes) -> Deferred[None]:
        self.client = socket.create_connection(self._address())
        self.client.settimeout(0)
        self.addCleanup(self.client.close)
        self.client.sendall(data)
        return Deferred.fromCoroutine(self._until(lambda: self.requests))

    def _address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port.getHost().port)

    async def _stop(self) -> None:
        self.client.close()
        self.server.abort()
        await self._until(lambda: not self.server.connections)
        await self.port.stopListening()

    def received(self) -> bytes:
        try:
            return self.client.recv(1 << 20)
        except BlockingIOError:
            return b"nothing"

    async def test_aCutCloseDelimitedAnswerIsReset(self) -> None:
        self.requests[0].start(200, [])
        self.requests[0].write(b"abc")
        self.requests[0].break_off()
        await self._until(lambda: not self.server.connections)
        self.assertTrue(self.received().endswith(b"abc"))
        self.assertRaises(ConnectionResetError, self.client.recv, 10)

    async def test_aLongAnswerLeavesBeforeTheReset(self) -> None:
        size = 8_000_000
        self.requests[0].start(200, [])
        self.requests[0].write(b"a" * size)
        self.requests[0].break_off()
        got = 0

        def take() -> bool:
            nonlocal got
            try:
                data = self.client.recv(1 << 20)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            got += len(data)
            return not data

        await self._until(take)
        self.assertGreater(got, size // 4)
        self.assertRaises(OSError, self.client.send, b"x" * 10)

    async def test_aPausedClientThatLeavesIsNoticed(self) -> None:
        request = self.requests[0]
        request._channel._hold(1, True)
        gone: list[bool] = []
        request.when_gone(lambda: gone.append(True))
        self.client.close()
        await self._until(lambda: gone)
