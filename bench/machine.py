"""The machine a run has: which cores, how many descriptors, and who else uses it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
WANTED_DESCRIPTORS = 20000


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
def pinned(core: int) -> Iterator[None]:
    """What is started inside runs on one core; so do all of its threads, since they inherit it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_descriptor_limit() -> int:
    """Take all descriptors that the hard limit allows; returns how many there are now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def prefer(pid: int) -> None:
    """Let a load generator go before others on its core, where that is permitted."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, -10)
    except PermissionError:
        return


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
