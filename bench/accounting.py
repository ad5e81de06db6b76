"""CPU time and memory of a process and everything it started, from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

PAGE_KB = os.sysconf("SC_PAGE_SIZE") // 1024


class Usage(NamedTuple):
    """CPU seconds since the start, and kilobytes resident now, summed over the processes."""

    cpu_s: float
    rss_kb: int


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            parent = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue  # it ended while we looked
        children.setdefault(parent, []).append(int(entry))
    found, waiting = [], [pid]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting += children.get(pid, [])
    return found


def cpu_seconds(pids: list[int]) -> float:
    """CPU time of all threads; the scheduler counts it in nanoseconds."""
    total = 0
    for pid in pids:
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
        except OSError:
            continue
    return total / 1e9


def resident_kb(pids: list[int]) -> int:
    """Resident memory, exact: the kernel walks the pages."""
    total = 0
    for pid in pids:
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Rss:")), 0)
    return total


def resident_kb_now(pids: list[int]) -> int:
    """Resident memory from the kernel's counters: cheap enough to be asked many times a second."""
    total = 0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KB
        except OSError:
            continue
    return total


def usage(pid: int) -> Usage:
    """CPU time and memory of a process and its descendants."""
    pids = tree(pid)
    return Usage(cpu_seconds(pids), resident_kb(pids))
