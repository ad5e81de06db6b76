"""Bodies are piped or held, within limits, and their clients wait when they must."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.headers import RawHeaders
from llmux.wire.body import BodyBudget, BodyLost, BodyTooLarge, RequestBody
from llmux.wire.server import ServerSettings
from tests.serving import GET, Serving, chunked, post


class Sink:
    """Records what is piped into it."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.ended: RawHeaders | None = None
        self.was_lost = 0

    def data(self, data: bytes) -> None:
        self.pieces.append(data)

    def end(self, trailers: RawHeaders) -> None:
        self.ended = trailers

    def lost(self) -> None:
        self.was_lost += 1


class PipeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()
        self.sink = Sink()

    def test_piecesArriveAsTheyCome(self) -> None:
        body = self.serving.receive(post(b"ab", length=5)).body
        body.pipe(self.sink)
        self.assertEqual((self.sink.pieces, body.received, body.complete, body.length), ([b"ab"], 2, False, 5))
        self.serving.receive(b"cd")
        self.assertIsNone(self.sink.ended)
        self.serving.receive(b"e")
        self.assertEqual((self.sink.pieces, self.sink.ended, body.complete), ([b"ab", b"cd", b"e"], [], True))

    def test_aWholeBodyIsDeliveredAtOnce(self) -> None:
        self.serving.receive(post(b"ab")).body.pipe(self.sink)
        self.assertEqual((self.sink.pieces, self.sink.ended), ([b"ab"], []))

    def test_noBodyEndsAtOnce(self) -> None:
        for _ in range(2):
            sink = Sink()
            request = self.serving.receive(GET)
            request.body.pipe(sink)
            self.assertEqual((sink.pieces, sink.ended, request.body.length), ([], [], 0))
            request.respond(200, [])

    def test_chunksAreTakenApartAndTrailersKeptApart(self) -> None:
        request = self.serving.receive(chunked(b"2;x=y\r\nab\r\n1\r\n"))
        self.assertIsNone(request.body.length)
        request.body.pipe(self.sink)
        self.serving.receive(b"c\r\n0\r\nX-T: v\r\n\r\n")
        self.assertEqual((b"".join(self.sink.pieces), self.sink.ended), (b"abc", [(b"X-T", b"v")]))
        self.assertIsNone(request.header(b"x-t"))

    def test_aClientThatLeavesLosesTheBody(self) -> None:
        self.serving.receive(post(b"ab", length=5)).body.pipe(self.sink)
        self.serving.leave()
        self.assertEqual((self.sink.was_lost, self.sink.ended), (1, None))
        late = Sink()
        serving = Serving()
        body = serving.receive(post(b"ab", length=5)).body
        serving.leave()
        body.pipe(late)
        self.assertEqual((late.was_lost, late.ended), (1, None))

    def test_aBrokenFramingLosesTheBodyAndIsAnswered(self) -> None:
        request = self.serving.receive(chunked(b"2\r\nab\r\n"))
        request.body.pipe(self.sink)
        self.serving.receive(b"zz\r\n")
        self.assertEqual((self.sink.was_lost, self.sink.ended, request.gone), (1, None, True))
        self.assertTrue(self.serving.sent().startswith(b"HTTP/1.1 400 Bad Request\r\n"))

    def test_aBrokenFramingCutsAnAnswerThatHasBegun(self) -> None:
        request = self.serving.receive(chunked(b"2\r\nab\r\n"))
        gone: list[bool] = []
        request.when_gone(lambda: gone.append(True))
        request.start(200, [])
        self.serving.receive(b"zz\r\n")
        self.assertNotIn(b"0\r\n\r\n", self.serving.sent())
        self.assertEqual((self.serving.closed, gone), ("closed", [True]))

    def test_aBrokenFramingBesideTheHeadNeverReachesTheHandler(self) -> None:
        self.serving.receive(chunked(b"zz\r\n"))
        self.assertEqual(self.serving.requests, [])
        self.assertTrue(self.serving.sent().startswith(b"HTTP/1.1 400 Bad Request\r\n"))
        self.assertEqual(self.serving.server.busy, 0)

    def test_pausingStopsReadingAndTheClock(self) -> None:
        body = self.serving.receive(post(b"ab", length=5)).body
        body.pipe(self.sink)
        body.pause()
        self.assertEqual(self.serving.transport.producerState, "paused")
        self.serving.wait(200)
        body.resume()
        self.assertEqual((self.serving.transport.producerState, self.serving.closed), ("producing", "open"))
        self.serving.wait(50)
        self.assertEqual(self.serving.sent(), b"")
        self.serving.wait(12)
        self.assertTrue(self.serving.sent().startswith(b"HTTP/1.1 408 "))

    def test_aPausedBodyThatEndsLetsTheConnectionRead(self) -> None:
        request = self.serving.receive(post(b"ab", length=5))
        request.body.pipe(self.sink)
        request.body.pause()
        self.serving.receive(b"cde")
        self.assertEqual(self.serving.transport.producerState, "producing")

    def test_whatNobodyAskedForIsBounded(self) -> None:
        body = self.serving.receive(post(length=1 << 30)).body
        self.serving.receive(b"a" * 65535)
        self.assertEqual(self.serving.transport.producerState, "producing")
        self.serving.receive(b"b")
        self.assertEqual(self.serving.transport.producerState, "paused")
        body.pipe(self.sink)
        self.assertEqual(self.serving.transport.producerState, "producing")
        self.assertEqual(sum(map(len, self.sink.pieces)), 65536)

    def test_aBodyIsAskedForOnce(self) -> None:
        body = self.serving.receive(post(b"ab", length=5)).body
        body.pipe(self.sink)
        self.assertRaises(RuntimeError, body.pipe, self.sink)
        self.assertRaises(RuntimeError, body.collect, 10)

    @given(st.lists(st.binary(min_size=1, max_size=20), max_size=8), st.data())
    @settings(max_examples=60, deadline=None)
    def test_everyCutOfAChunkedBodyIsTheSameBody(self, chunks: list[bytes], data: st.DataObject) -> None:
        stream = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
        cut = data.draw(st.integers(0, len(stream)))
        serving, sink = Serving(), Sink()
        serving.receive(chunked(stream[:cut])).body.pipe(sink)
        serving.receive(stream[cut:] + GET)
        self.assertEqual((b"".join(sink.pieces), sink.ended), (b"".join(chunks), []))
        serving.requests[0].respond(200, [])
        self.assertEqual(serving.requests[1].uri, b"/a")


class ContinueTests(SynchronousTestCase):
    EXPECT = b"Expect: 100-continue\r\n"

    def setUp(self) -> None:
        self.serving = Serving()

    def test_theClientIsAskedToGoOnWhenTheBodyIsWanted(self) -> None:
        request = self.serving.receive(post(extra=self.EXPECT, length=2))
        self.assertEqual(self.serving.sent(), b"")
        collected = request.body.collect(10)
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 100 Continue\r\n\r\n")
        self.serving.receive(b"ab")
        self.assertEqual(self.successResultOf(collected), b"ab")
        request.respond(200, [])
        self.assertEqual(
            (self.serving.sent(), self.serving.closed), (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "open")
        )

    def test_chunkedBodiesToo(self) -> None:
        self.serving.receive(chunked(extra=self.EXPECT)).body.pipe(Sink())
        self.assertEqual(self.serving.sent(), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_aRefusalCostsNoUpload(self) -> None:
        request = self.serving.receive(post(extra=self.EXPECT, length=2))
        request.respond(401, [])
        self.assertEqual(
            self.serving.sent(), b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        self.serving.receive(GET)
        self.assertEqual(len(self.serving.requests), 1)

    def test_aTooLargeBodyIsNotAskedFor(self) -> None:
        request = self.serving.receive(post(extra=self.EXPECT, length=11))
        self.failureResultOf(request.body.collect(10), BodyTooLarge)
        self.assertEqual(self.serving.sent(), b"")

    def test_clientsThatDidNotWaitAreNotAsked(self) -> None:
        self.serving.receive(post(b"a", extra=self.EXPECT, length=2)).body.pipe(Sink())
        self.assertEqual(self.serving.sent(), b"")

    def test_whoIsWaitingOwesNothing(self) -> None:
        self.serving.receive(post(extra=self.EXPECT, length=2))
        self.serving.wait(100)
        self.assertEqual((self.serving.sent(), self.serving.closed), (b"", "open"))

    def test_nothingIsAskedForBehindAHead(self) -> None:
        request = self.serving.receive(post(extra=self.EXPECT, length=2))
        request.start(200, [])
        self.serving.sent()
        request.body.pipe(Sink())
        self.assertEqual(self.serving.sent(), b"")


class CollectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()

    def test_aWholeBodyIsThereAtOnce(self) -> None:
        body = self.serving.receive(post(b"abc")).body
        self.assertEqual(self.successResultOf(body.collect(3)), bytearray(b"abc"))
        self.assertEqual(self.serving.server.budget.held, 3)
        body.release()
        body.release()
        self.assertEqual(self.serving.server.budget.held, 0)

    def test_noBodyIsAnEmptyOne(self) -> None:
        self.assertEqual(self.successResultOf(self.serving.receive(GET).body.collect(0)), bytearray())

    def test_piecesGrowOneBuffer(self) -> None:
        request = self.serving.receive(post(b"ab", length=6))
        collected = request.body.collect(6)
        self.serving.receive(b"cd")
        self.assertNoResult(collected)
        self.serving.receive(b"ef")
        self.assertEqual(self.successResultOf(collected), bytearray(b"abcdef"))
        request.respond(200, [])
        self.assertEqual(self.serving.server.budget.held, 0)

    def test_theBufferHasLittleToSpare(self) -> None:
        size = 5_000_000
        request = self.serving.receive(post(length=size))
        collected = request.body.collect(size)
        for _ in range(0, size, 50_000):
            self.serving.receive(b"a" * 50_000)
        buffer = self.successResultOf(collected)
        self.assertEqual(len(buffer), size)
        self.assertLess(buffer.__sizeof__(), 1.3 * size)

    def test_aLengthBeyondTheLimitFailsAtOnce(self) -> None:
        request = self.serving.receive(post(length=7))
        self.failureResultOf(request.body.collect(6), BodyTooLarge)
        self.serving.receive(b"abc")
        request.respond(413, [])
        self.assertIn(b"Connection: close\r\n", self.serving.sent())
        self.assertEqual(self.serving.server.budget.held, 0)

    def test_chunksBeyondTheLimitFailWhenTheyCome(self) -> None:
        request = self.serving.receive(chunked(b"5\r\nhello\r\n"))
        collected = request.body.collect(6)
        self.serving.receive(b"1\r\na\r\n")
        self.assertNoResult(collected)
        self.serving.receive(b"1\r\nb\r\n")
        self.failureResultOf(collected, BodyTooLarge)
        self.assertEqual(self.serving.server.budget.held, 0)
        self.serving.receive(b"1\r\nb\r\n0\r\n\r\n")
        request.respond(413, [])
        self.assertTrue(self.serving.sent().startswith(b"HTTP/1.1 413 "))

    def test_chunksThatAreAlreadyTooManyFailAtOnce(self) -> None:
        request = self.serving.receive(chunked(b"5\r\nhello\r\n"))
        self.failureResultOf(request.body.collect(4), BodyTooLarge)

    def test_aClientThatLeavesLosesTheBody(self) -> None:
        request = self.serving.receive(post(b"ab", length=6))
        collected = request.body.collect(6)
        self.serving.leave()
        self.failureResultOf(collected, BodyLost)
        self.assertEqual(self.serving.server.budget.held, 0)
        serving = Serving()
        body = serving.receive(post(b"ab", length=6)).body
        serving.leave()
        self.failureResultOf(body.collect(6), BodyLost)

    def test_anAnswerBeforeTheEndGivesUpTheBody(self) -> None:
        request = self.serving.receive(post(b"ab", length=6))
        collected = request.body.collect(6)
        request.respond(400, [])
        self.failureResultOf(collected, BodyLost)
        self.assertEqual(self.serving.server.budget.held, 0)


class BudgetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving(settings=ServerSettings(buffered=10))

    def test_aClientWaitsUntilOthersAreReleased(self) -> None:
        first = self.serving.receive(post(b"a" * 8)).body
        self.successResultOf(first.collect(100))
        channel, transport = self.serving.connect()
        channel.dataReceived(post(b"b" * 4, length=8))
        second = self.serving.requests[-1].body
        collected = second.collect(100)
        self.assertEqual(transport.producerState, "paused")
        self.serving.requests[0].respond(200, [])
        self.assertEqual(transport.producerState, "producing")
        channel.dataReceived(b"b" * 4)
        self.assertEqual(len(self.successResultOf(collected)), 8)
        self.assertEqual(self.serving.server.budget.held, 8)

    def test_aPieceBeyondTheBudgetPauses(self) -> None:
        self.successResultOf(self.serving.receive(post(b"a" * 8)).body.collect(100))
        channel, transport = self.serving.connect()
        channel.dataReceived(post(b"b", length=8))
        self.serving.requests[-1].body.collect(100)
        self.assertEqual(transport.producerState, "producing")
        channel.dataReceived(b"b" * 2)
        self.assertEqual(transport.producerState, "paused")

    def test_thoseWhoWaitDoNotWaitForEachOther(self) -> None:
        transports, channels, collected = [], [], []
        for _ in range(3):
            channel, transport = self.serving.connect()
            channel.dataReceived(post(b"b" * 6, length=8))
            collected.append(self.serving.requests[-1].body.collect(100))
            channels.append(channel)
            transports.append(transport)
        self.assertEqual([t.producerState for t in transports], ["producing", "producing", "paused"])
        channels[0].dataReceived(b"b")
        self.assertEqual([t.producerState for t in transports], ["paused", "producing", "paused"])
        channels[1].dataReceived(b"bb")
        self.successResultOf(collected[1])
        self.assertEqual([t.producerState for t in transports][::2], ["paused", "paused"])
        self.serving.requests[1].respond(200, [])
        self.assertEqual([t.producerState for t in transports][::2].count("producing"), 1)

    def test_aWaitingClientMayLeave(self) -> None:
        self.successResultOf(self.serving.receive(post(b"a" * 8)).body.collect(100))
        channel, _ = self.serving.connect()
        channel.dataReceived(post(b"b" * 4, length=8))
        collected = self.serving.requests[-1].body.collect(100)
        channel.connectionLost(self.failureResultOf(_failed()))
        self.failureResultOf(collected, BodyLost)
        self.assertEqual(self.serving.server.budget.held, 8)

    def test_aLargerBudgetResumes(self) -> None:
        self.successResultOf(self.serving.receive(post(b"a" * 8)).body.collect(100))
        channel, transport = self.serving.connect()
        channel.dataReceived(post(b"b" * 4, length=8))
        self.serving.requests[-1].body.collect(100)
        self.serving.server.settings = ServerSettings(buffered=100)
        self.assertEqual(transport.producerState, "producing")

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=40), st.integers(1, 20))
    @settings(max_examples=80, deadline=None)
    def test_theBudgetComesBackWhole(self, steps: list[tuple[int, int]], total: int) -> None:
        budget = BodyBudget(total)
        bodies = [RequestBody(_Source(), None, budget) for _ in range(4)]
        for body in bodies:
            body.collect(30).addErrback(lambda _: None)
        for index, size in steps:
            if not bodies[index].complete:
                bodies[index].feed(b"a" * size)
                if size == 9:
                    bodies[index].finish([])
        for body in bodies:
            body.release()
        self.assertEqual(budget.held, 0)
        self.assertTrue(budget.take(bodies[0], total))


class _Source:
    def want_body(self) -> None:
        """Nobody waits."""

    def hold_body(self, hold: bool) -> None:
        """Nobody reads."""


def _failed():  # type: ignore[no-untyped-def]  # a Deferred that has failed
    from twisted.internet.defer import fail
    from twisted.internet.error import ConnectionLost

    return fail(ConnectionLost())
