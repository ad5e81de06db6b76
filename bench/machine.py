"""The machine a run has: which cores, how many descriptors, and who else uses it."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
WANTED_DESCRIPTORS = 20000
LOOK_SECONDS = 0.1
NICE = -10  # for proxies and generators alike, so that other processes disturb the clock less


@dataclass(frozen=True, slots=True)
class Cores:
    """The proxy under test has one core; the load generators, the provider and this program share another."""

    proxy: int
    load: int

    @property
    def shared(self) -> bool:
        """Whether there is only one core for everything."""
        return self.proxy == self.load


def choose_cores() -> Cores:
    """The first two cores that this process may use, or the only one twice."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1] if len(allowed) > 1 else allowed[0])


@contextmanager
def placed(core: int) -> Iterator[None]:
    """What is started inside runs on one core, all of its threads too, and before others where that is permitted."""
    before, nice = os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0)
    os.sched_setaffinity(0, {core})
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        os.sched_setaffinity(0, before)


def raise_descriptor_limit() -> int:
    """Take all descriptors that the hard limit allows; returns how many there are now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def busy_seconds(cores: tuple[int, ...]) -> float:
    """CPU seconds that anybody has spent on the given cores since the machine started."""
    names = {f"cpu{core}" for core in cores}
    total = 0.0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in names:
            user, nice, system, _idle, _wait, irq, softirq = map(int, fields[:7])
            total += (user + nice + system + irq + softirq) / TICKS
    return total


def wait_until_quiet(cores: Cores, seconds: float) -> None:
    """Let a measurement begin when nothing else takes a quarter of either core; no later than in `seconds`."""
    deadline = time.monotonic() + seconds
    both = tuple({cores.proxy, cores.load})
    while time.monotonic() < deadline:
        before = busy_seconds(both)
        time.sleep(LOOK_SECONDS)
        if busy_seconds(both) - before < LOOK_SECONDS * len(both) / 4:
            return
