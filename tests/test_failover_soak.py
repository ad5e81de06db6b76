"""The short form of the failover soak."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.failover_soak import WAYS, Soak


class Short(TestCase):
    """A few seconds of it."""

    timeout = 100

    async def test_everyClientIsServedAndEveryRequestIsInTheLog(self) -> None:
        soak = Soak(seed=20260921)
        self.addCleanup(soak.daemon.stop)
        report = await soak.run(seconds=5.0, clients=64)
        self.assertEqual(report.wrong, [], report)
        self.assertGreater(report.answers["whole"], 100, report)
        self.assertEqual(len(report.seen), 6, report)
        met = {way for tries in soak.met.values() for _, way in tries}
        self.assertEqual(met, set(WAYS), report)
