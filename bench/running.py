"""One run: starts what it needs, takes every workload through every system in turn, and stops it all."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from bench import bodies, systems
from bench.accounting import cpu_seconds
from bench.bodies import Body, stream_model
from bench.generators import Generators
from bench.machine import Cores, busy_seconds, wait_until_quiet
from bench.profiles import Profile
from bench.provider import Provider
from bench.spy import Recording
from bench.spy import markdown as spied_table
from bench.stage import Measured, Stage, Workload
from bench.systems import CannotStart, System

SPY_SECONDS = 5
WARM_UP = Body("chat", 1024, stream_model(0))


def say(*words: object) -> None:
    """Progress, for people."""
    print(*words, file=sys.stderr, flush=True)


@dataclass
class Report:
    """What a run found; `figures` is by row, by system, every value; `others` the share of a core that others took."""

    order: list[str]
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    others: list[float] = field(default_factory=list)

    def add(self, workload: str, system: str, measured: Measured) -> None:
        """Take in what one measurement gave."""
        for name, value in measured.figures.items():
            self.figures.setdefault(f"{workload} {name}", {}).setdefault(system, []).append(value)
        for fault in measured.faults:
            self.fault(system, f"{workload}: {fault}")

    def fault(self, system: str, text: str) -> None:
        """Take in what must not happen."""
        say(f"  {system}: FAULT {text}")
        self.faults.setdefault(system, []).append(text)

    def noise(self) -> float:
        """The median share of a core that other processes took while something was measured."""
        return median(self.others) if self.others else 0.0


class Bench:
    """Everything of one run but its report."""

    def __init__(self, programs: Path, folder: Path, profile: Profile, workloads: tuple[Workload, ...], cores: Cores):
        self._programs = programs
        self._folder = folder
        self._profile = profile
        self._workloads = workloads
        self._cores = cores
        self._starts = 0
        self._mappings = {name: target for load in workloads for name, target in load.mappings().items()}

    def run(self, order: list[str], rounds: int) -> Report:
        """All rounds; raises CannotStart when the provider or llmux does not."""
        report = Report(order)
        with ExitStack() as stack:
            stage = self._stage(stack)
            for number in range(rounds):
                say(f"round {number + 1} of {rounds}")
                for workload in self._workloads:
                    if workload.fresh:
                        self._measure_fresh(stage, workload, report)
                self._measure_shared(stage, [load for load in self._workloads if not load.fresh], report)
        return report

    def spy(self) -> str:
        """The dearest functions of llmux under each workload, as tables; raises CannotSpy."""
        tables = []
        with ExitStack() as stack:
            stage = replace(self._stage(stack), duration=SPY_SECONDS + 1.0)
            system = self._start("llmux", stage)
            stack.callback(system.stop)
            stage.warm_up(system)
            for workload in self._workloads:
                say(f"  {workload.name}")
                recording = Recording(system.process.pid, SPY_SECONDS, self._folder / "samples")
                workload.measure(stage, system)
                tables.append(spied_table(workload.name, recording.functions()))
        return "\n\n".join(tables)

    def _stage(self, stack: ExitStack) -> Stage:
        wanted = [WARM_UP, *(body for workload in self._workloads for body in workload.bodies())]
        files = bodies.write(wanted, self._folder)
        # A mapped request is translated on its way: what arrives is not what was sent.
        verbatim = [path for body, path in files.items() if body.model not in self._mappings]
        provider = Provider(self._programs / "fake_provider", verbatim, self._folder, self._cores.load)
        stack.callback(provider.stop)
        generators = Generators(self._programs, self._cores.load)
        return Stage(provider, generators, files, self._profile.duration, self._profile.warmup)

    def _start(self, name: str, stage: Stage) -> System:
        self._starts += 1
        folder = self._folder / f"{self._starts}-{name}"
        return systems.start(name, folder, stage.provider.port, self._cores.proxy, self._mappings)

    def _measure_fresh(self, stage: Stage, workload: Workload, report: Report) -> None:
        """A process of its own for each system: memory that earlier load left behind would hide what this one takes."""
        for name in report.order:
            if not workload.peers and name != "llmux":
                continue
            system = self._start(name, stage)
            try:
                if workload.section != "memory" or workload.bodies():
                    report.add(workload.name, name, Measured(faults=stage.warm_up(system)))
                self._measure_one(stage, workload, system, report)
            finally:
                self._stop(system, report)

    def _measure_shared(self, stage: Stage, workloads: list[Workload], report: Report) -> None:
        """All systems run side by side and take each workload in turn, so that the machine's moods hit all alike."""
        if not workloads:
            return
        with ExitStack() as stack:
            running = []
            for name in report.order:
                system = self._start(name, stage)
                stack.callback(self._stop, system, report)
                report.add("start", name, Measured(faults=stage.warm_up(system)))
                running.append(system)
            for workload in workloads:
                for _ in range(self._profile.repeats):
                    for system in running:
                        if system.running and (workload.peers or system.name == "llmux"):
                            self._measure_one(stage, workload, system, report)
            for system in running:
                if system.name == "llmux" and not systems.decisions_logged(system.folder):
                    report.fault("llmux", "no decision was logged")

    def _measure_one(self, stage: Stage, workload: Workload, system: System, report: Report) -> None:
        cores = (self._cores.proxy,)
        wait_until_quiet(self._cores, self._profile.patience)
        began, busy, own = time.monotonic(), busy_seconds(cores), system.usage().cpu_s
        try:
            measured = workload.measure(stage, system)
        except (OSError, RuntimeError, CannotStart) as problem:
            measured = Measured(faults=[f"{type(problem).__name__}: {problem}"])
        if system.running:
            used = busy_seconds(cores) - busy - (cpu_seconds(system.pids()) - own)
            report.others.append(max(0.0, used) / (time.monotonic() - began))
        report.add(workload.name, system.name, measured)
        shown = ", ".join(f"{name} {value:.4g}" for name, value in measured.figures.items())
        say(f"  {workload.name:24} {system.name:6} {shown}")

    def _stop(self, system: System, report: Report) -> None:
        for fault in system.stop():
            report.fault(system.name, fault)


def as_json(report: Report, profile: Profile, rounds: int, table: dict[str, Any]) -> dict[str, Any]:
    """The whole of a run, for programs."""
    return {
        "profile": profile.name,
        "rounds": rounds,
        "systems": report.order,
        "others": report.noise(),
        "table": table,
        "figures": report.figures,
        "faults": report.faults,
    }
