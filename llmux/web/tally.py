"""Counters and histograms as plain numbers, so that a request costs a few additions and a scrape does the rest."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from llmux.formats.events import Usage
from llmux.peers.names import BoundedNames

MOST_MODELS = 100
MOST_UNSERVED = 20
WAITS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
OVERHEADS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
GAPS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
SILENCES = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0)


class Histogram:
    """How many values were at most each bound, and their sum; `counts` has one more place than `bounds`."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...], counts: list[int] | None = None, total: float = 0.0) -> None:
        self.bounds = bounds
        self.counts = counts or [0] * (len(bounds) + 1)
        self.sum = total

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def copy(self) -> Histogram:
        """The same numbers, for another thread."""
        return Histogram(self.bounds, self.counts[:], self.sum)


class Traffic:
    """What is counted for one provider and model: `tokens` are input, cached, output and reasoning."""

    __slots__ = ("duration", "first_byte", "tokens")

    def __init__(self) -> None:
        self.duration = Histogram(WAITS)
        self.first_byte = Histogram(WAITS)
        self.tokens = [0, 0, 0, 0]

    def copy(self) -> Traffic:
        """The same numbers, for another thread."""
        copied = Traffic()
        copied.duration, copied.first_byte = self.duration.copy(), self.first_byte.copy()
        copied.tokens = self.tokens[:]
        return copied


@dataclass(slots=True)
class Tally:
    """Everything that is counted since the start; models beyond a bound are called `other`."""

    requests: dict[tuple[str, str, str, int], int] = field(default_factory=dict)
    traffic: dict[tuple[str, str], Traffic] = field(default_factory=dict)
    gaps: dict[str, Histogram] = field(default_factory=dict)
    silences: dict[str, Histogram] = field(default_factory=dict)
    overhead: Histogram = field(default_factory=lambda: Histogram(OVERHEADS))
    aborted: int = 0
    passthrough: dict[tuple[str, int], int] = field(default_factory=dict)
    _names: BoundedNames = field(default_factory=lambda: BoundedNames(MOST_MODELS, MOST_UNSERVED))

    def add(
        self,
        route_type: str,
        provider: str,
        model: str,
        status: int,
        *,
        aborted: bool,
        duration: float,
        first_byte: float | None,
        usage: Usage | None,
    ) -> None:
        """A request is over, or was `aborted` by its client; times are in seconds since it was there as a whole."""
        model = self._names.name(model, status < 400)
        place = (route_type, provider, model, _known(status))
        self.requests[place] = self.requests.get(place, 0) + 1
        traffic = self.traffic.get((provider, model))
        if traffic is None:
            traffic = self.traffic[provider, model] = Traffic()
        # As `observe`, twice for every request.
        histogram = traffic.duration
        histogram.counts[bisect_left(WAITS, duration)] += 1
        histogram.sum += duration
        if first_byte is not None:
            histogram = traffic.first_byte
            histogram.counts[bisect_left(WAITS, first_byte)] += 1
            histogram.sum += first_byte
        if usage is not None:
            tokens = traffic.tokens
            tokens[0] += usage.input or 0
            tokens[1] += usage.cache_read or 0
            tokens[2] += usage.output or 0
            tokens[3] += usage.reasoning or 0
        if aborted:
            self.aborted += 1

    def passed_on(self, outcome: str, status: int) -> None:
        """A passthrough request is over; `outcome` is one of a few words."""
        place = (outcome, _known(status))
        self.passthrough[place] = self.passthrough.get(place, 0) + 1

    def stream(self, provider: str, gap: float, silence: float) -> None:
        """A stream is over: the mean time between its pieces, and its longest silence in whole seconds."""
        for histograms, bounds, value in ((self.gaps, GAPS, gap), (self.silences, SILENCES, silence)):
            histogram = histograms.get(provider)
            if histogram is None:
                histogram = histograms[provider] = Histogram(bounds)
            histogram.observe(value)


def _known(status: int) -> int:
    """A status, or 0 for what is none: upstreams may send any number."""
    return status if 100 <= status < 600 else 0
