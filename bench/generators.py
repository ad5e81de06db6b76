"""Runs the load generators and reads what they print."""

from __future__ import annotations

import json
import select
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import placed
from bench.systems import System

GRACE = 30.0  # seconds beyond its own time after which a generator is stopped


@dataclass(frozen=True, slots=True)
class Result:
    """The figures of one run, microseconds and counts, by dotted names."""

    values: dict[str, Any]

    def __getitem__(self, name: str) -> float:
        found: Any = self.values
        for part in name.split("."):
            found = found[part]
        return float(found)

    def faults(self) -> list[str]:
        """What went wrong, in words: answers that failed, broke off, or differ by a byte."""
        values = self.values
        said = {
            "wrong": "answers with a wrong byte",
            "incomplete": "answers that lack events or bytes",
            "connect_errors": "connections refused",
            "io_errors": "connections broken off",
            "refused": f"upgrades refused with {values.get('refused_status')}",
            "errors": "tunnels broken off",
        }
        found = [f"{values[name]} {text}" for name, text in said.items() if values.get(name)]
        if values.get("bad_status", 200) not in (0, 200):
            found.append(f"answered {values['bad_status']}: {values.get('bad_sample', '')}")
        if not values.get("ok"):
            found.append("no request succeeded")
        if values.get("finished") is False and values.get("mode") not in ("http", "sse"):
            found.append("not finished in time")
        return found


class Generator:
    """One run of a load generator under way."""

    def __init__(self, command: list[str], core: int, seconds: float) -> None:
        self._seconds = seconds
        with placed(core):
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def reached_plateau(self, seconds: float) -> bool:
        """Wait until it says that all of its connections are there."""
        assert self.process.stderr is not None
        ready, _, _ = select.select([self.process.stderr], [], [], seconds)
        return bool(ready) and b"PLATEAU" in self.process.stderr.readline()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    def result(self) -> Result:
        """Wait for its end."""
        try:
            out, complaint = self.process.communicate(timeout=self._seconds + GRACE)
        finally:
            self.stop()
        if self.process.returncode:
            raise RuntimeError(f"a load generator ended with {self.process.returncode}: {complaint.decode()}")
        return Result(json.loads(out))

    def stop(self) -> None:
        """End it now."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Generators:
    """Starts the two programs on the core they share."""

    def __init__(self, programs: Path, core: int) -> None:
        self._programs = programs
        self._core = core

    def _start(self, program: str, options: dict[str, Any], headers: tuple[str, ...], seconds: float) -> Generator:
        command = [str(self._programs / program)]
        for name, value in options.items():
            if value is not None:
                command += [f"--{name.replace('_', '-')}", str(value)]
        for header in headers:
            command += ["-H", header]
        return Generator(command, self._core, seconds)

    def load(self, system: System, mode: str, path: str, body: Path, **options: Any) -> Generator:
        """Requests in a closed loop, streams, held streams or held uploads; the options are those of loadgen."""
        seconds = options.get("duration", 3) + options.get("warmup", 0.3) + options.get("deadline", 0)
        given = {"mode": mode, "port": system.port, "path": path, "body": body, **options}
        return self._start("loadgen", given, system.headers, seconds)

    def tunnels(self, system: System, **options: Any) -> Generator:
        """Tunnels to the provider's echo."""
        given = {"port": system.port, "path": "/bench/tunnel", **options}
        return self._start("tunnelgen", given, system.headers, options.get("deadline", 60))

    def direct(self, port: int, path: str, mode: str, body: Path, **options: Any) -> Generator:
        """The same without any proxy."""
        given = {"mode": mode, "port": port, "path": path, "body": body, **options}
        return self._start("loadgen", given, (), options.get("duration", 3))
