"""The soak in its short form; by hand, for longer: `python -m tests.soak`."""

from __future__ import annotations

from collections import Counter

from twisted.internet import reactor
from twisted.trial import unittest

from tests.soak import ROUTES, Plan, Soak, chat_events, dechunked

SECONDS = 5.0
PLAN = Plan(ROUTES[0], 3, None, None, 0)


def chunks(events: list[bytes], end: bytes = b"0\r\n\r\n") -> bytes:
    """An answer as the daemon sends it."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in events)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body + end


class SoakTests(unittest.TestCase):
    """Kills on both sides, through every kind of route."""

    timeout = 60

    async def test_streamsThatNobodyKilledArriveWholeAndNothingIsLeft(self) -> None:
        report = await Soak(reactor, 40, 1).run(SECONDS)
        self.assertEqual(report.wrong, [], str(report))
        for outcome in ("whole", "cut", "left by their clients", "answered with an error"):
            self.assertGreater(report.outcomes[outcome], 5, str(report))


class JudgeTests(unittest.SynchronousTestCase):
    """The judge sees what it is there for."""

    def setUp(self) -> None:
        self.soak = Soak(reactor, 1, 1)
        self.events = list(chat_events(3))

    def judged(self, plan: Plan, data: bytes) -> str:
        self.soak.judge(plan, data)
        return self.soak.report.wrong[-1] if self.soak.report.wrong else ""

    def test_wholeStreamsAreWhole(self) -> None:
        self.assertEqual(self.judged(PLAN, chunks(self.events)), "")
        self.assertEqual(self.soak.report.outcomes, Counter({"whole": 1}))

    def test_missingAndSwappedEventsAndMissingEndsAreSeen(self) -> None:
        self.assertIn("not whole", self.judged(PLAN, chunks(self.events, b"")))
        self.assertIn("not whole", self.judged(PLAN, chunks(self.events[:2] + self.events[3:])))
        self.assertIn("not whole", self.judged(PLAN, chunks(self.events[:-1])))
        self.assertIn("out of order", self.judged(PLAN, chunks([self.events[1], self.events[0], *self.events[2:]])))

    def test_aCutThatLooksCompleteIsSeen(self) -> None:
        dead = Plan(ROUTES[0], 3, 2, None, 0)
        self.assertEqual(self.judged(dead, chunks(self.events[:2], b"")), "")
        self.assertIn("looks whole", self.judged(dead, chunks(self.events[:2])))
        self.assertIn("no proper error", self.judged(dead, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))

    def test_anUnfinishedChunkedBodyIsNotComplete(self) -> None:
        self.assertEqual(dechunked(b"5\r\nhello\r\n0\r\n\r\n"), (b"hello", True))
        self.assertEqual(dechunked(b"5\r\nhello\r\n0\r\n"), (b"hello", False))
        self.assertEqual(dechunked(b"5\r\nhel"), (b"hel", False))
