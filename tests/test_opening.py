"""The beginning of an answer, held back until it is known to be one."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.peers.disguise import Disguised
from llmux.peers.opening import BODY_PREFIX, Opening
from llmux.wire.outgoing import UpstreamFailure
from tests.calling import PlayedExchange, Reading

GOOD = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
ERROR = b'data: {"error":{"message":"busy","code":529}}\n\n'


class OpeningCase(SynchronousTestCase):
    """One answer, its opening, and a clock."""

    def begin(self, stream: bool = True, seconds: float = 2.0, most: int = 1000) -> None:
        """Look at a new answer."""
        self.clock = Clock()
        self.played = PlayedExchange()
        self.opening = Opening(self.played, stream, self.clock, seconds, most)

    def verdict(self) -> Disguised | None:
        """The verdict, which must be there."""
        return self.successResultOf(self.opening.verdict)

    def relayed(self) -> Reading:
        """Somebody to whom it is relayed."""
        reader = Reading()
        self.opening.relay(reader)
        return reader


class Streams(OpeningCase):
    """What the first event says."""

    def test_aFirstEventIsGood(self) -> None:
        for beginning in (GOOD, b"\xef\xbb\xbf" + GOOD, b": hello\n\n" + GOOD, b"event: ping\ndata: {}\n\n" + GOOD):
            self.begin()
            self.played.data(beginning)
            self.assertIsNone(self.verdict(), beginning)
            self.assertEqual(self.relayed().body, beginning)

    def test_whatIsNoEventStreamDoesNotWait(self) -> None:
        for beginning in (b"a", b"\x1f\x8b", b"datum", b"\n\n{", b"\xef\xbbx", b"event=a"):
            self.begin()
            self.played.data(beginning)
            self.assertIsNone(self.verdict(), beginning)
            self.assertEqual(self.relayed().body, beginning)

    def test_whatMayBecomeAnEventWaits(self) -> None:
        for beginning in (
            b"\xef",
            b"\xef\xbb\xbf",
            b"\r\n",
            b"d",
            b"data",
            b"event: x",
            b"retry: 5\n",
            b": hello",
            b"id:",
        ):
            self.begin()
            for byte in beginning:
                self.played.data(bytes([byte]))
            self.assertNoResult(self.opening.verdict)

    def test_anErrorThatComesFirstIsToldByEveryFormat(self) -> None:
        for event, status in (
            (ERROR, 529),
            (b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n', 529),
            (b'data: {"type":"error","error":{"type":"rate_limit_error"}}\n\n', 429),
            (b'event: response.failed\ndata: {"response":{"error":{"code":"server_error"}}}\n\n', 500),
            (b'data: {"type":"response.failed","response":{}}\n\n', 500),
            (b'data: {"error": {"code": 503, "status": "UNAVAILABLE"}}\r\n\r\n', 503),
            (b'data: {"error":{"code":"rate_limit_exceeded"}}\n\n', 429),
            (b'data: {"error":"no such thing"}\n\n', 500),
            (b'event: ping\ndata: {"type":"ping"}\n\nevent: error\ndata: {}\n\n', 500),
        ):
            self.begin()
            self.played.data(event)
            found = self.verdict()
            self.assertEqual(found.status if found else None, status, event)
            self.played.end()
            self.assertEqual(self.relayed().body, event)

    def test_anErrorThatComesLaterIsPassedOn(self) -> None:
        self.begin()
        self.played.data(GOOD + ERROR)
        self.assertIsNone(self.verdict())

    def test_anErrorInTheAnswersOwnWordsIsNone(self) -> None:
        self.begin()
        self.played.data(b'data: {"choices":[{"delta":{"content":"{\\"error\\": {}}"}}]}\n\n')
        self.assertIsNone(self.verdict())

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from((GOOD, ERROR)), st.lists(st.integers(0, 60), max_size=4))
    def test_theVerdictIsTheSameHoweverTheBytesAreCut(self, event: bytes, cuts: list[int]) -> None:
        self.begin()
        whole = b": a comment\n\n" + event + GOOD
        places = [0, *sorted(cuts), len(whole)]
        for begin, end in pairwise(places):
            self.played.data(whole[begin:end])
        self.assertEqual(self.verdict() is None, event is GOOD)
        self.assertEqual(self.relayed().body, whole)

    def test_nothingIsHeldForLongerThanTheTime(self) -> None:
        self.begin(seconds=2.0)
        self.played.data(b": only comments\n\n")
        self.clock.advance(1.9)
        self.assertNoResult(self.opening.verdict)
        self.clock.advance(0.1)
        self.assertIsNone(self.verdict())
        reader = self.relayed()
        self.played.data(ERROR)
        self.played.end()
        self.assertEqual((reader.body, reader.outcome), (b": only comments\n\n" + ERROR, "end"))

    def test_norMoreThanTheBytes(self) -> None:
        self.begin(most=100)
        self.played.data(b"data: " + b"x" * 93)
        self.assertNoResult(self.opening.verdict)
        self.played.data(b"x")
        self.assertIsNone(self.verdict())

    def test_whatBreaksOffBeforeTheFirstEventIsNoAnswer(self) -> None:
        self.begin()
        self.played.data(b"data: {")
        self.played.fail("cut")
        self.assertEqual(self.failureResultOf(self.opening.verdict, UpstreamFailure).value.kind, "cut")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_norIsAStreamThatEndsWithoutOne(self) -> None:
        self.begin()
        self.played.data(b": hello\n\n")
        self.played.end()
        self.failureResultOf(self.opening.verdict, UpstreamFailure)

    def test_whatBreaksOffLaterFailsWhereItIsRelayed(self) -> None:
        self.begin()
        self.played.data(GOOD)
        self.played.fail("cut")
        reader = self.relayed()
        self.assertEqual((reader.body, reader.outcome), (GOOD, "cut"))


class Bodies(OpeningCase):
    """What the first bytes say."""

    def test_anAnswerIsGoodAfterItsFirstBytes(self) -> None:
        self.begin(stream=False)
        self.played.data(b'{"id":"x",' + b" " * (BODY_PREFIX - 11))
        self.assertNoResult(self.opening.verdict)
        self.played.data(b" ")
        self.assertIsNone(self.verdict())

    def test_aShortAnswerIsGoodAtItsEnd(self) -> None:
        self.begin(stream=False)
        self.played.data(b'{"error":null}')
        self.assertNoResult(self.opening.verdict)
        self.played.end()
        self.assertIsNone(self.verdict())
        reader = self.relayed()
        self.assertEqual((reader.body, reader.outcome), (b'{"error":null}', "end"))

    def test_anErrorIsToldByItsShape(self) -> None:
        for body in (
            b'{"error":{"message":"no","code":503}}',
            b' {"type": "error", "error": {"type": "api_error"}}',
            b'[{"error":{"code":503}}]',
            b'{"error":"text"}',
        ):
            self.begin(stream=False)
            self.played.data(body)
            self.assertIsNotNone(self.verdict(), body)


class Flow(OpeningCase):
    """Who waits for whom."""

    def test_theProviderWaitsBetweenVerdictAndRelay(self) -> None:
        self.begin()
        self.played.data(GOOD)
        self.assertEqual(self.played.events, ["pause"])
        self.played.data(b"what was read already")
        reader = self.relayed()
        self.assertEqual(self.played.events, ["pause", "resume"])
        self.assertEqual(reader.body, GOOD + b"what was read already")

    def test_theReadersPauseIsObeyed(self) -> None:
        self.begin()
        self.played.data(GOOD)
        opening = self.opening

        class Slow(Reading):
            """Pauses at the first piece."""

            def data(self, data: bytes) -> None:
                super().data(data)
                opening.pause()

        self.opening.relay(Slow())
        self.assertEqual(self.played.events, ["pause", "pause"])
        self.opening.resume()
        self.assertEqual(self.played.events[-1], "resume")

    def test_aClientThatLeavesAbortsIt(self) -> None:
        self.begin()
        self.opening.verdict.cancel()
        self.failureResultOf(self.opening.verdict, CancelledError)
        self.assertEqual((self.played.events, self.clock.getDelayedCalls()), (["abort"], []))

    def test_aReaderThatGivesUpHearsNoMore(self) -> None:
        self.begin()
        self.played.data(GOOD)
        self.played.data(GOOD)
        opening = self.opening

        class Leaving(Reading):
            """Leaves at the first piece."""

            def data(self, data: bytes) -> None:
                super().data(data)
                opening.abort()

        reader = Leaving()
        self.opening.relay(reader)
        self.assertEqual((reader.body, self.played.events), (GOOD, ["pause", "abort"]))
