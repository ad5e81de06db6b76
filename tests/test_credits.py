"""The daily counter of paid requests."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.peers.credits import DailyCredits, MemoryLedger

MIDNIGHT = 1_790_035_200.0


class Days(SynchronousTestCase):
    """Counting by UTC day."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(MIDNIGHT - 10)
        self.ledger = MemoryLedger()
        self.credits = DailyCredits(self.clock.seconds, self.ledger)

    def test_aLimitPermitsSoManyRequestsADay(self) -> None:
        self.assertEqual([self.credits.charge(2) for _ in range(3)], [True, True, False])
        self.assertEqual((self.credits.spent(), self.credits.left(2)), (2, 0))
        self.clock.advance(10)
        self.assertEqual((self.credits.spent(), self.credits.left(2), self.credits.charge(2)), (0, 2, True))

    def test_withoutALimitEverythingIsCounted(self) -> None:
        self.assertTrue(all(self.credits.charge() for _ in range(5)))
        self.assertEqual((self.credits.spent(), self.credits.left(None)), (5, None))

    def test_aLimitOfZeroPermitsNothing(self) -> None:
        self.assertFalse(self.credits.charge(0))

    def test_aRequestThatNeverArrivedIsTakenBack(self) -> None:
        self.credits.charge()
        self.credits.refund()
        self.credits.refund()
        self.assertEqual(self.credits.spent(), 0)

    def test_oldDaysAreForgotten(self) -> None:
        for _ in range(30):
            self.credits.charge()
            self.clock.advance(86400)
        self.assertEqual((self.ledger.read("2026-09-21"), self.credits.spent()), (0, 0))

    def test_twoCountersCanShareALedger(self) -> None:
        self.credits.charge()
        self.assertEqual(DailyCredits(self.clock.seconds, self.ledger).spent(), 1)
