"""Workloads that are held: many streams, idle tunnels, half-sent bodies; and bytes through one tunnel."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from bench.accounting import resident_kb, resident_kb_now
from bench.bodies import PATHS, Body, stream_model
from bench.generators import Generator
from bench.loops import STREAM_BODY
from bench.stage import Measured, Stage
from bench.systems import System

RAMP_SECONDS = 60.0  # for all connections to be there
LOOKS = 0.02


@dataclass(frozen=True)
class Resting:
    """Memory before any load."""

    name: str = "before load"
    section: ClassVar[str] = "memory"
    fresh: ClassVar[bool] = True
    peers: ClassVar[bool] = True

    def bodies(self) -> tuple[Body, ...]:
        return ()

    def mappings(self) -> dict[str, str]:
        return {}

    def measure(self, stage: Stage, system: System) -> Measured:
        return Measured({"resident MB": system.usage().rss_kb / 1024})


@dataclass(frozen=True)
class HeldStreams:
    """Streams that are all open at once, with an event every `interval` ms each."""

    name: str
    connections: int
    events: int
    interval: int
    section: ClassVar[str] = "hold"
    fresh: ClassVar[bool] = True
    peers: ClassVar[bool] = True

    @property
    def body(self) -> Body:
        """The request for one of them."""
        return Body("chat", STREAM_BODY, stream_model(self.events, self.interval), stream=True)

    def bodies(self) -> tuple[Body, ...]:
        return (self.body,)

    def mappings(self) -> dict[str, str]:
        return {}

    def measure(self, stage: Stage, system: System) -> Measured:
        expected = stage.provider.expected("chat", self.events)
        base = system.usage().rss_kb
        lasting = self.events * self.interval / 1000
        ramp = max(125, int(self.connections / (lasting / 5)))
        run = stage.generators.load(
            system,
            "hold",
            PATHS["chat"],
            stage.files[self.body],
            expect=expected,
            conns=self.connections,
            events=self.events,
            ramp=ramp,
            deadline=RAMP_SECONDS + lasting,
        )
        if not run.reached_plateau(RAMP_SECONDS):
            return Measured({}, ["not all streams had a first event", *run.result().faults()])
        before, peak = stage.moment(system), 0
        end = time.monotonic() + lasting - self.connections / ramp - lasting / 5
        while run.running and time.monotonic() < end:
            time.sleep(min(1.0, lasting / 10))
            peak = max(peak, resident_kb(system.pids()))
        span = before.until(stage.moment(system))
        result = run.result()
        figures = {
            "kB/stream": (peak - base) / self.connections,
            "events delivered": result["events"] / result["expected_events"],
        }
        if span.events:
            figures["cpu us/event"] = span.cpu_s * 1e6 / span.events
        return Measured(figures, result.faults())


@dataclass(frozen=True)
class IdleTunnels:
    """Tunnels that carried 64 bytes each and then say nothing, until they carry 64 more."""

    name: str
    count: int
    seconds: float = 2.0
    section: ClassVar[str] = "tunnel"
    fresh: ClassVar[bool] = True
    peers: ClassVar[bool] = True

    def bodies(self) -> tuple[Body, ...]:
        return ()

    def mappings(self) -> dict[str, str]:
        return {}

    def measure(self, stage: Stage, system: System) -> Measured:
        base = system.usage().rss_kb
        run = stage.generators.tunnels(
            system, tunnels=self.count, bytes=64, hold=self.seconds, ramp=1000, deadline=RAMP_SECONDS
        )
        there = run.reached_plateau(RAMP_SECONDS)
        time.sleep(self.seconds / 2)
        held = system.usage().rss_kb
        faults = run.result().faults()
        return Measured({"kB/tunnel": (held - base) / self.count} if there else {}, faults)


def _peak(run: Generator, pids: list[int]) -> int:
    """The most memory, in kB, that was resident at once while a run lasted."""
    peak = 0
    while run.running:
        peak = max(peak, resident_kb_now(pids))
        time.sleep(LOOKS)
    return peak


@dataclass(frozen=True)
class TunnelBytes:
    """Bytes through one tunnel to an echo and back, as fast as they go."""

    name: str
    bytes: int
    section: ClassVar[str] = "tunnel"
    fresh: ClassVar[bool] = True
    peers: ClassVar[bool] = True

    def bodies(self) -> tuple[Body, ...]:
        return ()

    def mappings(self) -> dict[str, str]:
        return {}

    def measure(self, stage: Stage, system: System) -> Measured:
        pids, before = system.pids(), stage.moment(system)
        base = resident_kb_now(pids)
        run = stage.generators.tunnels(system, tunnels=1, bytes=self.bytes, deadline=10 + self.bytes / 5e6)
        peak = _peak(run, pids)
        result = run.result()
        span = before.until(stage.moment(system))
        figures = {}
        if result["seconds"] > 0:
            figures = {
                "MB/s (more is better)": self.bytes / 1e6 / result["seconds"],
                "cpu us/MB": span.cpu_s * 1e6 / (2 * self.bytes / 1e6),
                "growth MB": (peak - base) / 1024,
            }
        return Measured(figures, result.faults())


@dataclass(frozen=True)
class HeldBodies:
    """Uploads that lack their last byte: what it costs llmux to hold bodies until they are complete.

    The peers, configured to pass bodies on as they come, hold none.
    """

    name: str
    body: Body
    count: int
    seconds: float = 1.0
    section: ClassVar[str] = "memory"
    fresh: ClassVar[bool] = True
    peers: ClassVar[bool] = False

    def bodies(self) -> tuple[Body, ...]:
        return (self.body,)

    def mappings(self) -> dict[str, str]:
        return {}

    def measure(self, stage: Stage, system: System) -> Measured:
        file, expected = stage.files[self.body], stage.provider.expected(self.body.api, None)
        before = stage.moment(system)
        run = stage.generators.load(
            system,
            "upload",
            PATHS[self.body.api],
            file,
            expect=expected,
            conns=self.count,
            duration=self.seconds,
            deadline=RAMP_SECONDS,
        )
        there = run.reached_plateau(RAMP_SECONDS)
        time.sleep(self.seconds * 0.6)
        held = system.usage().rss_kb
        result = run.result()
        span = before.until(stage.moment(system))
        share = (held - before.usage.rss_kb) * 1024 / (self.count * file.stat().st_size)
        return Measured({"memory, times size": share} if there else {}, result.faults() + span.faults())
