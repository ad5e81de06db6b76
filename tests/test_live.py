"""What watchers of the status page are sent, when, and who is let go."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from llmux.routing.decision import RouteType, RoutingDecision
from llmux.web.journal import KEPT, Entry, Journal
from llmux.web.live import MOST_QUEUED, MOST_ROWS, MOST_WATCHERS, TICK, Live
from llmux.wire.channel import ServerChannel
from llmux.wire.request import Request
from tests.serving import Serving, get


class Answer:
    """A request as the journal sees it."""

    status = 200
    bytes_sent = 0
    gone = False
    broken = False


class Parts:
    """Renders entries as their numbers; `now` is the other part."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.now = "0"
        self.rendered = 0

    def rows(self, entries: Sequence[Entry]) -> list[str]:
        self.rendered += len(entries)
        return [f"{entry.number} {entry.outcome}" for entry in entries]

    def all_rows(self, count: int) -> str:
        return " ".join(str(entry.number) for entry in self.journal.newest(count))

    def parts(self, token: str) -> list[str]:
        return [f"{token} {self.now}", "still"]


class LiveCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()
        clock = self.serving.clock
        clock.advance(1_000_000)
        self.journal = Journal(clock.seconds)
        self.parts = Parts(self.journal)
        self.draining = False
        self.allowed = True
        self.live = Live(self.journal, self.parts, clock, lambda: self.draining)

    def ask(self, host: str = "127.0.0.1") -> tuple[ServerChannel, StringTransport, Request]:
        channel, transport = self.serving.connect(host)
        channel.dataReceived(get(b"/llmux/events"))
        return channel, transport, self.serving.requests[-1]

    def watch(
        self, token: str = "t", rows: int = 5, allowed: Callable[[], bool] | None = None
    ) -> tuple[ServerChannel, StringTransport]:
        channel, transport, request = self.ask()
        self.assertTrue(self.live.join(request, rows, token, allowed or (lambda: self.allowed)))
        return channel, transport

    def begin(self) -> Entry:
        decision = RoutingDecision(RouteType.LOCAL_PROVIDER, "m", "m", "p")
        return self.journal.begin(decision, "chat", Answer())

    def told(self, transport: StringTransport) -> list[list[str]]:
        """The events since the last call."""
        text: bytes = transport.value()
        transport.clear()
        return [json.loads(line[6:]) for line in text.replace(b"\r\n", b"\n").split(b"\n") if line[:5] == b"data:"]

    def wait(self, seconds: float = TICK) -> None:
        self.serving.wait(seconds)


class WatcherTests(LiveCase):
    def test_aPageIsSentEverythingAtFirst(self) -> None:
        for _ in range(7):
            self.begin()
        _, transport = self.watch(rows=3)
        self.serving.turn()
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertIn(b"Content-Type: text/event-stream", head)
        self.assertIn(b"Cache-Control: no-store", head)
        self.assertIn(b"retry: 3000\n\n", body)
        self.assertEqual(self.told(transport), [["7 6 5", "t 0", "still"]])

    def test_changesComeTogetherAtTheNextTickOldestFirst(self) -> None:
        _, transport = self.watch()
        self.told(transport)
        first, _ = self.begin(), self.begin()
        self.journal.end(first)
        self.assertEqual(self.told(transport), [])
        self.wait()
        self.assertEqual(self.told(transport), [["1 done", "2 open"]])
        self.wait()
        self.assertEqual(self.told(transport), [])

    def test_openRequestsAreLookedAtOnceASecond(self) -> None:
        _, transport = self.watch()
        entry = self.begin()
        self.wait()
        self.told(transport)
        self.wait(2 * TICK)
        self.assertEqual(self.told(transport), [])
        self.wait()
        self.assertEqual(self.told(transport), [["1 open"]])
        self.journal.end(entry)
        self.wait()
        self.told(transport)
        self.wait(2)
        self.assertEqual(self.told(transport), [])

    def test_onlyPartsThatChangedAreSent(self) -> None:
        _, one = self.watch("a")
        _, other = self.watch("b")
        self.told(one), self.told(other)
        self.wait(2)
        self.assertEqual((self.told(one), self.told(other)), ([], []))
        self.parts.now = "1"
        self.wait(1)
        self.assertEqual((self.told(one), self.told(other)), ([["a 1"]], [["b 1"]]))

    def test_aBurstComesInSeveralEventsAndNothingIsLost(self) -> None:
        _, transport = self.watch()
        entries = [self.begin() for _ in range(MOST_ROWS + 50)]
        for entry in entries:
            self.journal.end(entry)
        self.told(transport)
        self.wait(2 * TICK)
        first, second = self.told(transport)
        self.assertEqual((len(first), len(second)), (MOST_ROWS, 50))
        self.assertEqual((first[-1], second[0]), ("150 done", "1 done"))

    def test_aBurstThatNoPageCouldShowIsSkipped(self) -> None:
        _, transport = self.watch()
        for _ in range(3 * KEPT):
            self.journal.end(self.begin())
        self.told(transport)
        self.wait(20 * TICK)
        numbers = [int(row.split()[0]) for rows in self.told(transport) for row in rows]
        self.assertEqual(sorted(numbers), list(range(2 * KEPT + 1, 3 * KEPT + 1)))

    def test_aQuietStreamHasSignsOfLife(self) -> None:
        _, transport = self.watch()
        self.serving.turn()
        transport.clear()
        self.wait(16)
        self.assertEqual(transport.value().count(b": still here\n\n"), 1)
        self.wait(16)
        self.assertEqual(transport.value().count(b": still here\n\n"), 2)


class EndTests(LiveCase):
    def test_whileNobodyWatchesNothingRuns(self) -> None:
        channel, _ = self.watch()
        self.assertTrue(self.journal.watched)
        channel.connectionLost(None)  # type: ignore[arg-type]  # the reason is of no interest
        self.begin()
        self.wait()
        self.assertEqual((self.live.watchers, self.journal.watched, self.journal.changed), (0, False, {}))
        before = len(self.serving.clock.getDelayedCalls())
        self.wait(5)
        self.assertEqual(len(self.serving.clock.getDelayedCalls()), before)
        self.begin()
        self.assertEqual((self.journal.changed, self.parts.rendered), ({}, 0))
        self.watch()
        self.assertTrue(self.journal.watched)

    def test_thereAreOnlySoManyAndThoseWhoLeftMakeRoom(self) -> None:
        channels = [self.watch()[0] for _ in range(MOST_WATCHERS)]
        _, transport, request = self.ask()
        self.assertFalse(self.live.join(request, 5, "t", lambda: True))
        self.assertEqual((request.status, transport.value()), (0, b""))
        channels[3].connectionLost(None)  # type: ignore[arg-type]  # the reason is of no interest
        self.assertTrue(self.live.join(request, 5, "t", lambda: True))

    def test_whoMayWatchNoLongerIsSentTheEnd(self) -> None:
        permitted = [True]
        _, one = self.watch(allowed=lambda: permitted[0])
        _, other = self.watch()
        permitted[0] = False
        self.begin()
        self.told(one)
        self.wait()
        self.assertEqual((one.value(), self.live.watchers), (b"0\r\n\r\n", 1))
        self.assertIn(["1 open"], self.told(other))

    def test_aDrainEndsThemAll(self) -> None:
        transports = [self.watch()[1] for _ in range(3)]
        self.draining = True
        self.wait()
        self.assertEqual(self.live.watchers, 0)
        for transport in transports:
            self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))
        self.assertFalse(self.serving.server.busy)

    def test_aSlowOneIsSentTheRestWhenItCanTakeIt(self) -> None:
        channel, transport = self.watch()
        self.told(transport)
        channel.pauseProducing()
        self.begin()
        self.wait()
        self.begin()
        self.wait()
        self.assertEqual(self.told(transport), [])
        channel.resumeProducing()
        self.assertEqual(self.told(transport), [["1 open"], ["2 open"]])

    def test_aVerySlowOneIsLetGoAndTheOthersAreNot(self) -> None:
        slow, cut = self.watch("x" * 100_000)
        _, quick = self.watch()
        slow.pauseProducing()
        for number in range(MOST_QUEUED // 100_000 + 1):
            self.parts.now = str(number + 1)
            self.wait(1)
        self.assertTrue(cut.disconnecting or cut.disconnected)
        self.assertFalse(cut.value().endswith(b"0\r\n\r\n"))
        self.told(quick)
        self.begin()
        self.wait()
        self.assertEqual((self.told(quick)[0], self.live.watchers), (["1 open"], 1))

    def test_aFailureInRenderingEndsThePagesAndIsLogged(self) -> None:
        _, transport = self.watch()

        def broken(token: str) -> list[str]:
            raise ZeroDivisionError

        self.parts.parts = broken  # type: ignore[method-assign]  # that is the failure
        self.wait(1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.wait(1)
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))
        self.assertEqual((self.live.watchers, self.journal.watched), (0, False))
