"""Where llmux spends its time under a workload: py-spy's samples, summed by function."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

RATE = 500  # samples a second
SHOWN = 15
MAIN = "MainThread"


class CannotSpy(Exception):
    """py-spy is not there, or may not look at another process."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function's share of the samples: in itself, and in it or whatever it called."""

    name: str
    own: float
    total: float


def functions(raw: str) -> list[Function]:
    """Read py-spy's raw format, a stack and its count on each line; the dearest function in itself comes first.

    A stack begins with its thread's name. Only the reactor's thread counts: others wait nearly always, which py-spy
    does not see everywhere.
    """
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if not frames or not thread.endswith(MAIN):
            continue
        own[frames[-1]] += int(count)
        total.update(dict.fromkeys(frames, int(count)))
    samples = own.total() or 1
    return [Function(name, own[name] / samples, total[name] / samples) for name, _ in own.most_common()]


def markdown(workload: str, found: list[Function]) -> str:
    """A table of the dearest functions."""
    lines = [f"| {workload} | own | with callees |", "| --- | --- | --- |"]
    lines += [f"| {function.name} | {function.own:.1%} | {function.total:.1%} |" for function in found[:SHOWN]]
    return "\n".join(lines)


class Recording:
    """py-spy looking at a process for some seconds."""

    def __init__(self, pid: int, seconds: int, file: Path) -> None:
        beside = Path(sys.executable).with_name("py-spy")
        program = str(beside) if beside.exists() else shutil.which("py-spy")
        if program is None:
            raise CannotSpy("py-spy is not installed (pip install py-spy)")
        self._file = file
        self._seconds = seconds
        options = ["--format", "raw", "--rate", str(RATE), "--duration", str(seconds), "--function", "--threads"]
        self._process = subprocess.Popen(
            [program, "record", "--pid", str(pid), *options, "--output", str(file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
        )

    def functions(self) -> list[Function]:
        """Wait for the end; raises CannotSpy with py-spy's own words."""
        try:
            _, complaint = self._process.communicate(timeout=self._seconds + 30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise CannotSpy("py-spy does not end") from None
        if self._process.returncode or not self._file.exists():
            raise CannotSpy(f"py-spy: {complaint.decode(errors='replace').strip()}")
        return functions(self._file.read_text())
