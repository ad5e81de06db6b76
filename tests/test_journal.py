"""What the journal keeps of requests and of hours, and what it lets go of."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.errors import HTTPProblem
from llmux.formats.events import Usage
from llmux.routing.decision import RouteType, RoutingDecision
from llmux.web.journal import HOUR, HOURS, KEPT, LONGEST, WAITS, Entry, Hour, Journal, quantile

LOCAL, NOBODY = RouteType.LOCAL_PROVIDER, RouteType.NO_PROVIDER


class Answer:
    """A request as the journal sees it."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.bytes_sent = 0
        self.gone = False
        self.broken = False


class Count:
    """Somebody who knows the tokens so far."""

    def __init__(self, usage: Usage) -> None:
        self.usage = usage


def decision(model: str = "m-1", route: RouteType = LOCAL, reason: str = "m-1 is served by p") -> RoutingDecision:
    return RoutingDecision(route, model, model, "p" if route is LOCAL else None, reason=reason)


class JournalCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000 * HOUR + 60)
        self.journal = Journal(self.clock.seconds)

    def begin(self, answer: Answer | None = None, **about: object) -> Entry:
        return self.journal.begin(decision(**about), "chat", answer or Answer())  # type: ignore[arg-type]  # by name

    def hour(self) -> Hour:
        return self.journal.hours()[-1]


class EntryTests(JournalCase):
    def test_aRequestIsWrittenDownFromItsDecisionToItsEnd(self) -> None:
        answer = Answer()
        entry = self.begin(answer)
        self.assertEqual((entry.outcome, entry.provider, entry.first_byte, entry.duration), ("open", "p", None, None))
        self.clock.advance(0.5)
        self.journal.answering(entry, "q", "m-2", "p: 503")
        answer.bytes_sent = 10
        self.assertEqual((entry.first_byte, entry.provider, entry.resolved, entry.size), (0.5, "q", "m-2", 10))
        self.assertEqual(entry.reason, "m-1 is served by p; p: 503")
        self.clock.advance(1.5)
        answer.bytes_sent = 30
        self.journal.end(entry)
        answer.bytes_sent = 99
        self.assertEqual((entry.outcome, entry.status, entry.duration, entry.size), ("done", 200, 2.0, 30))

    def test_outcomesTellWhoEndedIt(self) -> None:
        for change, failure, outcome in (
            ({}, "", "done"),
            ({"status": 503}, "", "failed"),
            ({"status": 0}, "", "failed"),
            ({"gone": True}, "", "left"),
            ({"gone": True, "status": 0}, "", "left"),
            ({"broken": True}, "", "cut"),
            ({"broken": True, "gone": True}, "", "cut"),
            ({}, "no last words", "cut"),
        ):
            answer = Answer()
            for name, value in change.items():
                setattr(answer, name, value)
            entry = self.begin(answer)
            entry.failure = failure
            self.journal.end(entry)
            self.assertEqual(entry.outcome, outcome, change)
        self.assertEqual((self.hour().failed, self.hour().left, self.hour().cut), (2, 2, 3))

    def test_aProblemThatIsRaisedHasTheStatus(self) -> None:
        with self.assertRaises(HTTPProblem), self.begin(Answer(0), route=NOBODY) as entry:
            raise HTTPProblem(503, b"")
        self.assertEqual((entry.status, entry.outcome, entry.provider), (503, "failed", ""))

    def test_anythingElseThatIsRaisedIsAFailureWithoutAStatus(self) -> None:
        with self.assertRaises(ZeroDivisionError), self.begin(Answer(0)) as entry:
            raise ZeroDivisionError
        self.assertEqual((entry.status, entry.outcome), (0, "failed"))

    def test_theEndCountsOnce(self) -> None:
        with self.begin(Answer(500)) as entry:
            self.journal.end(entry)
            self.clock.advance(5)
        self.assertEqual((entry.duration, self.hour().failed), (0.0, 1))

    def test_tokensAreReadWhenSomebodyLooksAndKeptAtTheEnd(self) -> None:
        entry = self.begin()
        self.assertIsNone(entry.usage)
        counting = Count(Usage(input=5))
        entry.counting = counting
        self.assertEqual(entry.usage, Usage(input=5))
        counting.usage = Usage(input=5, cache_read=2, output=7)
        self.journal.end(entry)
        self.assertEqual((entry.usage, entry.counting), (Usage(input=5, cache_read=2, output=7), None))
        hour = self.hour()
        self.assertEqual((hour.input, hour.cached, hour.output), (5, 2, 7))

    def test_longTextsOfClientsAreCut(self) -> None:
        entry = self.begin(model="x" * 100_000, reason="y" * 100_000)
        for text in (entry.model, entry.resolved, entry.reason):
            self.assertEqual(len(text), LONGEST + 3)
        entry.tried("z" * 1000)
        self.assertEqual(len(entry.reason), LONGEST + 3)

    def test_aClockThatIsSetBackGivesNoNegativeTimes(self) -> None:
        entry = self.begin()
        entry.started += 50
        self.journal.answering(entry, "p", "m-1")
        self.journal.end(entry)
        self.assertEqual((entry.first_byte, entry.duration), (0.0, 0.0))


class RingTests(JournalCase):
    def test_theNewestComeFirstAndOldOnesGo(self) -> None:
        for _ in range(KEPT + 3):
            self.begin()
        numbers = [entry.number for entry in self.journal.newest()]
        self.assertEqual(numbers, list(range(KEPT + 3, 3, -1)))
        self.assertEqual([entry.number for entry in self.journal.newest(2)], [KEPT + 3, KEPT + 2])

    def test_nothingIsNotedWhileNobodyWatches(self) -> None:
        entry = self.begin()
        self.journal.answering(entry, "p", "m-1")
        self.journal.end(entry)
        self.assertEqual(self.journal.changed, {})

    def test_everyChangeIsNotedForWhoeverWatches(self) -> None:
        self.journal.watched = True
        entry = self.begin()
        self.assertEqual(self.journal.changed.pop(1), entry)
        self.journal.answering(entry, "p", "m-1")
        self.assertEqual(self.journal.changed.pop(1), entry)
        self.journal.end(entry)
        self.assertEqual(self.journal.changed, {1: entry})


class HourTests(JournalCase):
    def test_thereAre24HoursAndTheCurrentOneIsTheLast(self) -> None:
        self.assertEqual([hour.number for hour in self.journal.hours()], list(range(1000 - HOURS + 1, 1001)))
        self.assertEqual(sum(hour.requests for hour in self.journal.hours()), 0)

    def test_requestsAreCountedByRouteTypeInTheHourOfTheirDecision(self) -> None:
        self.begin()
        self.begin()
        self.clock.advance(HOUR)
        self.begin(route=NOBODY)
        before, now = self.journal.hours()[-2:]
        self.assertEqual((before.routes, before.requests), ({"LOCAL_PROVIDER": 2}, 2))
        self.assertEqual(now.routes, {"NO_PROVIDER": 1})

    def test_hoursOlderThanADayAreForgotten(self) -> None:
        for _ in range(100):
            self.begin()
            self.clock.advance(HOUR)
        self.assertEqual(sum(hour.requests for hour in self.journal.hours()), HOURS - 1)
        self.begin()
        self.assertEqual(len(self.journal._hours), 2 * HOURS)

    def test_aClockThatWasFarAheadCostsNoHours(self) -> None:
        self.begin()
        self.clock.rightNow += 5_000 * HOUR
        self.begin()
        self.assertEqual(sum(hour.requests for hour in self.journal.hours()), 1)
        self.clock.rightNow -= 5_000 * HOUR
        self.begin()
        self.assertEqual(sum(hour.requests for hour in self.journal.hours()), 2)

    def test_waitsAreKnownToATenthOfThemselves(self) -> None:
        for wait in (0.0011, 0.02, 0.5, 3.0, 77.0, 600.0):
            journal = Journal(self.clock.seconds)
            entry = journal.begin(decision(), "chat", Answer())
            self.clock.advance(wait)
            journal.answering(entry, "p", "m-1")
            found = journal.hours()[-1].wait(0.5)
            assert found is not None
            self.assertLess(abs(found - wait) / wait, 0.1, wait)

    def test_waitsOfAnyLengthHaveAClass(self) -> None:
        for wait in (0.0, 0.0005, 10.0**6):
            entry = self.begin()
            self.clock.rightNow += wait
            entry.started = self.clock.seconds() - wait
            self.journal.answering(entry, "p", "m-1")
        self.assertEqual(sum(sum(hour.waits) for hour in self.journal.hours()), 1)
        self.assertEqual(self.hour().waits[WAITS - 1], 1)

    def test_quantilesAreThoseOfTheCounts(self) -> None:
        self.assertIsNone(quantile([0, 0], 0.5))
        self.assertEqual(quantile([9, 1], 0.9), quantile([1, 0], 0.5))
        self.assertEqual(quantile([8, 2], 0.9), quantile([0, 1], 0.5))
