"""The usage ledger: what it sums up, how it is written, and that a full disk loses nothing."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from llmux.config.model import UsageConfig
from llmux.config.secret import Secret
from llmux.formats.events import Usage
from llmux.peers import store as store_module
from llmux.peers.ledger import MOST, MOST_ROWS_A_WRITE, NEW_NAMES_A_DAY, Ledger
from llmux.peers.names import LONGEST, OTHER, BoundedNames
from llmux.peers.store import Store, opened
from llmux.peers.usage_table import ADD, FORGET, Sums, report
from tests.end_to_end import eventually

NOON = 1_767_225_600.0 + 43_200  # 2026-01-01 12:00 UTC
KEY = Secret("sk-provider-0123456789")
USAGE = Usage(input=100, cache_read=60, cache_write=5, output=20, reasoning=8)


class Paper:
    """A store that keeps what it is given."""

    def __init__(self) -> None:
        self.failing = False
        self.written: list[tuple[str, tuple[Any, ...]]] = []

    def write(self, statement: str, parameters: Sequence[str | int | float | None] = ()) -> None:
        self.written.append((statement, tuple(parameters)))

    def rows(self) -> list[tuple[Any, ...]]:
        return [parameters for statement, parameters in self.written if statement == ADD]


def add(ledger: Ledger, model: str = "opus-9", **more: Any) -> None:
    given: dict[str, Any] = {"failed": False, "aborted": False, "usage": USAGE, "first_byte": 0.25, **more}
    key, client = given.pop("credential", KEY), given.pop("client", "client-key-0123456789")
    ledger.add("LOCAL_PROVIDER", given.pop("provider", "own"), model, key, client, **given)


class SummingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOON)
        self.paper = Paper()
        self.ledger = Ledger(self.paper, self.clock)

    def rows(self) -> list[tuple[Any, ...]]:
        self.clock.advance(1.0)
        return self.paper.rows()

    def test_requestsOfOnePlaceAreOneRow(self) -> None:
        add(self.ledger)
        add(self.ledger, first_byte=1.5)
        add(self.ledger, failed=True, usage=None, first_byte=None)
        add(self.ledger, aborted=True, usage=Usage(), first_byte=0.125)
        self.assertEqual(self.ledger.unwritten, 4)
        place = ("2026-01-01", "LOCAL_PROVIDER", "own", "opus-9", "sk-p...6789", "clie...6789")
        sums = Sums(4, 1, 1, 2, 200, 120, 10, 40, 16, 3, 1_875_000, 1_500_000)
        self.assertEqual(self.rows(), [(*place, *sums)])
        self.assertEqual(self.ledger.unwritten, 0)

    def test_everyParticularMakesARowOfItsOwn(self) -> None:
        add(self.ledger)
        add(self.ledger, provider="other")
        add(self.ledger, "mini")
        add(self.ledger, credential=None)
        add(self.ledger, client=None)
        self.clock.advance(43_200)
        add(self.ledger)
        places = [row[:6] for row in self.rows()]
        self.assertEqual(len(set(places)), 6)
        self.assertEqual({place[0] for place in places}, {"2026-01-01", "2026-01-02"})
        self.assertIn("", {place[4] for place in places})
        self.assertIn("", {place[5] for place in places})

    def test_noKeyReachesTheStore(self) -> None:
        add(self.ledger)
        self.rows()
        self.assertNotIn("0123456789", repr(self.paper.written))

    def test_aQuietLedgerHasNoTimer(self) -> None:
        add(self.ledger)
        self.rows()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_absurdCountsAreCut(self) -> None:
        for _ in range(3):
            add(self.ledger, usage=Usage(input=1 << 53, output=0), first_byte=-5.0)
        row = self.rows()[0]
        self.assertEqual((row[10], row[16]), (MOST, 0))

    def test_madeUpNamesCannotFillTheDisk(self) -> None:
        for number in range(3 * NEW_NAMES_A_DAY):
            add(self.ledger, f"made-up-{number}", failed=True)
        add(self.ledger, "real")
        add(self.ledger, "x" * 100_000)
        add(self.ledger, "bad\nname\ud800")
        models = {row[3] for row in self.rows()}
        self.assertEqual(len(models), NEW_NAMES_A_DAY + 4)
        self.assertTrue({OTHER, "real", "x" * LONGEST, "bad\\nname\\ud800"} <= models)

    def test_oldDaysAreForgottenWithTheFirstRequestOfADay(self) -> None:
        self.ledger.configure(UsageConfig(retention_days=30))
        for _ in range(2):
            add(self.ledger)
            self.clock.advance(1)
            add(self.ledger)
            self.clock.advance(86_400)
        forgotten = [parameters for statement, parameters in self.paper.written if statement == FORGET]
        self.assertEqual([first for first, *_ in forgotten], ["2025-12-02", "2025-12-03"])

    def test_aLedgerThatIsSwitchedOffCountsNothing(self) -> None:
        self.ledger.configure(UsageConfig(enabled=False))
        add(self.ledger)
        self.ledger.close()
        self.assertEqual((self.paper.written, self.clock.getDelayedCalls()), ([], []))

    def test_rowsStayInMemoryWhileTheDiskIsFull(self) -> None:
        self.paper.failing = True
        for second in range(600):
            add(self.ledger, f"model-{second % 3}")
            self.clock.advance(1.0)
        self.assertEqual((self.paper.rows(), self.ledger.unwritten), ([], 600))
        self.paper.failing = False
        self.assertEqual(sum(row[6] for row in self.rows()), 600)
        self.assertEqual(len(self.paper.rows()), 3)

    def test_theStoreIsNotFloodedAtOnce(self) -> None:
        for number in range(2 * MOST_ROWS_A_WRITE + 1):
            add(self.ledger, client=f"client-{number:030}")
        written = []
        for _ in range(3):
            self.clock.advance(1.0)
            written.append(len(self.paper.rows()))
        self.assertEqual(written, [MOST_ROWS_A_WRITE, 2 * MOST_ROWS_A_WRITE, 2 * MOST_ROWS_A_WRITE + 1])

    def test_theEndHandsEverythingOver(self) -> None:
        self.paper.failing = True
        add(self.ledger)
        self.ledger.close()
        self.assertEqual((len(self.paper.rows()), self.clock.getDelayedCalls()), (1, []))


class NamesTests(SynchronousTestCase):
    def test_servedNamesKeepTheirPlaces(self) -> None:
        names = BoundedNames(2, 1)
        self.assertEqual([names.name(name, True) for name in ("a", "b", "c", "a")], ["a", "b", OTHER, "a"])
        self.assertEqual([names.name(name, False) for name in ("x", "y", "b")], ["x", OTHER, "b"])
        names.renew()
        self.assertEqual([names.name(name, False) for name in ("y", "x", "a")], ["y", OTHER, "a"])


class FileTests(TestCase):
    """With the real store and its thread."""

    timeout = 30

    def setUp(self) -> None:
        self.path = Path(self.mktemp()) / "state" / "usage.sqlite"
        self.clock = Clock()
        self.clock.advance(NOON)
        self.patch(store_module, "RETRY_SECONDS", 0.1)
        self.errors: list[str] = []

    def start(self) -> None:
        from twisted.internet import reactor

        self.store = Store(self.path, reactor.callFromThread)  # type: ignore[attr-defined]  # the real reactor
        self.ledger = Ledger(self.store, self.clock)

    def stop(self) -> Deferred[None]:
        self.ledger.close()
        return self.store.close()

    def sums(self, *by: str) -> dict[tuple[str, ...], Sums]:
        with closing(sqlite3.connect(self.path)) as connection:
            return {line.names: line.sums for line in report(connection, by or ("model",))}

    async def test_rowsOfSeveralWritesAndProcessesAddUp(self) -> None:
        for _ in range(2):
            self.start()
            for _ in range(5):
                add(self.ledger)
                self.clock.advance(1.0)
            add(self.ledger, "mini", usage=None)
            await self.stop()
        opus = Sums(10, 0, 0, 10, 1000, 600, 50, 200, 80, 10, 2_500_000, 250_000)
        mini = Sums(2, 0, 0, 0, 0, 0, 0, 0, 0, 2, 500_000, 250_000)
        self.assertEqual(self.sums(), {("opus-9",): opus, ("mini",): mini})

    async def test_aFullDiskIsToldOnceAndLosesNoRequest(self) -> None:
        with closing(opened(self.path)) as connection:
            connection.execute("CREATE TABLE ballast (data BLOB)")
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
        real = opened

        def full(path: Path) -> sqlite3.Connection:
            connection = real(path)
            connection.execute(f"PRAGMA max_page_count = {pages}")
            return connection

        self.patch(store_module, "opened", full)
        self.start()
        told: list[str] = []
        self.patch(self.store, "log", Telling(told))
        clients = 0
        while not self.store.failing:
            for _ in range(50):
                clients += 1
                add(self.ledger, client=f"c{clients:03}" + "-" * 30 + f"{clients:04}")
            self.clock.advance(1.0)
            await self.store.read("SELECT 1")  # behind the writes
            self.assertLess(clients, 5000)
        for _ in range(100):
            add(self.ledger)
            self.clock.advance(1.0)
        self.assertEqual(told, ["error"])
        self.patch(store_module, "opened", real)
        await eventually(lambda: not self.store.failing, what="the disk")
        self.clock.advance(1.0)
        await self.stop()
        self.assertEqual(told, ["error", "info"])
        self.assertEqual(sum(sums.requests for sums in self.sums().values()), clients + 100)
        self.assertEqual(len(self.sums("client")), clients + 1)

    async def test_aFolderThatDisappearsIsMadeAnew(self) -> None:
        self.start()
        add(self.ledger)
        await self.stop()
        shutil.rmtree(self.path.parent)
        self.path.parent.write_bytes(b"in the way")
        self.start()
        self.patch(self.store, "log", Telling([]))
        add(self.ledger)
        self.clock.advance(1.0)
        await eventually(lambda: self.store.failing, what="the failure")
        add(self.ledger)
        self.clock.advance(1.0)
        self.path.parent.unlink()
        await eventually(lambda: not self.store.failing, what="the folder")
        await self.stop()
        self.assertEqual(self.sums()["opus-9",].requests, 2)

    async def test_whatIsOldIsForgotten(self) -> None:
        self.start()
        add(self.ledger)
        self.clock.advance(400 * 86_400)
        add(self.ledger)
        self.clock.advance(86_400)
        add(self.ledger)
        await self.stop()
        self.assertEqual([names[0] for names in self.sums("day")], ["2027-02-05", "2027-02-06"])

    async def test_aClockThatIsFarAheadForADayCostsNoHistory(self) -> None:
        self.start()
        for days in (1, 5_000, -5_000, 1, 1):
            add(self.ledger)
            self.clock.advance(1.0)
            self.clock.rightNow += days * 86_400
        await self.stop()
        counted = [names[0] for names in self.sums("day")]
        self.assertEqual(counted, ["2026-01-01", "2026-01-02", "2026-01-03", "2039-09-11"])

    async def test_whatIsOldAfterAnIdleYearIsForgottenADayLater(self) -> None:
        self.start()
        for days in (5_000, 1, 1):
            add(self.ledger)
            self.clock.advance(1.0)
            self.clock.rightNow += days * 86_400
        await self.stop()
        self.assertEqual([names[0] for names in self.sums("day")], ["2039-09-10", "2039-09-11"])


class Telling:
    """A log that keeps only how loud it was."""

    def __init__(self, told: list[str]) -> None:
        self._told = told

    def error(self, form: str, **fields: object) -> None:
        self._told.append("error")

    def info(self, form: str, **fields: object) -> None:
        self._told.append("info")
