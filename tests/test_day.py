"""A short day: the ledger is exact, no descriptor stays open, and memory does not run away."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.day import day


class DayTests(TestCase):
    timeout = 280

    async def test_aShortDayLeavesNothingBehind(self) -> None:
        found = await day(1500)
        self.assertEqual(found.problems, [])
        self.assertEqual(found.descriptors_after, found.descriptors_before)
        self.assertLess(found.growth, 0.25, "of so few requests much is still warming up")
