"""One exchange on one connection: what is sent, what counts as an answer, and how it can end."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from llmux.headers import RawHeaders
from llmux.wire.client import ClientConnection, Clocks, UpstreamFailure
from llmux.wire.outgoing import request_head
from llmux.wire.upload import SLICE
from tests.upstreams import ORIGIN, Body, Peer, Sent, Taker, Upstream, request

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class RequestTests(SynchronousTestCase):
    def test_aRequestLeavesInOneWrite(self) -> None:
        _, peer = Upstream().exchange(b"POST", b"{}")
        self.assertEqual(
            bytes(peer.written),
            b"POST /p?q HTTP/1.1\r\nHost: upstream.test\r\nX-A: b\r\nContent-Length: 2\r\n\r\n{}",
        )
        self.assertEqual(peer.writes, 1)

    def test_framingFollowsTheMethodWhenThereIsNoBody(self) -> None:
        for method, framed in [(b"GET", False), (b"HEAD", False), (b"DELETE", False), (b"POST", True), (b"PUT", True)]:
            self.assertEqual(b"\r\nContent-Length: 0\r\n" in request_head(request(method)), framed, method)

    def test_theHostCanBeReplaced(self) -> None:
        self.assertIn(b"\r\nHost: other.test\r\n", request_head(request(host=b"other.test")))

    def test_anUpgradeIsAskedFor(self) -> None:
        self.assertIn(b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", request_head(request(upgrade=b"websocket")))

    def test_nothingBreaksOutOfItsLine(self) -> None:
        for evil in (b"\r\nX-Injected: 1", b"\n", b"\r", b"\0"):
            for bad in (
                request(headers=[(b"X-Key", b"sesame" + evil)]),
                request(headers=[(b"X" + evil, b"sesame")]),
                request(method=b"GET" + evil),
                request(target=b"/sesame" + evil),
                request(host=b"sesame" + evil),
                request(upgrade=b"sesame" + evil),
            ):
                with self.assertRaises(ValueError) as caught:
                    Upstream().pool.send(bad)
                self.assertNotIn("sesame", str(caught.exception))
        for target in (b"/a b", b"/\x7f", b"/\xe9", b""):
            with self.assertRaises(ValueError):
                request_head(request(target=target))

    def test_theConnectionKeepsTwistedsInterfaces(self) -> None:
        connection = ClientConnection(Upstream().pool, ORIGIN)
        for interface in (IProtocol, IHalfCloseableProtocol, IHandshakeListener):
            verifyObject(interface, connection)


class UploadTests(SynchronousTestCase):
    def test_aLargeBodyGoesOutAtTheUpstreamsPace(self) -> None:
        content = bytearray(b"0123456789abcdef" * 100_000)
        sent, peer = Upstream().exchange(b"POST", content)
        self.assertTrue(peer.take().endswith(content))
        self.assertIsNone(peer.producer)
        self.assertIsNone(sent.exchange.body)

    def test_aFullTransportStopsALargeBody(self) -> None:
        class Full(Peer):
            def write(self, data: bytes) -> None:
                super().write(data)
                if self.producer is not None and len(data) > 1000:
                    self.producer.pauseProducing()

        upstream = Upstream()
        content = bytearray(SLICE * 3 + 5)
        upstream.send(b"POST", content)
        _, _, factory = upstream.reactor.attempts.pop()
        peer = Full(factory.buildProtocol(None))
        peer.protocol.makeConnection(peer)
        total = len(peer.take())
        self.assertLess(total, SLICE + 1000)
        while peer.producer is not None:
            peer.producer.resumeProducing()
            total += len(peer.take())
        self.assertEqual(total, len(content) + len(request_head(request(b"POST", content))))

    def test_noSecondCopyOfALargeBodyIsKept(self) -> None:
        import tracemalloc

        class Swallowing(Peer):
            def write(self, data: bytes) -> None:
                """Take it and keep nothing."""

        upstream = Upstream()
        content = bytearray(5_000_000)
        upstream.send(b"POST", content)
        _, _, factory = upstream.reactor.attempts.pop()
        peer = Swallowing(factory.buildProtocol(None))
        tracemalloc.start()
        try:
            peer.protocol.makeConnection(peer)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 2 * SLICE + 50_000)

    def test_aBodyOfKnownLengthIsPipedAsItComes(self) -> None:
        body = Body(6)
        sent, peer = Upstream().exchange(b"POST", body)
        self.assertTrue(peer.take().endswith(b"\r\nContent-Length: 6\r\n\r\n"))
        body.sink.data(b"abc")
        self.assertEqual(peer.take(), b"abc")
        body.sink.data(b"def")
        body.sink.end([])
        self.assertEqual(peer.take(), b"def")
        peer.says(OK + b"Content-Length: 0\r\n\r\n")
        self.assertEqual((sent.taker.ends, sent.exchange.origin, peer.down), (1, ORIGIN, False))

    def test_aBodyOfUnknownLengthIsChunkedWithoutItsTrailers(self) -> None:
        body = Body(None)
        _, peer = Upstream().exchange(b"POST", body)
        self.assertTrue(peer.take().endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n"))
        for piece in (b"abc", b"", b"0123456789abcdef"):
            body.sink.data(piece)
        body.sink.end([(b"Authorization", b"sesame")])
        self.assertEqual(peer.take(), b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n")

    def test_aFullTransportPausesTheClient(self) -> None:
        body = Body(None)
        _, peer = Upstream().exchange(b"POST", body)
        assert peer.producer is not None
        peer.producer.pauseProducing()
        self.assertTrue(body.paused)
        peer.producer.resumeProducing()
        self.assertFalse(body.paused)

    def test_aLostBodyAbortsTheUpstream(self) -> None:
        for length in (6, None):
            body = Body(length)
            sent, peer = Upstream().exchange(b"POST", body)
            body.sink.data(b"abc")
            peer.take()
            body.sink.lost()
            self.assertTrue(peer.aborted)
            self.assertEqual(peer.take(), b"")
            assert sent.failure is not None
            self.assertEqual(sent.failure.kind, "aborted")

    def test_aDeadUpstreamReleasesTheClient(self) -> None:
        body = Body(10)
        sent, peer = Upstream().exchange(b"POST", body)
        assert peer.producer is not None
        peer.producer.pauseProducing()
        peer.rst()
        self.assertFalse(body.paused)
        body.sink.data(b"abc")
        body.sink.lost()
        assert sent.failure is not None
        self.assertEqual((sent.failure.kind, sent.failure.sent, sent.failure.answered), ("closed", True, False))


class EarlyAnswerTests(SynchronousTestCase):
    def test_anAnswerIsDeliveredBeforeTheUploadEnds(self) -> None:
        body = Body(6)
        upstream = Upstream()
        sent, peer = upstream.exchange(b"POST", body)
        peer.says(OK + b"Content-Length: 4\r\n\r\nea")
        self.assertEqual(sent.taker.content, b"ea")
        body.sink.data(b"abc")
        peer.says(b"ly")
        self.assertEqual((sent.taker.content, sent.taker.ends), (b"ealy", 1))
        self.assertEqual((upstream.pool.idle, peer.down), (0, False))

    def test_theConnectionIsFreeWhenTheUpstreamHasTheWholeRequest(self) -> None:
        body = Body(6)
        upstream = Upstream()
        sent, peer = upstream.exchange(b"POST", body)
        peer.says(OK + b"Content-Length: 0\r\n\r\n")
        body.sink.data(b"abcdef")
        body.sink.end([])
        self.assertTrue(peer.take().endswith(b"abcdef"))
        self.assertEqual((upstream.pool.idle, sent.taker.ends), (1, 1))

    def test_anUploadThatEndsBadlyTakesTheConnectionWithIt(self) -> None:
        body = Body(6)
        upstream = Upstream()
        sent, peer = upstream.exchange(b"POST", body)
        peer.says(OK + b"Content-Length: 0\r\n\r\n")
        body.sink.lost()
        self.assertTrue(peer.aborted)
        self.assertEqual((sent.taker.ends, sent.taker.failure, upstream.pool.open), (1, None, 0))

    def test_anUploadThatNobodyTakesIsEndedByTheIdleClock(self) -> None:
        body = Body(6)
        upstream = Upstream()
        sent, peer = upstream.exchange(b"POST", body)
        peer.says(OK + b"Content-Length: 0\r\n\r\n")
        assert peer.producer is not None
        peer.producer.pauseProducing()
        upstream.reactor.wait(6)
        self.assertTrue(peer.aborted)
        self.assertEqual((sent.taker.ends, sent.taker.failure), (1, None))

    def test_aFinalAnswerWithCloseEndsTheUpload(self) -> None:
        body = Body(6)
        upstream = Upstream()
        sent, peer = upstream.exchange(b"POST", body)
        peer.says(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
        assert sent.head is not None
        self.assertEqual((sent.head.status, sent.taker.content, sent.taker.ends), (413, b"{}", 1))
        self.assertTrue(peer.aborted)
        peer.lost()
        body.sink.data(b"abc")
        self.assertEqual(sent.taker.ends, 1)

    def test_bytesBehindAnEarlyAnswerEndTheUpload(self) -> None:
        upstream = Upstream()
        sent, peer = upstream.exchange(b"POST", Body(6))
        peer.says(OK + b"Content-Length: 0\r\n\r\n")
        peer.says(b"POISON")
        self.assertEqual((peer.aborted, sent.taker.ends, upstream.pool.open), (True, 1, 0))

    def test_anUpstreamThatClosesInTheMiddleOfTheUploadIsAborted(self) -> None:
        upstream = Upstream()
        sent, peer = upstream.exchange(b"POST", Body(6))
        peer.says(OK + b"Content-Length: 0\r\n\r\n")
        peer.fin()
        self.assertEqual((peer.aborted, sent.taker.ends, sent.taker.failure, upstream.pool.open), (True, 1, None, 0))

    def test_aPausedEarlyAnswerDoesNotHoldUpTheConnection(self) -> None:
        body = Body(6)
        upstream = Upstream()
        sent, peer = upstream.exchange(b"POST", body)
        peer.says(OK + b"Content-Length: 4\r\n\r\nea")
        sent.exchange.pause()
        peer.says(b"ly")
        self.assertEqual((peer.paused, sent.taker.ends), (False, 1))

    def test_aLargeHeldBodyIsDroppedWithItsExchange(self) -> None:
        class Full(Peer):
            def write(self, data: bytes) -> None:
                super().write(data)
                if self.producer is not None:
                    self.producer.pauseProducing()

        upstream = Upstream()
        content = bytearray(SLICE * 3)
        sent = upstream.send(b"POST", content)
        _, _, factory = upstream.reactor.attempts.pop()
        peer = Full(factory.buildProtocol(None))
        peer.protocol.makeConnection(peer)
        written = len(peer.written)
        producer = peer.producer
        assert producer is not None
        sent.exchange.abort()
        producer.resumeProducing()
        peer.lost()
        self.assertEqual((len(peer.written), sent.exchange.body), (written, None))
        content.clear()  # nobody holds a view of it


class AnswerTests(SynchronousTestCase):
    def answer(self, *pieces: bytes, method: bytes = b"GET") -> tuple[Sent, Peer, Upstream]:
        upstream = Upstream()
        sent, peer = upstream.exchange(method)
        for piece in pieces:
            peer.says(piece)
        return sent, peer, upstream

    def test_aBodyOfGivenLengthEndsWithItsLastByte(self) -> None:
        sent, peer, upstream = self.answer(OK + b"Content-Length: 5\r\n\r\nhe", b"ll", b"o")
        self.assertEqual((sent.taker.content, sent.taker.trailers), (b"hello", []))
        self.assertEqual((upstream.pool.idle, peer.down), (1, False))

    def test_aChunkedBodyEndsWithItsTrailers(self) -> None:
        sent, _, upstream = self.answer(CHUNKED + b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\nX-T: v\r\n", b"\r\n")
        self.assertEqual((sent.taker.content, sent.taker.trailers), (b"hello", [(b"X-T", b"v")]))
        self.assertEqual(upstream.pool.idle, 1)

    def test_aBodyUntilTheCloseEndsWithFin(self) -> None:
        sent, peer, upstream = self.answer(b"HTTP/1.0 200 OK\r\n\r\nhe", b"llo")
        self.assertEqual((sent.taker.content, sent.taker.ends), (b"hello", 0))
        peer.fin()
        self.assertEqual((sent.taker.ends, sent.taker.failure), (1, None))
        self.assertEqual((upstream.pool.idle, upstream.pool.open, peer.down), (0, 0, True))

    def test_aReadIsOnePiece(self) -> None:
        sent, _, _ = self.answer(CHUNKED, b"2\r\nhe\r\n3\r\nllo\r\n", b"1\r\n!\r\n")
        self.assertEqual(sent.taker.pieces, [b"hello", b"!"])

    def test_bodiesAreForwardedAsTheyWereRead(self) -> None:
        sent, peer, _ = self.answer(OK + b"Content-Length: 100\r\n\r\n")
        piece = b"x" * 50
        peer.says(piece)
        self.assertIs(sent.taker.pieces[0], piece)

    def test_headAnd204And304HaveNoBody(self) -> None:
        for method, status in [(b"HEAD", 200), (b"GET", 204), (b"GET", 304)]:
            sent, peer, upstream = self.answer(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status, method=method)
            self.assertEqual((sent.taker.ends, sent.taker.content, upstream.pool.idle), (1, b"", 1))
            peer.says(b"EVIL!")
            self.assertTrue(peer.aborted)
            self.assertEqual(upstream.pool.open, 0)

    def test_bytesBehindAnAnswerAreDroppedWithTheConnection(self) -> None:
        for head in (b"Content-Length: 2\r\n\r\nok", b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"):
            sent, peer, upstream = self.answer(OK + head + OK + b"Content-Length: 6\r\n\r\nPOISON")
            self.assertEqual((sent.taker.content, sent.taker.ends), (b"ok", 1))
            self.assertEqual((peer.aborted, upstream.pool.idle, upstream.pool.open), (True, 0, 0))

    def test_interimAnswersArePassedOnAndBounded(self) -> None:
        heard: list[tuple[int, RawHeaders]] = []
        upstream = Upstream()
        sent, peer = upstream.exchange(on_interim=lambda status, headers: heard.append((status, headers)))
        peer.says(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
        self.assertEqual(heard, [(103, [(b"Link", b"</a>")])])
        peer.says(b"Content-Length: 2\r\n\r\nok")
        assert sent.head is not None
        self.assertEqual((sent.head.headers, sent.taker.content), ([(b"Content-Length", b"2")], b"ok"))
        sent, peer, _ = self.answer(b"HTTP/1.1 103 X\r\n\r\n" * 20000)
        assert sent.failure is not None
        self.assertEqual((sent.failure.kind, peer.aborted), ("protocol", True))

    def test_anInterimAnswerAloneIsNoAnswer(self) -> None:
        sent, peer, _ = self.answer(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        peer.fin()
        assert sent.failure is not None
        self.assertEqual((sent.failure.kind, sent.failure.answered), ("closed", True))

    def test_anUnaskedUpgradeIsAFailure(self) -> None:
        sent, peer, _ = self.answer(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: evil\r\n\r\n" + OK + b"\r\n")
        assert sent.failure is not None
        self.assertEqual((sent.failure.kind, peer.aborted), ("protocol", True))

    def test_anEndlessHeadIsCutOff(self) -> None:
        for blob in (b"X-A: y\r\n" * 8000, b"a" * 64000):
            sent, peer, _ = self.answer(OK, blob, blob)
            assert sent.failure is not None
            self.assertEqual((sent.failure.kind, peer.aborted), ("protocol", True))

    def test_aHeadCanDrip(self) -> None:
        data = OK + b"Content-Length: 2\r\n\r\nok"
        sent, _, _ = self.answer(*(data[at : at + 1] for at in range(len(data))))
        self.assertEqual((sent.taker.content, sent.taker.ends), (b"ok", 1))

    def test_aBadHeadFailsTheExchange(self) -> None:
        sent, peer, _ = self.answer(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert sent.failure is not None
        self.assertEqual(str(sent.failure), "protocol: both Content-Length and Transfer-Encoding")
        self.assertEqual((sent.failure.sent, sent.failure.answered, peer.aborted), (True, True, True))


class CutTests(SynchronousTestCase):
    def test_noCutLooksLikeAnEnd(self) -> None:
        for name, data in {
            "length": OK + b"Content-Length: 10\r\n\r\nhello",
            "length, nothing yet": OK + b"Content-Length: 10\r\n\r\n",
            "chunked": CHUNKED + b"5\r\nhello\r\n",
            "inside a chunk": CHUNKED + b"9\r\nhello",
            "inside the terminator": CHUNKED + b"5\r\nhello\r\n0\r\n",
        }.items():
            for end in ("fin", "rst"):
                sent, peer = Upstream().exchange()
                peer.says(data)
                getattr(peer, end)()
                assert sent.taker.failure is not None, name
                self.assertEqual((sent.taker.failure.kind, sent.taker.ends), ("cut", 1), name)

    def test_aResetEndsACloseDelimitedBodyBadly(self) -> None:
        sent, peer = Upstream().exchange()
        peer.says(OK + b"\r\nhello")
        peer.rst()
        assert sent.taker.failure is not None
        self.assertEqual(sent.taker.failure.kind, "cut")

    def test_badFramingInsideTheBodyIsAFailure(self) -> None:
        for tail in (b"zz\r\nhello\r\n0\r\n\r\n", b"3\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffffff\r\nx"):
            sent, peer = Upstream().exchange()
            peer.says(CHUNKED + b"5\r\nhello\r\n")
            peer.says(tail)
            assert sent.taker.failure is not None
            self.assertEqual((sent.taker.failure.kind, peer.aborted), ("protocol", True))

    def test_withoutAWholeHeadItIsClosed(self) -> None:
        for data, answered in [(b"", False), (b"HTTP/1.1 200 OK\r\nContent-Ty", True)]:
            for end in ("fin", "rst"):
                sent, peer = Upstream().exchange(b"POST", b"{}")
                if data:
                    peer.says(data)
                getattr(peer, end)()
                assert sent.failure is not None
                self.assertEqual((sent.failure.kind, sent.failure.sent), ("closed", True))
                self.assertEqual(sent.failure.answered, answered)


class HoldingTests(SynchronousTestCase):
    def test_aBodyWaitsForItsReceiver(self) -> None:
        sent, peer = Upstream().exchange(relay=False)
        peer.says(OK + b"Content-Length: 5\r\n\r\nhe")
        peer.says(b"llo")
        sent.exchange.relay(sent.taker)
        self.assertEqual((sent.taker.content, sent.taker.ends), (b"hello", 1))

    def test_aFailureWaitsForItsReceiver(self) -> None:
        sent, peer = Upstream().exchange(relay=False)
        peer.says(OK + b"Content-Length: 5\r\n\r\nhe")
        peer.rst()
        sent.exchange.relay(sent.taker)
        assert sent.taker.failure is not None
        self.assertEqual((sent.taker.content, sent.taker.failure.kind), (b"he", "cut"))

    def test_theUpstreamWaitsWhenMuchIsHeld(self) -> None:
        sent, peer = Upstream().exchange(relay=False)
        peer.says(OK + b"\r\n" + b"x" * 60000)
        self.assertFalse(peer.paused)
        peer.says(b"x" * 10000)
        self.assertTrue(peer.paused)
        sent.exchange.resume()
        self.assertTrue(peer.paused)
        sent.exchange.relay(sent.taker)
        self.assertFalse(peer.paused)
        self.assertEqual(len(sent.taker.content), 70000)

    def test_aPauseBeforeTheConnectionIsUpIsNone(self) -> None:
        upstream = Upstream()
        sent = upstream.send()
        sent.exchange.pause()
        peer = upstream.reactor.accept()
        self.assertFalse(peer.paused)

    def test_aReceiverThatPausesWhileItTakesWhatWasHeldStaysPaused(self) -> None:
        sent, peer = Upstream().exchange(relay=False)
        peer.says(OK + b"\r\n" + b"x" * 70000)
        sent.taker.data = lambda data: sent.exchange.pause()  # type: ignore[method-assign]  # a slow client
        sent.exchange.relay(sent.taker)
        self.assertTrue(peer.paused)
        sent.exchange.resume()
        self.assertFalse(peer.paused)

    def test_pauseAndResumeReachTheTransport(self) -> None:
        sent, peer = Upstream().exchange()
        peer.says(CHUNKED)
        sent.exchange.pause()
        self.assertTrue(peer.paused)
        sent.exchange.resume()
        self.assertFalse(peer.paused)

    def test_aPausedConnectionIsResumedBeforeItIsPooled(self) -> None:
        sent, peer = Upstream().exchange()
        peer.says(OK + b"Content-Length: 5\r\n\r\nhe")
        sent.exchange.pause()
        peer.says(b"llo")
        self.assertFalse(peer.paused)
        sent.exchange.pause()
        self.assertFalse(peer.paused)


class AbortTests(SynchronousTestCase):
    def test_abortingActsInTheSameTurnAndIsSilent(self) -> None:
        sent, peer = Upstream().exchange()
        peer.says(CHUNKED + b"5\r\nhello\r\n")
        sent.exchange.abort()
        self.assertTrue(peer.aborted)
        peer.lost()
        sent.exchange.abort()
        self.assertEqual((sent.taker.content, sent.taker.ends), (b"hello", 0))

    def test_abortingBeforeTheHeadFailsIt(self) -> None:
        sent, peer = Upstream().exchange()
        sent.exchange.abort()
        assert sent.failure is not None
        self.assertEqual((sent.failure.kind, peer.aborted), ("aborted", True))

    def test_cancellingTheHeadAborts(self) -> None:
        upstream = Upstream()
        exchange = upstream.pool.send(request())
        peer = upstream.reactor.accept()
        exchange.head.cancel()
        self.failureResultOf(exchange.head, CancelledError)
        self.assertTrue(peer.aborted)

    def test_abortingNeverTouchesAConnectionThatServesAnother(self) -> None:
        upstream = Upstream()
        first, peer = upstream.exchange()
        peer.says(OK + b"Content-Length: 0\r\n\r\n")
        second = upstream.send()
        first.exchange.abort()
        first.exchange.pause()
        self.assertEqual((peer.down, peer.paused), (False, False))
        peer.says(OK + b"Content-Length: 2\r\n\r\nok")
        self.assertEqual(second.taker.content, b"ok")

    def test_abortingOnAnInterimAnswerStopsTheRest(self) -> None:
        heard: list[int] = []

        def stop(status: int, headers: RawHeaders) -> None:
            heard.append(status)
            sent.exchange.abort()

        sent: Sent
        sent, peer = Upstream().exchange(on_interim=stop)
        peer.says(b"HTTP/1.1 103 X\r\n\r\n" * 3 + OK + b"Content-Length: 0\r\n\r\n")
        self.assertEqual(heard, [103])
        assert sent.failure is not None
        self.assertEqual((sent.failure.kind, peer.aborted), ("aborted", True))

    def test_abortingInsideTheDeliveryStopsIt(self) -> None:
        sent, peer = Upstream().exchange()
        sent.taker.data = lambda data: sent.exchange.abort()  # type: ignore[method-assign]  # the client left
        peer.says(CHUNKED)
        peer.says(b"5\r\nhello\r\n0\r\n\r\n")
        self.assertEqual((peer.aborted, sent.taker.ends), (True, 0))

    def test_abortingAnAnswerThatIsHereAsAWholeStopsItAndKeepsTheConnection(self) -> None:
        upstream = Upstream()
        sent, peer = upstream.exchange()
        sent.taker.data = lambda data: sent.exchange.abort()  # type: ignore[method-assign]  # the client left
        peer.says(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")
        self.assertEqual((peer.aborted, sent.taker.ends, upstream.pool.idle), (False, 0, 1))

    def test_abortingWithTheHeadStopsTheBody(self) -> None:
        upstream = Upstream()
        exchange = upstream.pool.send(request())
        exchange.head.addCallback(lambda head: exchange.abort())
        peer = upstream.reactor.accept()
        peer.says(OK + b"Content-Length: 6\r\n\r\nhello")
        self.assertTrue(peer.aborted)

    def test_whoeverWaitsForTheHeadFindsWhatCameWithIt(self) -> None:
        upstream = Upstream()
        exchange = upstream.pool.send(request())
        found: list[tuple[bytes, int]] = []

        def relay(head: object) -> None:
            taker = Taker()
            exchange.relay(taker)
            found.append((taker.content, taker.ends))

        exchange.head.addCallback(relay)
        upstream.reactor.accept().says(OK + b"Content-Length: 5\r\n\r\nhello")
        self.assertEqual(found, [(b"hello", 1)])

    def test_whatWasHeldIsNotDeliveredAfterAnAbort(self) -> None:
        for rest in (b"llo", b""):
            sent, peer = Upstream().exchange(relay=False)
            peer.says(OK + b"Content-Length: 5\r\n\r\nhe" + rest)
            sent.exchange.abort()
            sent.exchange.relay(sent.taker)
            self.assertEqual((sent.taker.content, sent.taker.ends), (b"", 0))


class ClockTests(SynchronousTestCase):
    def test_theFirstByteHasItsClock(self) -> None:
        upstream = Upstream()
        sent, peer = upstream.exchange()
        upstream.reactor.wait(9)
        self.assertIsNone(sent.failure)
        peer.says(b"HTTP/1.1 200 OK\r\n")  # half a head buys no time
        upstream.reactor.wait(2)
        assert sent.failure is not None
        self.assertEqual((sent.failure.kind, peer.aborted), ("first-byte-timeout", True))

    def test_aStalledBodyIsCut(self) -> None:
        upstream = Upstream()
        sent, peer = upstream.exchange()
        peer.says(CHUNKED + b"1\r\na\r\n")
        for _ in range(5):
            upstream.reactor.wait(3)
            peer.says(b"1\r\na\r\n")
        upstream.reactor.wait(5)
        assert sent.taker.failure is not None
        self.assertEqual((sent.taker.failure.kind, peer.aborted), ("idle-timeout", True))

    def test_theIdleClockStandsStillWhileTheClientIsSlow(self) -> None:
        upstream = Upstream()
        sent, peer = upstream.exchange()
        peer.says(CHUNKED + b"1\r\na\r\n")
        sent.exchange.pause()
        upstream.reactor.wait(60)
        self.assertIsNone(sent.taker.failure)
        sent.exchange.resume()
        upstream.reactor.wait(5)
        self.assertIsNotNone(sent.taker.failure)
        self.assertTrue(peer.aborted)

    def test_theFirstByteIsAwaitedFromTheEndOfTheUpload(self) -> None:
        upstream = Upstream()
        body = Body(3)
        sent, _ = upstream.exchange(b"POST", body)
        upstream.reactor.wait(60)
        self.assertIsNone(sent.failure)
        body.sink.data(b"abc")
        body.sink.end([])
        upstream.reactor.wait(9)
        self.assertIsNone(sent.failure)
        upstream.reactor.wait(2)
        assert sent.failure is not None
        self.assertEqual(sent.failure.kind, "first-byte-timeout")

    def test_anUpstreamThatTakesNothingIsNotWaitedForForEver(self) -> None:
        upstream = Upstream()
        body = Body(3)
        sent, peer = upstream.exchange(b"POST", body)
        assert peer.producer is not None
        peer.producer.pauseProducing()
        upstream.reactor.wait(11)
        self.assertIsNotNone(sent.failure)

    def test_theWholeHasAClockIfWanted(self) -> None:
        upstream = Upstream()
        sent, peer = upstream.exchange(clocks=Clocks(total=20))
        peer.says(CHUNKED)
        for _ in range(21):
            peer.says(b"1\r\na\r\n")
            upstream.reactor.wait(1)
        assert sent.taker.failure is not None
        self.assertEqual((sent.taker.failure.kind, peer.aborted), ("total-timeout", True))

    def test_zeroIsForEver(self) -> None:
        upstream = Upstream()
        sent, peer = upstream.exchange(clocks=Clocks(first_byte=0, idle=0))
        upstream.reactor.wait(2000)
        peer.says(CHUNKED)
        upstream.reactor.wait(2000)
        self.assertEqual((sent.failure, sent.taker.ends), (None, 0))

    def test_anInterimAnswerRestartsTheWait(self) -> None:
        upstream = Upstream()
        sent, peer = upstream.exchange()
        upstream.reactor.wait(8)
        peer.says(b"HTTP/1.1 102 Processing\r\n\r\n")
        upstream.reactor.wait(8)
        self.assertIsNone(sent.failure)


class PropertyTests(SynchronousTestCase):
    @settings(max_examples=100, deadline=None)
    @given(
        st.sampled_from(["length", "chunked", "close"]),
        st.lists(st.binary(min_size=1, max_size=30), max_size=6),
        st.integers(0, 2),
        st.lists(st.integers(1, 300), max_size=10),
    )
    def test_everyCutGivesTheSameAnswer(self, framing: str, pieces: list[bytes], interim: int, cuts: list[int]) -> None:
        content = b"".join(pieces)
        data = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * interim + OK + b"X-A: b\r\n"
        if framing == "length":
            data += b"Content-Length: %d\r\n\r\n" % len(content) + content
        elif framing == "chunked":
            data += b"Transfer-Encoding: chunked\r\n\r\n"
            data += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nX-T: v\r\n\r\n"
        else:
            data += b"\r\n" + content
        heard: list[int] = []
        sent, peer = Upstream().exchange(on_interim=lambda status, headers: heard.append(status))
        edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for start, stop in pairwise(edges):
            peer.says(data[start:stop])
        if framing == "close":
            self.assertEqual(sent.taker.ends, 0)
            peer.fin()
        assert sent.head is not None
        self.assertEqual((sent.head.status, sent.head.headers[0], heard), (200, (b"X-A", b"b"), [103] * interim))
        self.assertEqual((sent.taker.content, sent.taker.ends, sent.taker.failure), (content, 1, None))
        self.assertEqual(sent.taker.trailers, [(b"X-T", b"v")] if framing == "chunked" else [])

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    OK,
                    b"\r\n",
                    b"Content-Length: 3\r\n",
                    b"Transfer-Encoding: chunked\r\n",
                    b"abc",
                    b"3\r\n",
                    b"0\r\n\r\n",
                ]
            )
            | st.binary(max_size=20),
            max_size=10,
        )
    )
    def test_arbitraryAnswersNeitherRaiseNorLookComplete(self, pieces: list[bytes]) -> None:
        sent, peer = Upstream().exchange(b"POST", b"{}")
        said = b""
        for piece in pieces:
            if peer.down:
                break
            if piece:
                said += piece
                peer.says(piece)
        complete = sent.taker.ends == 1 and sent.taker.failure is None
        if complete:
            assert sent.head is not None
            body = said[said.index(b"\r\n\r\n") + 4 :]
            if sent.head.chunked:
                self.assertIn(b"0\r\n", body)
            else:
                self.assertEqual(body[: sent.head.length], sent.taker.content)
                self.assertEqual(len(sent.taker.content), sent.head.length)
        peer.rst()
        self.assertEqual((sent.failure is None) + (sent.taker.ends == 0), 1)
        if not complete and sent.head is not None:
            self.assertIsInstance(sent.taker.failure, UpstreamFailure)
