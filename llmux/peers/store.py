"""What must survive a restart, in one small SQLite file per configuration (DESIGN 8).

A write never waits for the disk: it goes to a worker thread, which joins what has come together into one transaction.
When the disk fails, that is said once, everything goes on in memory, and what could not be written is tried again.
Counts are written as additions, so that the two processes of a restart under way can share the file.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from llmux.peers import usage_table

# The file's `user_version` is the number of steps that were taken; a new table is a new step at the end.
MIGRATIONS = (
    "CREATE TABLE credits (day TEXT PRIMARY KEY, requests INTEGER NOT NULL) WITHOUT ROWID",
    usage_table.TABLE,
)
GATHER_SECONDS = 0.1
RETRY_SECONDS = 30.0
MOST_PENDING = 20_000
LOCK_SECONDS = 2.0

# A statement that can never be carried out, which must not keep the others from it.
_IMPOSSIBLE = (
    sqlite3.ProgrammingError,
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    OverflowError,
    ValueError,
)

Parameters = Sequence[str | int | float | None]
Rows = list[tuple[Any, ...]]
InReactor = Callable[..., object]


def state_file(config_path: str | None, environ: Mapping[str, str]) -> Path:
    """The file of a configuration below the XDG state home; the built-in defaults have one of their own."""
    given = environ.get("XDG_STATE_HOME", "")
    home = Path(given) if os.path.isabs(given) else Path(environ.get("HOME") or "/", ".local", "state")
    if config_path is None:
        return home / "llmux" / "defaults.sqlite"
    path = os.path.abspath(config_path)
    return home / "llmux" / f"{Path(path).stem[:40]}-{hashlib.sha256(path.encode()).hexdigest()[:16]}.sqlite"


class Newer(sqlite3.Error):
    """The file was written by a later llmux."""


def opened(path: Path) -> sqlite3.Connection:
    """A connection to the file, which is made and brought up to date as needed; raises sqlite3.Error or OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)
    try:
        _write_ahead(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise Newer(f"its version is {version}, this llmux knows {len(MIGRATIONS)}")
        for step in MIGRATIONS[version:]:
            connection.execute(step)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def read_only(path: Path) -> sqlite3.Connection:
    """A connection for a command that looks on while the daemon writes, and makes no file; raises sqlite3.Error."""
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=LOCK_SECONDS)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; SQLite waits for no lock here, and two processes may make the file at once."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as problem:
            if problem.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class Store:
    """One file of rows that outlive the process; nothing is opened before it is needed.

    `in_reactor` calls a function in the reactor's thread. `load` is for the start, before the reactor runs; `write`
    and `read` go through the worker in their order. After `close` writes are dropped.
    """

    log = Logger()

    def __init__(self, path: Path, in_reactor: InReactor) -> None:
        self.path = path
        self._in_reactor = in_reactor
        self._queue: SimpleQueue[_Write | _Read | None] = SimpleQueue()
        self._worker: threading.Thread | None = None
        self._closed: Deferred[None] | None = None
        self.failing = False

    def load(self, query: str, parameters: Parameters = ()) -> Rows:
        """Rows of the file as it is now, none if there is no file or it cannot be read; blocks for a moment."""
        if not self.path.exists():
            return []
        try:
            with closing(opened(self.path)) as connection:
                return connection.execute(query, parameters).fetchall()
        except (sqlite3.Error, OSError) as problem:
            self._say_failing(str(problem))
            return []

    def write(self, statement: str, parameters: Parameters = ()) -> None:
        """Have one statement carried out before long; returns at once and never fails."""
        if self._closed is None:
            self._put((statement, tuple(parameters)))

    def read(self, query: str, parameters: Parameters = ()) -> Deferred[Rows]:
        """Rows, after everything that was written before; fails with sqlite3.Error or OSError."""
        found: Deferred[Rows] = Deferred()
        if self._closed is not None:
            found.errback(sqlite3.ProgrammingError("the store is closed"))
        else:
            self._put(_Read(query, tuple(parameters), found))
        return found

    def close(self) -> Deferred[None]:
        """Write what is left, and end the worker; fires when that is done, also when the disk fails."""
        done: Deferred[None] = Deferred()
        if self._worker is None or self._closed is not None:
            self._closed = self._closed or done
            done.callback(None)
            return done
        self._closed = done
        self._queue.put(None)
        return done

    def _put(self, work: _Write | _Read) -> None:
        self._queue.put(work)
        if self._worker is None:
            # Not before the first write: a thread does not survive the fork of a daemon.
            self._worker = threading.Thread(target=self._work, name="llmux-store", daemon=True)
            self._worker.start()

    # in the worker's thread

    def _work(self) -> None:
        file = _File(self.path)
        ending = False
        while not ending:
            ending, reads = self._gather(file)
            problem = file.write(last=ending)
            if problem is not None and not self.failing:
                self._in_reactor(self._say_failing, problem)
            elif problem is None and self.failing and not file.pending:
                self._in_reactor(self._say_working)
            if file.impossible:
                self._in_reactor(self._say_impossible, ", ".join(file.impossible))
                file.impossible = []
            for read in reads:
                self._in_reactor(read.fire, *file.read(read))
        file.close()
        closed = self._closed
        if closed is not None:
            self._in_reactor(closed.callback, None)

    def _gather(self, file: _File) -> tuple[bool, list[_Read]]:
        """Wait for something to do, then take everything that is there; True at the end."""
        reads: list[_Read] = []
        try:
            work = self._queue.get(timeout=RETRY_SECONDS if file.pending else None)
        except Empty:
            return False, reads
        wait = GATHER_SECONDS
        while True:
            if work is None:
                return True, reads
            if isinstance(work, _Read):
                reads.append(work)
                wait = 0.0
            else:
                file.add(work)
            if wait:
                time.sleep(wait)
                wait = 0.0
            try:
                work = self._queue.get_nowait()
            except Empty:
                return False, reads

    # in the reactor's thread

    def _say_failing(self, problem: str) -> None:
        if not self.failing:
            self.failing = True
            self.log.error("{path} cannot be used, going on in memory: {problem}", path=str(self.path), problem=problem)

    def _say_impossible(self, problems: str) -> None:
        self.log.error("{path}: rows were left out: {problems}", path=str(self.path), problems=problems)

    def _say_working(self) -> None:
        if self.failing:
            self.failing = False
            self.log.info("{path} is written again", path=str(self.path))


_Write = tuple[str, tuple[Any, ...]]


class _Read:
    """A question to the worker."""

    def __init__(self, query: str, parameters: tuple[Any, ...], found: Deferred[Rows]) -> None:
        self.query = query
        self.parameters = parameters
        self._found = found

    def fire(self, rows: Rows, problem: Exception | None) -> None:
        """Answer it."""
        if problem is None:
            self._found.callback(rows)
        else:
            self._found.errback(problem)


class _File:
    """The worker's end: the connection, and what has not been written yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._not_before = 0.0
        self.pending: deque[_Write] = deque(maxlen=MOST_PENDING)
        self.impossible: list[str] = []

    def add(self, work: _Write) -> None:
        """Keep a statement for the next transaction; of too many the oldest are lost."""
        self.pending.append(work)

    def write(self, last: bool) -> str | None:
        """Carry everything out in one transaction; the problem if that fails, and then all of it is still pending."""
        if not self.pending or (time.monotonic() < self._not_before and not last):
            return None
        try:
            connection = self._connect()
            connection.execute("BEGIN IMMEDIATE")
            for statement, parameters in self.pending:
                try:
                    connection.execute(statement, parameters)
                except _IMPOSSIBLE as problem:
                    self.impossible.append(type(problem).__name__)
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as problem:
            self.close()
            self._not_before = time.monotonic() + RETRY_SECONDS
            return str(problem)
        self.pending.clear()
        return None

    def read(self, asked: _Read) -> tuple[Rows, Exception | None]:
        """The rows, or the problem."""
        try:
            return self._connect().execute(asked.query, asked.parameters).fetchall(), None
        except (sqlite3.Error, OSError) as problem:
            return [], problem

    def _connect(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = opened(self._path)
        return self._connection

    def close(self) -> None:
        """Let go of the file; what was not committed is undone."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class StoredCredits:
    """The counts of paid requests by day, remembered over a restart; see `CreditLedger`."""

    _MOST_DAYS = 400

    def __init__(self, store: Store) -> None:
        self._store = store
        self._days: dict[str, int] = {
            str(day): int(requests)
            for day, requests in store.load(
                "SELECT day, requests FROM credits ORDER BY day DESC LIMIT ?", (self._MOST_DAYS,)
            )
        }

    def read(self, day: str) -> int:
        """Give the count of a day."""
        return self._days.get(day, 0)

    def add(self, day: str, requests: int) -> int:
        """Add to the count of a day."""
        before = self.read(day)
        self._days[day] = max(0, before + requests)
        while len(self._days) > self._MOST_DAYS:
            del self._days[min(self._days)]
        self._store.write(
            "INSERT INTO credits VALUES (?, max(0, ?)) ON CONFLICT (day) DO UPDATE SET requests = max(0, requests + ?)",
            (day, requests, requests),
        )
        return self.read(day)
