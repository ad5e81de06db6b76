"""Error answers that are read before they are passed on."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.peers.saved import ERROR_BODY, ERROR_SECONDS, SavedExchange
from tests.calling import PlayedExchange, Reading


class Saving(SynchronousTestCase):
    """One answer, its reader, and a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.played = PlayedExchange()
        self.saved = SavedExchange(self.played, self.clock)
        self.reading: Deferred[bytes] = Deferred.fromCoroutine(self.saved.read())

    def relayed(self) -> tuple[bytes, str]:
        """What somebody gets to whom it is relayed."""
        reader = Reading()
        self.saved.relay(reader)
        return reader.body, reader.outcome

    def test_aWholeBodyIsReadAndGivenOnce(self) -> None:
        self.played.data(b"one ")
        self.played.data(b"two")
        self.assertNoResult(self.reading)
        self.played.end()
        self.assertEqual(self.successResultOf(self.reading), b"one two")
        self.assertEqual(self.relayed(), (b"one two", "end"))
        self.assertEqual((self.played.events, self.clock.getDelayedCalls()), ([], []))

    def test_aBodyThatBreaksOffFailsAtItsEnd(self) -> None:
        self.played.data(b"one")
        self.played.fail("cut")
        self.assertEqual(self.relayed(), (b"one", "cut"))

    def test_aLongBodyWaitsAndIsGivenWhole(self) -> None:
        self.played.data(b"x" * ERROR_BODY)
        self.assertNoResult(self.reading)
        self.played.data(b"y")
        self.assertEqual(len(self.successResultOf(self.reading)), ERROR_BODY + 1)
        self.assertEqual(self.played.events, ["pause"])
        self.played.data(b"what was read already")
        reader = Reading()
        self.saved.relay(reader)
        self.assertEqual(self.played.events, ["pause", "resume"])
        self.played.data(b" and the rest")
        self.played.end()
        self.assertEqual((reader.body[ERROR_BODY:], reader.outcome), (b"ywhat was read already and the rest", "end"))

    def test_aSlowBodyIsWaitedForShortly(self) -> None:
        self.played.data(b"slow")
        self.clock.advance(ERROR_SECONDS)
        self.assertEqual(self.successResultOf(self.reading), b"slow")
        reader = Reading()
        self.saved.relay(reader)
        self.played.data(b"er")
        self.played.fail("idle-timeout")
        self.assertEqual((reader.body, reader.outcome), (b"slower", "idle-timeout"))

    def test_whatIsGivenUpEndsWhereItIs(self) -> None:
        self.played.data(b"slow")
        self.clock.advance(ERROR_SECONDS)
        self.saved.give_up()
        self.saved.give_up()
        self.assertEqual((self.played.events, self.relayed()), (["pause", "abort"], (b"slow", "cut")))

    def test_aCompleteBodyCannotBeGivenUp(self) -> None:
        self.played.data(b"all")
        self.played.end()
        self.saved.give_up()
        self.saved.abort()
        self.assertEqual(self.played.events, [])

    def test_aClientThatLeavesAbortsIt(self) -> None:
        self.reading.cancel()
        self.failureResultOf(self.reading, CancelledError)
        self.assertEqual((self.played.events, self.clock.getDelayedCalls()), (["abort"], []))

    def test_theReadersPauseIsObeyed(self) -> None:
        saved = self.saved

        class Slow(Reading):
            """Pauses at the first piece."""

            def data(self, data: bytes) -> None:
                super().data(data)
                saved.pause()

        self.played.data(b"slow")
        self.clock.advance(ERROR_SECONDS)
        self.saved.relay(Slow())
        self.assertEqual(self.played.events, ["pause", "pause"])
        self.saved.resume()
        self.assertEqual(self.played.events[-1], "resume")

    def test_aReaderThatGivesUpHearsNoMore(self) -> None:
        saved = self.saved

        class Leaving(Reading):
            """Leaves at the first piece."""

            def data(self, data: bytes) -> None:
                super().data(data)
                saved.abort()

        self.played.data(b"one")
        self.played.data(b"two")
        self.clock.advance(ERROR_SECONDS)
        reader = Leaving()
        self.saved.relay(reader)
        self.assertEqual((reader.body, reader.outcome, self.played.events), (b"one", "", ["pause", "abort"]))
