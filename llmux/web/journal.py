"""What happened lately, for the status page: the newest requests one by one, and sums for each hour of the last day.

All of it is in memory and bounded. A request costs three calls here, and a piece of an answer none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from math import log2
from typing import Protocol

from llmux.errors import HTTPProblem
from llmux.formats.events import Usage
from llmux.routing.decision import RoutingDecision

KEPT = 500
HOURS = 24
HOUR = 3600
LONGEST = 240  # characters kept of a text that a client or a provider can make as long as it likes
WAITS = 80
_WAITS_PER_DOUBLING = 4

OPEN, DONE, FAILED, CUT, LEFT = "open", "done", "failed", "cut", "left"


class Answering(Protocol):
    """The request whose answer is under way, as far as the journal looks at it."""

    @property
    def status(self) -> int: ...

    @property
    def bytes_sent(self) -> int: ...

    @property
    def gone(self) -> bool: ...

    @property
    def broken(self) -> bool: ...


class Counting(Protocol):
    """Whoever reads token counts off an answer."""

    @property
    def usage(self) -> Usage: ...


class Entry:
    """One request. Times are epoch seconds, `first_byte` and `duration` seconds since `started`, `size` bytes.

    `outcome` is open, done, failed (an error status), cut (broken off in the middle) or left (the client went away).
    `counting` may be set by whoever reads the tokens; it is asked when somebody looks, and at the end. `failure` is set
    by whoever knows why an answer was broken off.
    """

    # Not set before they are needed: these are most of what an entry would cost.
    first_byte: float | None = None
    duration: float | None = None
    status = 0
    outcome = OPEN
    failure = ""
    counting: Counting | None = None
    _size = 0
    _usage: Usage | None = None

    def __init__(
        self,
        journal: Journal,
        number: int,
        started: float,
        decision: RoutingDecision,
        protocol: str,
        request: Answering,
    ) -> None:
        self._journal = journal
        self.number = number
        self.started = started
        self.protocol = protocol
        self.route: str = decision.route_type._value_
        self.model = decision.requested_model
        self.resolved = decision.resolved_model
        self.provider = decision.provider or ""
        self.reason = decision.reason
        self._request: Answering | None = request
        if len(self.model) + len(self.resolved) + len(self.reason) > LONGEST:
            self.model, self.resolved, self.reason = _short(self.model), _short(self.resolved), _short(self.reason)

    @property
    def size(self) -> int:
        """Bytes of body that the client was sent so far."""
        return self._size if self._request is None else self._request.bytes_sent

    @property
    def usage(self) -> Usage | None:
        """The tokens as far as anybody said, None when nobody counts."""
        return self._usage if self.counting is None else self.counting.usage

    def tried(self, story: str) -> None:
        """Add what was tried in vain to the reason."""
        if story:
            self.reason = _short(f"{self.reason}; {story}")

    def __enter__(self) -> Entry:
        """Write down what becomes of the request in a `with` statement."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """The request is over; a problem that was raised has the status that is yet to be sent."""
        self._journal.end(self, error.status if isinstance(error, HTTPProblem) else 0)

    def close(self, duration: float, status: int) -> None:
        """Take down how it ended and let go of everything that is only alive while the answer is."""
        request = self._request
        self.duration = duration
        if request is not None:
            self._size = request.bytes_sent
            if request.gone and not request.broken:
                self.outcome = LEFT
            elif self.failure or request.broken:
                self.outcome = CUT
            status = status or request.status
        self.status = status
        if self.outcome is OPEN:
            self.outcome = DONE if 0 < status < 400 else FAILED
        self._request = None
        if self.counting is not None:
            self._usage = self.counting.usage
            self.counting = None


class Hour:
    """Sums of one hour; `number` is the hour since the epoch, `routes` counts requests by route type.

    `waits` is a histogram of the time to the first byte: four classes for each doubling, from one millisecond up.
    """

    __slots__ = ("cached", "cut", "failed", "input", "left", "number", "output", "routes", "waits")

    def __init__(self, number: int) -> None:
        self.number = number
        self.routes: dict[str, int] = {}
        self.failed = 0
        self.cut = 0
        self.left = 0
        self.input = 0
        self.cached = 0
        self.output = 0
        self.waits: list[int] = [0] * WAITS

    @property
    def requests(self) -> int:
        """All requests of the hour."""
        return sum(self.routes.values())

    def wait(self, share: float) -> float | None:
        """Seconds within which this share of the answers began, to about 9 %; None without any."""
        return quantile(self.waits, share)


def quantile(waits: Sequence[int], share: float) -> float | None:
    """Seconds below which a share of a histogram of waits lies, None for an empty one."""
    wanted = share * sum(waits)
    if not wanted:
        return None
    below = 0
    for place, count in enumerate(waits):
        below += count
        if below >= wanted:
            seconds: float = 2 ** ((place + 0.5) / _WAITS_PER_DOUBLING) / 1000
            return seconds
    return None


class Journal:
    """The ring of the newest requests and the hours of the last day; `seconds` gives epoch seconds.

    While `watched`, entries that changed are noted in `changed`; whoever watches takes them out.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.watched = False
        self.changed: dict[int, Entry] = {}
        self._seconds = seconds
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._hours: dict[int, Hour] = {}
        self._current = Hour(0)
        self._count = 0

    def begin(self, decision: RoutingDecision, protocol: str, request: Answering) -> Entry:
        """A request was decided."""
        now = self._seconds()
        self._count += 1
        entry = Entry(self, self._count, now, decision, protocol, request)
        self._entries.append(entry)
        routes = self._hour(now).routes
        route = entry.route
        routes[route] = routes.get(route, 0) + 1
        if self.watched:
            self.changed[entry.number] = entry
        return entry

    def answering(self, entry: Entry, provider: str, model: str, story: str = "") -> None:
        """An answer is about to go to the client; `story` says what was tried in vain before."""
        now = self._seconds()
        wait = entry.first_byte = max(0.0, now - entry.started)
        entry.provider = provider
        if model != entry.resolved:
            entry.resolved = _short(model)
        if story:
            entry.tried(story)
        place = int(log2(wait * 1000) * _WAITS_PER_DOUBLING) if wait > 0.001 else 0
        self._hour(now).waits[place if place < WAITS else WAITS - 1] += 1
        if self.watched:
            self.changed[entry.number] = entry

    def end(self, entry: Entry, status: int = 0) -> None:
        """A request is over; `status` is that of an answer which is yet to be written."""
        if entry.duration is not None:
            return
        now = self._seconds()
        entry.close(max(0.0, now - entry.started), status)
        outcome = entry.outcome
        if outcome is not DONE:
            hour = self._hour(now)
            hour.failed += outcome is FAILED
            hour.cut += outcome is CUT
            hour.left += outcome is LEFT
        usage = entry.usage
        if usage is not None:
            hour = self._hour(now)
            hour.input += usage.input or 0
            hour.cached += usage.cache_read or 0
            hour.output += usage.output or 0
        if self.watched:
            self.changed[entry.number] = entry

    def _hour(self, now: float) -> Hour:
        number = int(now // HOUR)
        if number == self._current.number:
            return self._current
        self._current = self._hours.setdefault(number, Hour(number))
        # Those that were begun first go, whatever their number: a clock may be far ahead for a moment.
        while len(self._hours) > 2 * HOURS:
            del self._hours[next(iter(self._hours))]
        return self._current

    def newest(self, count: int = KEPT) -> list[Entry]:
        """The newest entries, newest first."""
        entries = self._entries
        return [entries[-place] for place in range(1, min(count, len(entries)) + 1)]

    @property
    def kept(self) -> int:
        """How many entries there are."""
        return len(self._entries)

    def hours(self) -> list[Hour]:
        """The last 24 hours, oldest first, the current one last; empty hours are there, too."""
        current = int(self._seconds() // HOUR)
        return [self._hours.get(number) or Hour(number) for number in range(current - HOURS + 1, current + 1)]


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."
