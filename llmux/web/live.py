"""The status page's server-sent events: what changed, a few times a second, to a few watchers that keep up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from llmux.headers import RawHeaders
from llmux.web.journal import KEPT, OPEN, Entry, Journal
from llmux.web.page import PROTECTION, event
from llmux.wire.request import Request

MOST_WATCHERS = 20
MOST_QUEUED = 512 * 1024  # bytes for a watcher whose connection is full
MOST_ROWS = 100  # changed rows in one event, and open ones that are looked at
TICK = 0.25
_SLOW = 4  # ticks from one look at the numbers and at open requests to the next
_QUIET = 60  # ticks without an event before a sign of life
_SIGN_OF_LIFE = b": still here\n\n"
_RETRY = b"retry: 3000\n\n"
_HEAD: RawHeaders = [(b"Content-Type", b"text/event-stream"), (b"X-Accel-Buffering", b"no"), *PROTECTION]


class Rendering(Protocol):
    """Makes the parts of the page; each is HTML with an id."""

    def rows(self, entries: Sequence[Entry]) -> list[str]:
        """The rows of requests."""

    def all_rows(self, count: int) -> str:
        """The whole list of requests."""

    def parts(self, token: str) -> list[str]:
        """The other parts that change, always the same number of them; a form carries `token`."""


class Watcher:
    """One open page. `allowed` says whether it may go on watching."""

    __slots__ = ("_paused", "_queue", "_queued", "_request", "allowed", "gone", "shown", "token")

    def __init__(self, request: Request, token: str, allowed: Callable[[], bool]) -> None:
        self.token = token
        self.allowed = allowed
        self.shown: list[str] = []
        self._request = request
        self._paused = False
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self.gone = False
        request.when_gone(self._leave)
        request.flow(self)

    def _leave(self) -> None:
        self.gone = True
        self._queue.clear()

    def send(self, data: bytes) -> None:
        """Send or queue; whoever does not keep up is let go, and its browser comes back later."""
        if self.gone:
            return
        if not self._paused:
            self._request.write(data)
            return
        self._queue.append(data)
        self._queued += len(data)
        if self._queued > MOST_QUEUED:
            self._leave()
            self._request.break_off()

    def finish(self) -> None:
        """End the stream in order."""
        if not self.gone:
            self._leave()
            self._request.flow(None)
            self._request.finish()

    def pause(self) -> None:
        """The connection is full."""
        self._paused = True

    def resume(self) -> None:
        """The connection has room again."""
        self._paused = False
        while self._queue and not self._paused and not self.gone:
            data = self._queue.popleft()
            self._queued -= len(data)
            self._request.write(data)


class Live:
    """All watchers. While there are none, no clock runs and the journal notes no changes."""

    log = Logger()

    def __init__(
        self, journal: Journal, rendering: Rendering, clock: IReactorTime, draining: Callable[[], bool]
    ) -> None:
        self._journal = journal
        self._rendering = rendering
        self._draining = draining
        self._watchers: list[Watcher] = []
        self._ticks = 0
        self._quiet = 0
        self._ticking = LoopingCall(self._tick)
        self._ticking.clock = clock

    @property
    def watchers(self) -> int:
        """How many pages are open."""
        return len(self._watchers)

    def join(self, request: Request, rows: int, token: str, allowed: Callable[[], bool]) -> bool:
        """Begin to send to a page, first everything as it is; False when there are too many watchers."""
        self._watchers = [watcher for watcher in self._watchers if not watcher.gone]
        if len(self._watchers) >= MOST_WATCHERS:
            return False
        request.start(200, _HEAD)
        watcher = Watcher(request, token, allowed)
        watcher.shown = self._rendering.parts(token)
        watcher.send(_RETRY + event([self._rendering.all_rows(rows), *watcher.shown]))
        self._watchers.append(watcher)
        self._journal.watched = True
        if not self._ticking.running:
            self._ticking.start(TICK, now=False)
        return True

    def _tick(self) -> None:
        try:
            self._look()
        except Exception:
            self.log.failure("while telling the watchers of the status page")
            for watcher in self._watchers:
                watcher.finish()

    def _look(self) -> None:
        draining = self._draining()
        for watcher in self._watchers:
            if draining or not watcher.allowed():
                watcher.finish()
        self._watchers = [watcher for watcher in self._watchers if not watcher.gone]
        if not self._watchers:
            self._ticking.stop()
            self._journal.watched = False
            self._journal.changed.clear()
            return
        self._ticks += 1
        slow = self._ticks % _SLOW == 0
        rows = self._rendering.rows(self._changed(slow))
        self._quiet = 0 if rows else self._quiet + 1
        told = event(rows) if rows else b""
        parts: dict[str, list[str]] = {}
        for watcher in self._watchers:
            if told:
                watcher.send(told)
            if slow:
                if watcher.token not in parts:
                    parts[watcher.token] = self._rendering.parts(watcher.token)
                self._show(watcher, parts[watcher.token])
            if self._quiet >= _QUIET:
                watcher.send(_SIGN_OF_LIFE)
        if self._quiet >= _QUIET:
            self._quiet = 0

    def _changed(self, slow: bool) -> list[Entry]:
        """Entries to be shown anew, oldest first: those that changed, and now and then those that are under way."""
        changed = self._journal.changed
        newest = self._journal.newest(MOST_ROWS)
        if slow:
            changed.update((entry.number, entry) for entry in newest if entry.outcome is OPEN)
        if not changed:
            return []
        numbers = sorted(changed)
        now, later = numbers[-MOST_ROWS:], numbers[:-MOST_ROWS]
        found = [changed[number] for number in now]
        # What is in the journal no more is on no page either.
        self._journal.changed = {number: changed[number] for number in later if number > newest[0].number - KEPT}
        return found

    def _show(self, watcher: Watcher, parts: list[str]) -> None:
        fresh = [part for part, shown in zip(parts, watcher.shown, strict=True) if part != shown]
        if fresh:
            watcher.shown = parts
            watcher.send(event(fresh))
