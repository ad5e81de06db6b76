"""What every workload measures with: the provider, the generators, the bodies, and a span of CPU time and counters."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Protocol

from bench.accounting import Usage
from bench.bodies import Body
from bench.generators import Generators
from bench.provider import Provider
from bench.systems import System


@dataclass
class Measured:
    """The figures of one workload on one system; `faults` is what must not happen."""

    figures: dict[str, float] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Span:
    """What a system and the provider did between two moments."""

    cpu_s: float
    requests: int
    events: int
    wrong_bodies: int

    def faults(self) -> list[str]:
        """Request bodies that did not arrive as they were sent."""
        return [f"{self.wrong_bodies} request bodies with a wrong byte"] if self.wrong_bodies else []


@dataclass(frozen=True, slots=True)
class Moment:
    """Counters at one moment."""

    usage: Usage
    counters: dict[str, int]

    def until(self, later: Moment) -> Span:
        """The span between two moments."""
        changed = {name: later.counters[name] - count for name, count in self.counters.items()}
        return Span(
            later.usage.cpu_s - self.usage.cpu_s, changed["requests"], changed["events"], changed["wrong_bodies"]
        )


@dataclass(frozen=True, slots=True)
class Stage:
    """The surroundings of a measurement; `duration` and `warmup` are seconds of a closed loop."""

    provider: Provider
    generators: Generators
    files: dict[Body, Path]
    duration: float
    warmup: float

    def moment(self, system: System) -> Moment:
        """What the counters say now."""
        return Moment(system.usage(), self.provider.counters())

    def warm_up(self, system: System) -> list[str]:
        """One small request, so that connections and lazy imports are there; returns its faults."""
        body = next(body for body in self.files if not body.stream and body.api == "chat")
        status, _, _ = ask(system, "/v1/chat/completions", self.files[body].read_bytes())
        system.settle()
        return [] if status == 200 else [f"the first request was answered {status}"]


def ask(system: System, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
    """One request through a system: status, headers with lower-case names, body."""
    connection = HTTPConnection("127.0.0.1", system.port, timeout=30)
    try:
        headers = {"Content-Type": "application/json"}
        for line in system.headers:
            name, _, value = line.partition(": ")
            headers[name] = value
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def error_text(body: bytes) -> str:
    """The beginning of an error body, for a message."""
    try:
        return str(json.loads(body)["error"]["message"])[:300]
    except (ValueError, KeyError, TypeError):
        return body[:300].decode(errors="replace")


class Workload(Protocol):
    """One row group of the table.

    `section` is what `--only` may name beside `name`. `fresh` wants a process that has done nothing before, `peers`
    tells whether the other proxies can do it too.
    """

    @property
    def name(self) -> str: ...

    @property
    def section(self) -> str: ...

    @property
    def fresh(self) -> bool: ...

    @property
    def peers(self) -> bool: ...

    def bodies(self) -> tuple[Body, ...]:
        """The request bodies it sends."""
        ...

    def mappings(self) -> dict[str, str]:
        """The model mappings it needs in llmux."""
        ...

    def measure(self, stage: Stage, system: System) -> Measured:
        """Run it once."""
        ...
