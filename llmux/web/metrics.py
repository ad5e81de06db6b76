"""What Prometheus reads at `/metrics`: the tally, and the states of the moment as they are found at the scrape.

The registry is made for each scrape from a copy of the numbers, so that writing a long page can be left to a thread.
Names and their OpenTelemetry counterparts stand in docs/metrics.md.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from twisted.internet.defer import Deferred, maybeDeferred

import twisted
from llmux import __version__
from llmux.web.matching import Match
from llmux.web.tally import Histogram, Tally
from llmux.wire.request import Request

InThread = Callable[..., Deferred[Any]]
_TOKENS = ("input", "cached", "output", "reasoning")
_BY_MODEL = ("provider", "model")


@dataclass(frozen=True, slots=True)
class States:
    """The numbers of the moment; `cooldowns` are one pair of provider and reason each, None is unknown or unlimited."""

    generation: int = 0
    draining: bool = False
    open_requests: int = 0
    client_connections: int = 0
    buffered_bytes: int = 0
    open_streams: int = 0
    streams_cut: int = 0
    open_tunnels: int = 0
    upstream_open: int = 0
    upstream_idle: int = 0
    cooldowns: tuple[tuple[str, str], ...] = ()
    failed_tries: Mapping[tuple[str, str], int] = field(default_factory=dict)
    credits_spent: int = 0
    credits_left: int | None = None
    unwritten: int = 0
    state_failing: bool = False


class Metrics:
    """Answers `/metrics`; `states` is asked once for each scrape."""

    def __init__(self, tally: Tally, states: Callable[[], States], in_thread: InThread = maybeDeferred) -> None:
        self._tally = tally
        self._states = states
        self._in_thread = in_thread

    async def handle(self, request: Request, match: Match) -> None:
        """GET /metrics: in the text format, or in OpenMetrics for whoever asks for it."""
        accept = (request.header(b"accept") or b"").decode("latin-1")
        kind, body = await self._in_thread(page, Snapshot(self._tally, self._states()), accept)
        request.respond(200, [(b"Content-Type", kind.encode()), (b"Cache-Control", b"no-store")], body)


def page(snapshot: Snapshot, accept: str) -> tuple[str, bytes]:
    """The content type and the body for an `Accept` header."""
    registry = CollectorRegistry()
    registry.register(snapshot)
    ProcessCollector(registry=registry)
    encode, kind = choose_encoder(accept)
    return kind, encode(registry)


class Snapshot(Collector):
    """A copy of all numbers that is a collector."""

    def __init__(self, tally: Tally, states: States) -> None:
        self._requests = dict(tally.requests)
        self._traffic = {place: traffic.copy() for place, traffic in tally.traffic.items()}
        self._gaps = {provider: histogram.copy() for provider, histogram in tally.gaps.items()}
        self._silences = {provider: histogram.copy() for provider, histogram in tally.silences.items()}
        self._overhead = tally.overhead.copy()
        self._aborted = tally.aborted
        self._passthrough = dict(tally.passthrough)
        self._states = states

    def collect(self) -> Iterator[Metric]:
        """Every metric of llmux."""
        yield from self._counted()
        yield from self._timed()
        yield from self._found()

    def _counted(self) -> Iterator[Metric]:
        yield _counter(
            "llmux_requests",
            "Model requests that are over, by the status that the client got (499: it left before).",
            ("route_type", "provider", "model", "status"),
            (
                ((route_type, provider, model, str(status or "other")), count)
                for (route_type, provider, model, status), count in self._requests.items()
            ),
        )
        yield _counter(
            "llmux_passthrough_requests",
            "Requests for the upstream itself that are over, by what became of them and the status.",
            ("outcome", "status"),
            (((outcome, str(status or "other")), count) for (outcome, status), count in self._passthrough.items()),
        )
        yield _counter(
            "llmux_tokens",
            "Tokens as providers told them; cached is part of input, reasoning is part of output.",
            (*_BY_MODEL, "type"),
            (
                ((*place, kind), count)
                for place, traffic in self._traffic.items()
                for kind, count in zip(_TOKENS, traffic.tokens, strict=True)
            ),
        )
        yield _counter(
            "llmux_failed_tries",
            "Requests to providers that failed before an answer was passed on, by status or kind of failure.",
            ("provider", "reason"),
            self._states.failed_tries.items(),
        )
        yield _counter(
            "llmux_client_aborts", "Model requests whose client left before the end.", (), [((), self._aborted)]
        )
        yield _counter(
            "llmux_streams_cut",
            "Answers of providers that broke off, or ended without their format's last words.",
            (),
            [((), self._states.streams_cut)],
        )

    def _timed(self) -> Iterator[Metric]:
        traffic = self._traffic
        yield _histogram(
            "llmux_request_duration_seconds",
            "Time from the whole request to the end of its answer.",
            _BY_MODEL,
            {place: each.duration for place, each in traffic.items()},
        )
        yield _histogram(
            "llmux_time_to_first_byte_seconds",
            "Time from the whole request to the first byte of its answer's body.",
            _BY_MODEL,
            {place: each.first_byte for place, each in traffic.items()},
        )
        yield _histogram(
            "llmux_overhead_seconds",
            "Time that llmux itself added before an answer: all of it, less what was waited for providers.",
            (),
            {(): self._overhead},
        )
        yield _histogram(
            "llmux_stream_event_gap_seconds",
            "Mean time between two pieces of a stream; one value for each stream, at its end.",
            ("provider",),
            {(provider,): histogram for provider, histogram in self._gaps.items()},
        )
        yield _histogram(
            "llmux_stream_silence_seconds",
            "Longest silence of a stream, in whole seconds; one value for each stream, at its end.",
            ("provider",),
            {(provider,): histogram for provider, histogram in self._silences.items()},
        )

    def _found(self) -> Iterator[Metric]:
        states = self._states
        for name, meaning, value in (
            ("llmux_open_requests", "Requests under way, passthrough included.", states.open_requests),
            ("llmux_client_connections", "Connections of clients.", states.client_connections),
            ("llmux_buffered_bytes", "Bytes of request bodies that are held.", states.buffered_bytes),
            ("llmux_open_streams", "Event streams under way.", states.open_streams),
            ("llmux_open_tunnels", "WebSockets and other upgraded connections.", states.open_tunnels),
            ("llmux_credits_spent_today", "Paid requests since midnight UTC.", states.credits_spent),
            ("llmux_config_generation", "Number of the configuration in force; a reload adds one.", states.generation),
            ("llmux_draining", "1 while the daemon is stopping.", states.draining),
            ("llmux_usage_unwritten_requests", "Requests that wait to be written to the ledger.", states.unwritten),
            ("llmux_state_failing", "1 while the file of state and usage cannot be written.", states.state_failing),
        ):
            yield GaugeMetricFamily(name, meaning, value=float(value))
        if states.credits_left is not None:
            yield GaugeMetricFamily(
                "llmux_credits_left_today", "Paid requests that the daily limit still permits.", states.credits_left
            )
        connections = GaugeMetricFamily(
            "llmux_upstream_connections", "Connections to providers and upstream.", labels=["state"]
        )
        connections.add_metric(["idle"], states.upstream_idle)
        connections.add_metric(["active"], states.upstream_open - states.upstream_idle)
        yield connections
        cooldowns = GaugeMetricFamily(
            "llmux_cooldowns", "Credentials that are left alone for a while.", labels=["provider", "reason"]
        )
        for (provider, reason), count in Counter(states.cooldowns).items():
            cooldowns.add_metric([provider, reason], count)
        yield cooldowns
        yield InfoMetricFamily(
            "llmux_build",
            "What is running.",
            {"version": __version__, "python": platform.python_version(), "twisted": twisted.__version__},
        )


def _counter(
    name: str, meaning: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, meaning, labels=labels)
    for place, count in values:
        family.add_metric(place, count)
    return family


def _histogram(
    name: str, meaning: str, labels: tuple[str, ...], histograms: Mapping[tuple[str, ...], Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for place, histogram in histograms.items():
        below = 0
        buckets = []
        for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
            below += count
            buckets.append((bound, float(below)))
        family.add_metric(place, buckets, histogram.sum)
    return family
