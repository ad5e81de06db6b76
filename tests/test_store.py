"""Rows that outlive the process, and what happens when the disk fails."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase

from llmux.peers import store as module
from llmux.peers.credits import DailyCredits
from llmux.peers.store import MIGRATIONS, Store, StoredCredits, opened, state_file

reactor: Any = installed


class Places(SynchronousTestCase):
    """Which file belongs to which configuration."""

    def test_eachConfigurationHasAFileOfItsOwn(self) -> None:
        environ = {"XDG_STATE_HOME": "/state", "HOME": "/home/u"}
        one, two = state_file("/etc/a/llmux.yaml", environ), state_file("/etc/b/llmux.yaml", environ)
        self.assertNotEqual(one, two)
        self.assertEqual(one, state_file("/etc/a/../a/llmux.yaml", environ))
        self.assertEqual(one.parent, Path("/state/llmux"))
        self.assertTrue(one.name.startswith("llmux-") and one.name.endswith(".sqlite"), one.name)

    def test_withoutAStateHomeItIsBelowTheHomeFolder(self) -> None:
        wanted = Path("/home/u/.local/state/llmux/defaults.sqlite")
        self.assertEqual(state_file(None, {"HOME": "/home/u"}), wanted)
        self.assertEqual(state_file(None, {"HOME": "/home/u", "XDG_STATE_HOME": "not/absolute"}), wanted)


class StoreCase(TestCase):
    """A folder, and the stores of a test, which are closed when it is over."""

    timeout = 20

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="llmux-test-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.path = self.folder / "state" / "llmux" / "a.sqlite"
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def store(self) -> Store:
        """A store on the file, as the daemon makes one."""
        store = Store(self.path, reactor.callFromThread)
        self.addCleanup(store.close)
        return store

    def said(self, level: LogLevel = LogLevel.error) -> list[str]:
        """What the store said at a level."""
        return [
            str(event["path"])
            for event in self.events
            if event["log_level"] is level and event.get("log_namespace") == "llmux.peers.store.Store"
        ]

    def rows(self) -> list[tuple[str, int]]:
        """The counts in the file."""
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute("SELECT day, requests FROM credits ORDER BY day").fetchall()
        finally:
            connection.close()


class Surviving(StoreCase):
    """What was written is there again."""

    async def test_countsSurviveARestart(self) -> None:
        store = self.store()
        credits = DailyCredits(lambda: 1_790_000_000.0, StoredCredits(store))
        self.assertTrue(all(credits.charge(3) for _ in range(3)))
        credits.refund()
        await store.close()
        again = DailyCredits(lambda: 1_790_000_000.0, StoredCredits(self.store()))
        self.assertEqual((again.spent(), again.left(3)), (2, 1))
        self.assertEqual((again.charge(3), again.charge(3)), (True, False))
        self.assertEqual(DailyCredits(lambda: 1_790_086_400.0, StoredCredits(self.store())).spent(), 0)

    async def test_twoProcessesAddToTheSameDay(self) -> None:
        one, two = self.store(), self.store()
        first, second = StoredCredits(one), StoredCredits(two)
        for ledger in (first, second, first):
            ledger.add("2026-09-21", 1)
        await one.close()
        await two.close()
        self.assertEqual(StoredCredits(self.store()).read("2026-09-21"), 3)

    def test_twoProcessesMayMakeTheFileAtOnce(self) -> None:
        def make(number: int) -> None:
            together.wait()
            opened(self.path.parent / f"{number}" / "s.sqlite").close()

        with ThreadPoolExecutor(2) as threads:
            for number in range(100):
                together = threading.Barrier(2)
                for made in [threads.submit(make, number) for _ in range(2)]:
                    made.result(10)

    async def test_aCountNeverFallsBelowZero(self) -> None:
        store = self.store()
        ledger = StoredCredits(store)
        self.assertEqual(ledger.add("2026-09-21", -1), 0)
        self.assertEqual(ledger.add("2026-09-21", 1), 1)
        self.assertEqual(ledger.add("2026-09-21", -5), 0)
        await store.close()
        self.assertEqual(self.rows(), [("2026-09-21", 0)])

    async def test_aReadSeesWhatWasWrittenBeforeIt(self) -> None:
        store = self.store()
        StoredCredits(store).add("2026-09-21", 4)
        self.assertEqual(await store.read("SELECT requests FROM credits"), [(4,)])

    async def test_manyWritesAreFewTransactions(self) -> None:
        store = self.store()
        ledger = StoredCredits(store)
        began = time.perf_counter()
        for _ in range(2000):
            ledger.add("2026-09-21", 1)
        self.assertLess(time.perf_counter() - began, 0.5)
        await store.close()
        self.assertEqual(self.rows(), [("2026-09-21", 2000)])

    async def test_onlyTheOwnerMayReadTheFile(self) -> None:
        store = self.store()
        StoredCredits(store).add("2026-09-21", 1)
        await store.close()
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.path.parent.stat().st_mode & 0o777, 0o700)


class Quiet(StoreCase):
    """A daemon that has nothing to keep leaves no trace."""

    async def test_nothingIsOpenedBeforeItIsNeeded(self) -> None:
        store = self.store()
        self.assertEqual(StoredCredits(store).read("2026-09-21"), 0)
        await store.close()
        self.assertFalse(self.path.parent.exists())
        self.assertNotIn("llmux-store", [thread.name for thread in threading.enumerate()])

    async def test_whatComesAfterTheEndIsDropped(self) -> None:
        store = self.store()
        await store.close()
        store.write("DELETE FROM credits")
        await self.assertFailure(store.read("SELECT 1"), sqlite3.ProgrammingError)
        await store.close()
        self.assertFalse(self.path.exists())


class Failing(StoreCase):
    """A disk that fails costs nothing but the memory of the next start."""

    def setUp(self) -> None:
        super().setUp()
        for name, value in (("RETRY_SECONDS", 0.05), ("LOCK_SECONDS", 0.1), ("GATHER_SECONDS", 0.0)):
            change = mock.patch.object(module, name, value)
            change.start()
            self.addCleanup(change.stop)

    async def settled(self, over: Any) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + 10
        while not over():
            self.assertLess(time.monotonic(), deadline)
            turn: Deferred[None] = Deferred()
            reactor.callLater(0.01, turn.callback, None)
            await turn

    async def test_aFullDiskIsSaidOnceAndMadeUpForLater(self) -> None:
        real, full = module.opened, [True]

        def limited(path: Path) -> sqlite3.Connection:
            connection = real(path)
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
            if full[0]:
                connection.execute(f"PRAGMA max_page_count = {pages}")
            return connection

        self.patch(module, "opened", limited)
        store = self.store()
        ledger = StoredCredits(store)
        for number in range(3000):
            store.write("INSERT INTO credits VALUES (?, 1)", (f"day-{number:05}",))
        await self.settled(lambda: self.said())
        self.assertEqual((ledger.add("day-00000", 1), len(self.said())), (1, 1))
        full[0] = False
        await self.settled(lambda: not store.failing)
        self.assertEqual(len(self.said(LogLevel.info)), 1)
        await store.close()
        found = dict(self.rows())
        self.assertEqual((len(found), found["day-02999"], found["day-00000"]), (3000, 1, 2))

    async def test_aFolderThatCannotBeMadeIsSaidOnce(self) -> None:
        (self.folder / "state").write_text("not a folder")
        store = self.store()
        ledger = StoredCredits(store)
        for _ in range(3):
            ledger.add("2026-09-21", 1)
            await self.settled(lambda: self.said())
        self.assertEqual((ledger.read("2026-09-21"), len(self.said())), (3, 1))
        await store.close()

    async def test_aLockedFileDelaysNobody(self) -> None:
        opened(self.path).close()
        locking = sqlite3.connect(self.path, isolation_level=None)
        locking.execute("BEGIN IMMEDIATE")
        store = self.store()
        ledger = StoredCredits(store)
        began = time.perf_counter()
        ledger.add("2026-09-21", 1)
        self.assertLess(time.perf_counter() - began, 0.05)
        await self.settled(lambda: store.failing)
        locking.execute("ROLLBACK")
        locking.close()
        await self.settled(lambda: not store.failing)
        self.assertEqual(self.rows(), [("2026-09-21", 1)])

    async def test_aFileThatIsNoDatabaseIsLeftAlone(self) -> None:
        self.path.parent.mkdir(parents=True)
        self.path.write_bytes(b"precious, and not a database at all\n" * 100)
        before = self.path.read_bytes()
        store = self.store()
        ledger = StoredCredits(store)
        self.assertEqual(ledger.add("2026-09-21", 2), 2)
        await store.close()
        self.assertEqual((self.path.read_bytes(), len(self.said())), (before, 1))

    async def test_aFileOfALaterVersionIsLeftAlone(self) -> None:
        connection = opened(self.path)
        connection.execute("INSERT INTO credits VALUES ('2026-09-21', 5)")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        connection.close()
        store = self.store()
        ledger = StoredCredits(store)
        self.assertEqual(ledger.read("2026-09-21"), 0)
        ledger.add("2026-09-21", 1)
        await store.close()
        self.assertEqual((self.rows(), len(self.said())), ([("2026-09-21", 5)], 1))

    async def test_aRowThatCannotBeStoredTakesNoOtherWithIt(self) -> None:
        store = self.store()
        store.write("INSERT INTO credits VALUES (?, ?)", ("2026-09-20", None))
        store.write("INSERT INTO credits VALUES (?, ?)", ("2026-09-20", 2**70))
        store.write("INSERT INTO credits VALUES (?, ?)", ("2026-09-21", 1))
        await store.close()
        self.assertEqual((self.rows(), store.failing, bool(self.said())), ([("2026-09-21", 1)], False, True))


class Growing(StoreCase):
    """Tables that a later version adds."""

    async def test_aNewStepIsTakenOnAnOldFileOnce(self) -> None:
        opened(self.path).close()
        self.patch(module, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE more (name TEXT)"))
        store = self.store()
        store.write("INSERT INTO more VALUES (?)", ("a",))
        await store.close()
        self.assertEqual(self.store().load("SELECT name FROM more"), [("a",)])

    def test_aStepThatFailsLeavesTheFileAsItWas(self) -> None:
        opened(self.path).close()
        self.patch(module, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE more (name TEXT)", "CREATE TABLE nonsense"))
        self.assertRaises(sqlite3.OperationalError, opened, self.path)
        connection = sqlite3.connect(self.path)
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        version = connection.execute("PRAGMA user_version").fetchone()
        connection.close()
        self.assertEqual((tables, version), ([("credits",), ("usage",)], (len(MIGRATIONS),)))
        self.assertTrue(os.path.exists(self.path))
