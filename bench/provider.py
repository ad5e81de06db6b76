"""The fake provider: a process, its counters, and the answers that must arrive byte for byte."""

from __future__ import annotations

import http.client
import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from bench.bodies import PATHS, Body, content, stream_model
from bench.machine import placed
from bench.systems import free_port, stop_process, wait_until_listening


class Provider:
    """Runs on the load generators' core; every request body that it gets must be one of `bodies`."""

    def __init__(self, program: Path, bodies: Iterable[Path], folder: Path, core: int) -> None:
        self.port = free_port()
        self._folder = folder
        self._expected: dict[tuple[str, int], Path] = {}
        log = folder / "provider.out"
        with log.open("wb") as out, placed(core):
            self.process = subprocess.Popen(
                [str(program), str(self.port), *map(str, bodies)], stdout=out, stderr=out, stdin=subprocess.DEVNULL
            )
        wait_until_listening(self.process, self.port, "the fake provider", log)

    def stop(self) -> None:
        """End it."""
        stop_process(self.process)

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body)
            return connection.getresponse().read()
        finally:
            connection.close()

    def counters(self) -> dict[str, int]:
        """What it has counted since it started."""
        counted: dict[str, int] = json.loads(self._ask("GET", "/__stats"))
        return counted

    def expected(self, api: str, events: int | None) -> Path:
        """A file with the right answer: a stream of so many events, or the JSON answer for None.

        Pace and batches do not show in it, so that it is asked for at full speed.
        """
        key = (api, -1 if events is None else events)
        if key not in self._expected:
            body = Body(api, 1000, stream_model(events or 0, 0, 32), stream=events is not None)
            path = self._folder / f"expected-{api}-{key[1]}"
            path.write_bytes(self._ask("POST", PATHS[api], content(body)))
            self._expected[key] = path
        return self._expected[key]
