"""What a handler writes into a request is what the client gets, framed so that a cut looks cut."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase

from llmux.wire.request import Request
from tests.serving import GET, TEXT, Serving, hello, post

GET10 = b"GET /a HTTP/1.0\r\n\r\n"
HEAD = b"HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n"


class Waiter:
    """A source that records what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")


class AnswerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()

    def test_aWholeAnswerIsOneWriteAndKeepsTheConnection(self) -> None:
        request = self.serving.receive(GET)
        writes: list[bytes] = []
        self.serving.transport.write = writes.append  # type: ignore[method-assign]  # counts the writes
        request.respond(200, [(b"x-lower", b"a"), (b"X-Two", b"1"), (b"X-Two", b"2")], b"body")
        self.assertEqual(
            writes, [b"HTTP/1.1 200 OK\r\nx-lower: a\r\nX-Two: 1\r\nX-Two: 2\r\nContent-Length: 4\r\n\r\nbody"]
        )
        self.assertEqual((request.status, request.bytes_sent, request.ended, request.gone), (200, 4, True, False))
        self.assertEqual(self.serving.closed, "open")

    def test_headGetsTheLengthAndNoBody(self) -> None:
        self.serving.receive(HEAD).respond(200, [], b"body")
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        self.serving.receive(HEAD).respond(200, [(b"Content-Length", b"1234")])
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")

    def test_streamedAnswersToHeadHaveNoBodyAndNoFraming(self) -> None:
        request = self.serving.receive(HEAD)
        request.start(200, TEXT)
        request.write(b"EVIL")
        request.finish()
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        self.assertEqual(self.serving.closed, "open")

    def test_bodilessStatusesHaveNoBody(self) -> None:
        for status, line in ((204, b"204 No Content"), (304, b"304 Not Modified")):
            request = self.serving.receive(GET)
            request.start(status, [(b"X-A", b"b")])
            request.write(b"EVIL")
            request.finish()
            self.serving.receive(GET).respond(status, [(b"X-A", b"b")], b"")
            self.assertEqual(
                self.serving.sent(),
                b"HTTP/1.1 " + line + b"\r\nX-A: b\r\n\r\n" + b"HTTP/1.1 " + line + b"\r\nX-A: b\r\n\r\n",
            )
        self.serving.receive(GET).respond(304, [(b"Content-Length", b"7")])
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n")
        self.serving.receive(GET).respond(204, [(b"Content-Length", b"7")])
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 204 No Content\r\n\r\n")

    def test_aStreamWithoutLengthIsChunked(self) -> None:
        request = self.serving.receive(GET)
        request.start(200, TEXT)
        request.write(b"a" * 16)
        request.write(b"")
        request.write(bytearray(b"bc"))
        request.finish()
        self.assertEqual(
            self.serving.sent(),
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"10\r\naaaaaaaaaaaaaaaa\r\n2\r\nbc\r\n0\r\n\r\n",
        )
        self.assertEqual((request.bytes_sent, self.serving.closed), (18, "open"))

    def test_theHeadLeavesWithTheFirstBytesOrAtTheEndOfTheTurn(self) -> None:
        request = self.serving.receive(GET)
        request.start(200, [], b"Fine")
        self.assertEqual(self.serving.transport.value(), b"")
        self.serving.turn()
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n\r\n")
        request.finish()
        writes: list[bytes] = []
        request = self.serving.receive(GET)
        self.serving.transport.write = writes.append  # type: ignore[method-assign]  # counts the writes
        request.start(200, [])
        request.write(b"x")
        self.assertEqual(writes, [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"])

    def test_theRequestsHeadCanBeForgotten(self) -> None:
        request = self.serving.receive(GET)
        self.assertEqual((request.header(b"host"), len(request.headers)), (b"h", 1))
        request.forget_head()
        self.assertEqual((request.header(b"host"), request.headers), (None, []))

    def test_trailersFollowChunks(self) -> None:
        request = self.serving.receive(GET)
        request.start(200, [])
        request.finish([(b"X-T", b"v"), (b"Content-Length", b"9")])
        self.assertTrue(self.serving.sent().endswith(b"\r\n\r\n0\r\nX-T: v\r\n\r\n"))

    def test_aGivenLengthFramesTheStream(self) -> None:
        request = self.serving.receive(GET)
        request.start(200, [(b"content-length", b"3")])
        request.write(b"ab")
        request.write(memoryview(b"c"))
        request.finish([(b"X-T", b"v")])
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
        self.assertEqual(self.serving.closed, "open")

    def test_aShortStreamIsBrokenOff(self) -> None:
        request = self.serving.receive(GET)
        gone: list[str] = []
        request.when_gone(lambda: gone.append("gone"))
        request.start(200, [(b"Content-Length", b"3")])
        request.write(b"ab")
        request.finish()
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
        self.assertEqual((self.serving.closed, request.broken, gone), ("closed", True, ["gone"]))

    def test_aLongStreamIsBrokenOffBeforeTheExcess(self) -> None:
        request = self.serving.receive(GET)
        request.start(200, [(b"Content-Length", b"3")])
        request.write(b"ab")
        request.write(b"cd")
        request.write(b"e")
        request.finish()
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab")
        self.assertEqual((self.serving.closed, request.bytes_sent), ("closed", 2))

    def test_http10IsDelimitedByTheEndOfTheConnection(self) -> None:
        request = self.serving.receive(GET10)
        request.start(200, [])
        request.write(b"ab")
        self.assertEqual(self.serving.closed, "open")
        request.finish([(b"X-T", b"v")])
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab")
        self.assertEqual(self.serving.closed, "closed")

    def test_framingAndConnectionOfTheCallerAreDropped(self) -> None:
        request = self.serving.receive(GET)
        request.respond(
            200,
            [(b"Transfer-Encoding", b"gzip"), (b"connection", b"x"), (b"Keep-Alive", b"y"), (b"Content-Length", b"77")],
            b"a",
        )
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")

    def test_headersThatWouldWriteOtherHeadersAreRefused(self) -> None:
        request = self.serving.receive(GET)
        for bad in ((b"X", b"a\r\nY: b"), (b"X\n", b"a"), (b"X", b"a\rb"), (b"X", b"a\0")):
            self.assertRaises(ValueError, request.respond, 200, [bad])
            self.assertRaises(ValueError, request.start, 200, [bad])
        self.assertRaises(ValueError, request.start, 200, [], b"a\r\nX: b")
        self.assertRaises(ValueError, request.start, 200, [(b"Content-Length", b"+1")])
        self.assertRaises(ValueError, request.start, 200, [(b"Content-Length", b"1"), (b"Content-Length", b"2")])
        self.assertRaises(ValueError, request.respond, 101, [])
        self.assertEqual((self.serving.sent(), request.status), (b"", 0))
        request.respond(200, [])
        self.assertTrue(self.serving.sent().startswith(b"HTTP/1.1 200"))

    def test_statusesWithoutAPhraseAreSent(self) -> None:
        self.serving.receive(GET).respond(529, [])
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 529 \r\nContent-Length: 0\r\n\r\n")

    def test_misuseIsAnError(self) -> None:
        request = self.serving.receive(GET)
        self.assertRaises(RuntimeError, request.write, b"a")
        self.assertRaises(RuntimeError, request.finish)
        request.respond(200, [])
        self.assertRaises(RuntimeError, request.respond, 200, [])
        self.assertRaises(RuntimeError, request.start, 200, [])
        self.assertRaises(RuntimeError, request.write, b"a")
        self.assertRaises(RuntimeError, request.finish)

    def test_interimAnswersPrecedeTheAnswer(self) -> None:
        request = self.serving.receive(GET)
        request.interim(103, [(b"Link", b"</a>")])
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        for status in (100, 101, 200):
            self.assertRaises(ValueError, request.interim, status, [])
        request.respond(200, [])
        self.assertRaises(RuntimeError, request.interim, 103, [])

    def test_http10ClientsGetNoInterimAnswers(self) -> None:
        self.serving.receive(GET10).interim(103, [])
        self.assertEqual(self.serving.sent(), b"")


class CutTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()

    def test_aChunkedAnswerIsCutWithoutItsEnd(self) -> None:
        request = self.serving.receive(GET)
        request.start(200, [])
        request.write(b"ab")
        request.break_off()
        self.assertTrue(self.serving.sent().endswith(b"\r\n\r\n2\r\nab\r\n"))
        self.assertEqual((self.serving.closed, request.ended, request.broken), ("closed", True, True))
        request.write(b"more")
        request.finish()
        request.respond(200, [])
        request.start(200, [])
        request.interim(103, [])
        request.break_off()
        self.assertEqual(self.serving.sent(), b"")

    def test_aHeadThatWaitsLeavesBeforeTheCut(self) -> None:
        request = self.serving.receive(GET)
        request.start(200, [])
        request.break_off()
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertEqual(self.serving.closed, "closed")

    def test_aCloseDelimitedAnswerIsCutByReset(self) -> None:
        request = self.serving.receive(GET10)
        request.start(200, [])
        request.write(b"ab")
        request.break_off()
        self.assertEqual(self.serving.closed, "open")
        self.serving.wait(0.5)
        self.assertEqual(self.serving.closed, "aborted")

    def test_beforeTheHeadTheConnectionIsAborted(self) -> None:
        request = self.serving.receive(GET)
        request.break_off()
        self.assertEqual((self.serving.sent(), self.serving.closed), (b"", "aborted"))

    def test_bytesBehindACutAreNoRequest(self) -> None:
        request = self.serving.receive(GET)
        request.start(200, [])
        request.break_off()
        self.serving.receive(GET)
        self.assertEqual(len(self.serving.requests), 1)


class GoneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()
        self.calls: list[str] = []

    def test_aClientThatLeavesIsToldOfSynchronouslyAndOnce(self) -> None:
        request = self.serving.receive(GET)
        request.when_gone(lambda: self.calls.append("a"))
        request.when_gone(lambda: self.calls.append("b"))
        request.start(200, [])
        self.serving.leave()
        self.assertEqual((self.calls, request.gone, request.ended), (["a", "b"], True, False))
        request.write(b"x")
        request.finish()
        request.break_off()
        request.when_gone(lambda: self.calls.append("late"))
        self.assertEqual(self.calls, ["a", "b", "late"])
        self.assertEqual(self.serving.sent(), b"")
        self.assertEqual(self.serving.server.busy, 0)

    def test_anEndedAnswerForgetsItsCallbacks(self) -> None:
        request = self.serving.receive(GET)
        request.when_gone(lambda: self.calls.append("a"))
        request.respond(200, [])
        request.when_gone(lambda: self.calls.append("b"))
        self.serving.leave()
        self.assertEqual((self.calls, request.gone), ([], False))

    def test_aFailingCallbackDoesNotKeepTheOthersFromBeingCalled(self) -> None:
        request = self.serving.receive(GET)
        request.when_gone(lambda: 1 // 0)  # type: ignore[arg-type]  # raises instead
        request.when_gone(lambda: self.calls.append("b"))
        self.serving.leave()
        self.assertEqual(self.calls, ["b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_finIsLeavingWhileARequestIsUnderWay(self) -> None:
        request = self.serving.receive(GET)
        request.when_gone(lambda: self.calls.append("a"))
        self.serving.channel.readConnectionLost()
        self.assertEqual((self.calls, self.serving.closed), (["a"], "aborted"))
        self.serving.leave()
        self.assertEqual((self.calls, self.serving.server.busy), (["a"], 0))

    def test_finRightBehindTheLastRequestWaitsForItsAnswer(self) -> None:
        for data in (b"GET / HTTP/1.0\r\n\r\n", post(b"x", b"Connection: close\r\n")):
            self.serving = Serving()
            request = self.serving.receive(data)
            self.serving.channel.readConnectionLost()
            self.serving.wait(1)
            request.respond(200, [], b"one")
            self.assertTrue(self.serving.sent().endswith(b"\r\n\r\none"))
            self.assertEqual((request.gone, self.serving.closed), (False, "closed"))

    def test_finThatDoesNotBelongToTheRequestIsLeaving(self) -> None:
        def late() -> None:
            self.serving.wait(0.25)

        def begun() -> None:
            self.serving.requests[0].start(200, [])

        for data, before in (
            (GET, lambda: None),
            (b"GET / HTTP/1.0\r\n\r\n", late),
            (b"GET / HTTP/1.0\r\n\r\n", begun),
            (post(b"x", b"Connection: close\r\n", length=2), lambda: None),
        ):
            self.serving = Serving()
            request = self.serving.receive(data)
            before()
            self.serving.channel.readConnectionLost()
            self.assertEqual((request.gone, self.serving.closed), (True, "aborted"), data)

    def test_finBetweenRequestsClosesInOrder(self) -> None:
        self.serving.handler = hello
        self.serving.receive(GET)
        self.serving.channel.readConnectionLost()
        self.assertEqual(self.serving.closed, "closed")

    def test_notifyFinishFiresEitherWay(self) -> None:
        request = self.serving.receive(GET)
        ended: Deferred[None] = request.notifyFinish()
        self.assertNoResult(ended)
        request.respond(200, [])
        self.assertIsNone(self.successResultOf(ended))
        left = self.serving.receive(GET).notifyFinish()
        self.serving.leave()
        self.failureResultOf(left, ConnectionDone)


class FlowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()
        self.source = Waiter()

    def test_theSourceWaitsWhileTheTransportIsFull(self) -> None:
        request = self.serving.receive(GET)
        request.flow(self.source)
        producer = self.serving.transport.producer
        assert producer is self.serving.channel
        self.serving.channel.pauseProducing()
        self.serving.channel.resumeProducing()
        self.assertEqual(self.source.told, ["pause", "resume"])
        request.flow(None)
        self.serving.channel.pauseProducing()
        self.assertEqual(len(self.source.told), 2)
        request.flow(self.source)
        self.assertEqual(self.source.told[2:], ["pause"])

    def test_theSourceIsForgottenAtTheEnd(self) -> None:
        request = self.serving.receive(GET)
        request.flow(self.source)
        request.respond(200, [])
        self.serving.receive(GET)
        self.serving.channel.pauseProducing()
        self.assertEqual(self.source.told, [])

    def test_noFurtherRequestBeginsWhileTheTransportIsFull(self) -> None:
        request = self.serving.receive(GET + GET)
        self.serving.channel.pauseProducing()
        request.respond(200, [])
        self.assertEqual(len(self.serving.requests), 1)
        self.serving.channel.resumeProducing()
        self.assertEqual(len(self.serving.requests), 2)


class Recorder:
    """A tunnel that records what it receives."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)

    def connectionLost(self, reason: object) -> None:
        self.events.append("lost")


UPGRADE = b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class UpgradeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()

    def test_anUpgradeLeavesHttp(self) -> None:
        request = self.serving.receive(UPGRADE + b"early")
        self.assertEqual(request.upgrade, b"websocket")
        transport, leftover = request.take_over(101, [(b"Sec-X", b"y")])
        self.assertEqual(
            self.serving.sent(),
            b"HTTP/1.1 101 Switching Protocols\r\nSec-X: y\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        self.assertEqual((leftover, self.serving.transport.producer), (b"early", None))
        self.assertIs(transport, self.serving.transport)
        tunnel = Recorder()
        self.serving.receive(b"before ")
        request.set_tunnel(tunnel)
        self.serving.receive(GET)
        self.assertEqual(self.serving.server.busy, 1)
        self.serving.leave()
        self.assertEqual(tunnel.events, [b"before ", GET, "lost"])
        self.assertEqual((self.serving.server.busy, len(self.serving.requests), request.ended), (0, 1, True))

    def test_givenConnectionAndUpgradeFieldsAreKept(self) -> None:
        request = self.serving.receive(UPGRADE)
        request.take_over(101, [(b"connection", b"upgrade"), (b"UPGRADE", b"websocket/2")])
        self.assertEqual(
            self.serving.sent(),
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nUPGRADE: websocket/2\r\n\r\n",
        )

    def test_halfAnEndIsTheTunnelsOwn(self) -> None:
        class HalfClosing(Recorder):
            def readConnectionLost(self) -> None:
                self.events.append("half")

        request = self.serving.receive(UPGRADE)
        request.take_over(101, [])
        tunnel = HalfClosing()
        request.set_tunnel(tunnel)
        self.serving.channel.readConnectionLost()
        self.assertEqual((tunnel.events, self.serving.closed), (["half"], "open"))

    def test_aTunnelWithoutHalfEndsIsClosedByFin(self) -> None:
        request = self.serving.receive(UPGRADE)
        request.take_over(101, [])
        request.set_tunnel(Recorder())
        self.serving.channel.readConnectionLost()
        self.assertEqual(self.serving.closed, "closed")

    def test_tunnelsHaveNoClock(self) -> None:
        self.serving.receive(UPGRADE).take_over(101, [])
        self.serving.wait(400)
        self.assertEqual(self.serving.closed, "open")

    def test_onlyAnUpgradeCanBeTakenOver(self) -> None:
        self.assertRaises(RuntimeError, self.serving.receive(GET).take_over, 101, [])
        answered = self.serving.receive(b"")
        answered.respond(200, [])
        late = self.serving.receive(UPGRADE)
        late.respond(426, [])
        self.assertRaises(RuntimeError, late.take_over, 101, [])
        unfinished = self.serving.receive(post(length=5, extra=b"Connection: upgrade\r\nUpgrade: x\r\n"))
        self.assertRaises(RuntimeError, unfinished.take_over, 101, [])


class KleinTests(SynchronousTestCase):
    def request(self, target: bytes, host: bytes = b"name:80") -> Request:
        return Serving().receive(b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nX-A: b\r\n\r\n")

    def test_whatKleinAsksForIsThere(self) -> None:
        request = self.request(b"/a%2Fb/c?d=/e")
        self.assertEqual((request.path, request.prepath, request.postpath), (b"/a%2Fb/c", [], [b"a%2Fb", b"c"]))
        request.prepath.append(b"x")
        request.postpath = request.postpath[1:]
        self.assertEqual((request.prepath, request.postpath), ([b"x"], [b"c"]))
        self.assertEqual((request.getHeader(b"X-a"), request.header(b"x-a"), request.header(b"y")), (b"b", b"b", None))
        self.assertEqual(
            (request.isSecure(), request.peer, request.getRequestHostname()), (False, "127.0.0.1", b"name")
        )
        self.assertEqual(request.getHost().port, 12345)  # type: ignore[attr-defined]  # an IPv4Address
        self.assertEqual(self.request(b"/", b"[::1]:80").getRequestHostname(), b"[::1]")
        self.assertFalse(hasattr(request, "misspelt"))
