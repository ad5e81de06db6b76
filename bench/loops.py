"""Workloads in a closed loop: small and large requests, paced streams and streams at full speed, translated ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bench.bodies import PATHS, Body, stream_model
from bench.stage import Measured, Stage, ask, error_text
from bench.systems import MAPPED, System

STREAM_BODY = 2048
PROBE_SECONDS = 60  # how long the probe's stream could last; it ends with the run


@dataclass(frozen=True)
class Requests:
    """Requests with JSON answers of 1 kB."""

    name: str
    body: Body
    connections: int
    section: ClassVar[str] = "http"
    fresh: ClassVar[bool] = False
    peers: ClassVar[bool] = True

    def bodies(self) -> tuple[Body, ...]:
        return (self.body,)

    def mappings(self) -> dict[str, str]:
        return {}

    def measure(self, stage: Stage, system: System) -> Measured:
        before = stage.moment(system)
        result = stage.generators.load(
            system,
            "http",
            PATHS[self.body.api],
            stage.files[self.body],
            expect=stage.provider.expected(self.body.api, None),
            conns=self.connections,
            duration=stage.duration,
            warmup=stage.warmup,
        ).result()
        system.settle()
        span = before.until(stage.moment(system))
        figures = {"p50 us": result["lat.p50_us"], "p99 us": result["lat.p99_us"]}
        if span.requests:
            figures = {"cpu us/request": span.cpu_s * 1e6 / span.requests, **figures}
        return Measured(figures, result.faults() + span.faults())


@dataclass(frozen=True)
class Streams:
    """Streams, each as soon as the last one is complete; an interval of 0 ms is full speed.

    `direct` also measures the provider without a proxy, to tell what a proxy adds to the time to the first byte.
    """

    name: str
    events: int
    interval: int
    batch: int
    connections: int
    direct: bool = False
    section: ClassVar[str] = "sse"
    fresh: ClassVar[bool] = False
    peers: ClassVar[bool] = True

    @property
    def body(self) -> Body:
        """A chat request for such a stream."""
        return Body("chat", STREAM_BODY, stream_model(self.events, self.interval, self.batch), stream=True)

    def bodies(self) -> tuple[Body, ...]:
        return (self.body,)

    def mappings(self) -> dict[str, str]:
        return {}

    def seconds(self, stage: Stage) -> float:
        """Long enough for at least one whole stream after the warm-up."""
        return max(stage.duration, stage.warmup + 1.2 * self.events * self.interval / 1000)

    def measure(self, stage: Stage, system: System) -> Measured:
        path, file = PATHS["chat"], stage.files[self.body]
        options = {
            "expect": stage.provider.expected("chat", self.events),
            "conns": self.connections,
            "events": self.events,
            "duration": self.seconds(stage),
            "warmup": stage.warmup,
        }
        before = stage.moment(system)
        result = stage.generators.load(system, "sse", path, file, **options).result()
        system.settle()
        span = before.until(stage.moment(system))
        figures = {"ttfb p50 us": result["ttfb.p50_us"], "event p99 us": result["ev.p99_us"]}
        if span.events:
            figures = {"cpu us/event": span.cpu_s * 1e6 / span.events, **figures}
        if self.direct:
            bare = stage.generators.direct(stage.provider.port, path, "sse", file, **options).result()
            figures["added ttfb p50 us"] = max(0.0, result["ttfb.p50_us"] - bare["ttfb.p50_us"])
        return Measured(figures, result.faults() + span.faults())


@dataclass(frozen=True)
class Translated:
    """An Anthropic client's streams from a provider of chat completions, and the same streams for a chat client.

    The model is mapped by the configuration; llmux alone can do it.
    """

    name: str
    stream: Streams
    section: ClassVar[str] = "translate"
    fresh: ClassVar[bool] = False
    peers: ClassVar[bool] = False

    @property
    def body(self) -> Body:
        """A messages request that is mapped to the stream's model."""
        return Body("anthropic", STREAM_BODY, MAPPED + self.stream.body.model, stream=True)

    def bodies(self) -> tuple[Body, ...]:
        return (self.body, self.stream.body)

    def mappings(self) -> dict[str, str]:
        return {self.body.model: self.stream.body.model}

    def measure(self, stage: Stage, system: System) -> Measured:
        path, file = PATHS["anthropic"], stage.files[self.body]
        status, headers, answer = ask(system, path, file.read_bytes())
        if status != 200 or headers.get("x-llmux-body") != "translated":
            said = f"{headers.get('x-llmux-body')}: {error_text(answer) if status != 200 else ''}"
            return Measured(faults=[f"no translated answer but {status} {said}"])
        plain = self.stream.measure(stage, system)
        before = stage.moment(system)
        result = stage.generators.load(
            system,
            "sse",
            path,
            file,
            conns=self.stream.connections,
            events=self.stream.events,
            duration=self.stream.seconds(stage),
            warmup=stage.warmup,
        ).result()
        system.settle()
        span = before.until(stage.moment(system))
        figures = {"event p99 us": result["ev.p99_us"]}
        if span.events and plain.figures.get("cpu us/event"):
            cost = span.cpu_s * 1e6 / span.events
            times = cost / plain.figures["cpu us/event"]
            figures = {"cpu us/event": cost, "cpu, times untranslated": times, **figures}
        return Measured(figures, plain.faults + result.faults() + span.faults())


@dataclass(frozen=True)
class Blocking:
    """How long a large request keeps others waiting: the age of the events of a stream beside it.

    The stream has an event each millisecond. What generators and provider add is in it too; the peers show how much.
    """

    name: str
    body: Body
    pause: int = 40
    section: ClassVar[str] = "block"
    fresh: ClassVar[bool] = False
    peers: ClassVar[bool] = True

    @property
    def probe(self) -> Body:
        """The request for the stream beside."""
        return Body("chat", STREAM_BODY, stream_model(PROBE_SECONDS * 1000, 1), stream=True)

    def bodies(self) -> tuple[Body, ...]:
        return (self.body, self.probe)

    def mappings(self) -> dict[str, str]:
        return {}

    def measure(self, stage: Stage, system: System) -> Measured:
        before = stage.moment(system)
        result = stage.generators.load(
            system,
            "http",
            PATHS["chat"],
            stage.files[self.body],
            expect=stage.provider.expected("chat", None),
            probe=stage.files[self.probe],
            probe_expect=stage.provider.expected("chat", PROBE_SECONDS * 1000),
            conns=1,
            pause=self.pause,
            duration=2 * stage.duration,
            warmup=stage.warmup,
        ).result()
        system.settle()
        span = before.until(stage.moment(system))
        faults = result.faults() + span.faults()
        if not result["probe.n"]:
            faults.append("the stream beside got no event")
        figures = {
            "others wait p50 ms": result["worst_probe.p50_us"] / 1000,
            "others wait max ms": result["worst_probe.max_us"] / 1000,
        }
        return Measured(figures, faults)
