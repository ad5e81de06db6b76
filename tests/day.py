"""A day of synthetic traffic in a few minutes: `python -m tests.day [REQUESTS]`, 100,000 without a number.

Whole answers and streams of every format go through the real daemon, native and translated; some providers fail, and
some clients leave. In the end the ledger has to be what the providers told, memory flat after the first tenth, and
every descriptor closed.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure

from llmux.peers.store import state_file
from llmux.peers.usage_table import Sums, report
from tests import native_answers
from tests.running import Daemon, pause
from tests.scripted import ScriptedServer, Seen

reactor: Any = installed
REQUESTS = 100_000
WORKERS = 24
SETTLE_SECONDS = 60.0
KEYS = tuple(f"client-key-number-{number:04}" for number in range(5))
KINDS = {"anthropic": "anthropic", "openai": "chat", "openai-responses": "responses", "gemini": "gemini"}
FAILS_EVERY, LEAVES_EVERY = 50, 70
_TOLD = re.compile(
    rb'"((?:in|out)put_tokens|(?:prompt|completion)_tokens|(?:prompt|candidates)TokenCount)": (?:11|7)\b'
)
_USAGE = b'data: {"choices": [], "usage": {"prompt_tokens": 11, "completion_tokens": 7}}\n\n'


def _templates(kind: str) -> tuple[bytes, list[bytes]]:
    """A whole answer, and the pieces of a stream that tells its counts."""
    protocol = KINDS[kind]
    whole: Callable[[str], bytes] = getattr(native_answers, protocol)
    events = [*getattr(native_answers, f"{protocol}_events")("m")]
    if protocol == "chat":
        events.insert(-1, _USAGE)
    return whole("m"), events


class Provider:
    """Answers for one kind of provider with counts of its own for every request, and adds up what it told."""

    def __init__(self, kind: str) -> None:
        self.told: Counter[str] = Counter()
        self.failing = False
        self.begins_only = False
        self._whole, self._events = _templates(kind)

    def __call__(self, seen: Seen) -> None:
        """Answer one request."""
        told = self.told
        told["requests"] += 1
        if "fail" in seen.target or b'"fail' in seen.body:
            told["errors"] += 1
            seen.reply(400, b'{"error":{"message":"no","type":"invalid_request_error"}}')
            return
        read, written = 500 + told["requests"] % 1000, 1 + told["requests"] % 300

        def counts(found: re.Match[bytes]) -> bytes:
            return b'"%b": %d' % (found[1], read if found[1].startswith((b"in", b"prompt")) else written)

        told["input"] += read
        told["output"] += written
        if b":stream" in seen.target.encode() or b'"stream": true' in seen.body or b'"stream":true' in seen.body:
            seen.stream([_TOLD.sub(counts, event) for event in self._events])
        else:
            seen.reply(200, _TOLD.sub(counts, self._whole))


class Leaving:
    """A provider whose streams begin and never end: their clients leave."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()

    def __call__(self, seen: Seen) -> None:
        """Begin a stream."""
        self.told.update(requests=1, aborted=1, input=11, output=1)
        seen.begin_stream()
        seen.chunk(next(native_answers.anthropic_events("m")))


class Client(Protocol):
    """One connection that asks one thing after the other."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._waiting: Deferred[bytes] | None = None
        self._beginning = False

    def ask(self, request: bytes, beginning: bool = False) -> Deferred[bytes]:
        """Send a request; the whole answer, or what came of its body first."""
        self._data.clear()
        self._beginning = beginning
        self._waiting = Deferred()
        transport: Any = self.transport
        transport.write(request)
        return self._waiting

    def dataReceived(self, data: bytes) -> None:
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        over = len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")
        if over or (self._beginning and body):
            self._answered(bytes(self._data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._answered(b"")

    def _answered(self, answer: bytes) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(answer)

    def leave(self) -> None:
        """Break the connection off."""
        transport: Any = self.transport
        transport.abortConnection()


@dataclass
class Day:
    """What a day came to; sizes in bytes. `problems` is empty for a good one."""

    requests: int
    seconds: float = 0.0
    memory_before: int = 0
    memory_after: int = 0
    descriptors_before: int = 0
    descriptors_after: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def growth(self) -> float:
        """How much memory grew after the first tenth, as a share."""
        return self.memory_after / self.memory_before - 1


def request_of(number: int) -> bytes:
    """The request with a number: route, provider, streaming, client and failure follow from it."""
    route = ("anthropic", "chat", "responses", "gemini")[number % 4]
    kind = tuple(KINDS)[number // 4 % 4]
    stream = number // 16 % 2 == 1
    name = "fail" if number % FAILS_EVERY == 0 else f"model-{number % 7}"
    return _request(route, f"{kind}-{name}", stream, number)


def _request(route: str, model: str, stream: bool, number: int) -> bytes:
    said = f"Question number {number}, " + "and so on " * (number % 20)
    asked: dict[str, Any] = {"model": model, "stream": stream, "messages": [{"role": "user", "content": said}]}
    path = {"anthropic": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}.get(route)
    if route == "anthropic":
        asked["max_tokens"] = 100
    elif route == "responses":
        asked = {"model": model, "stream": stream, "input": said}
    elif route == "gemini":
        asked = {"contents": [{"role": "user", "parts": [{"text": said}]}]}
        path = f"/v1beta/models/{model}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"
    body = json.dumps(asked).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: day.test\r\nContent-Type: application/json\r\n"
        f"X-Api-Key: {KEYS[number % len(KEYS)]}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def descriptors(pid: int) -> int:
    """Open descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


async def _worker(port: int, numbers: Any, end: int) -> None:
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    client: Client = await connectProtocol(endpoint, Client())
    for number in numbers:
        if number >= end:
            break
        if number % LEAVES_EVERY == 0:
            leaver: Client = await connectProtocol(endpoint, Client())
            await leaver.ask(_request("anthropic", "leaving-model", True, number), beginning=True)
            leaver.leave()
        else:
            answer = await client.ask(request_of(number))
            if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400")):
                raise AssertionError(f"request {number}: {answer[:300]!r}")
    client.leave()


async def _traffic(port: int, begin: int, end: int) -> None:
    numbers = count(begin)
    await gatherResults([Deferred.fromCoroutine(_worker(port, numbers, end)) for _ in range(WORKERS)])


def _sums(daemon: Daemon) -> dict[str, Sums]:
    path = state_file(str(daemon.config), {"XDG_STATE_HOME": str(daemon.folder / "state")})
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return {str(line.names[0]): line.sums for line in report(connection, ["provider"])}


async def day(requests: int = REQUESTS) -> Day:
    """Spend a day; the first tenth is for warming up."""
    providers: dict[str, Provider | Leaving] = {kind: Provider(kind) for kind in KINDS}
    providers["leaving"] = Leaving()
    servers = {name: ScriptedServer(script) for name, script in providers.items()}
    lines = [f"api-keys: [{', '.join(KEYS)}]", "cooldown: {max: 0}", "providers:"]
    for name, server in servers.items():
        kind = "anthropic" if name == "leaving" else name
        url = server.url + ("/v1" if kind.startswith("openai") else "")
        models = f"{name}-model-*, {name}-fail*" if name in KINDS else "leaving-*"
        lines.append(
            f"  - {{name: {name}, kind: {kind}, base-url: '{url}', api-keys: [pk-{name}-0000], "
            f"models: [{', '.join(repr(model) for model in models.split(', '))}]}}"
        )
    daemon = await Daemon("\n".join(lines)).started()
    found = Day(requests)
    try:
        pid, warm = daemon.process.pid, max(requests // 10, 1)
        began = time.monotonic()
        await _traffic(daemon.port, 0, warm)
        found.seconds = time.monotonic() - began
        found.descriptors_before = await _settled(daemon, pid)
        found.memory_before = memory(pid)
        began = time.monotonic()
        await _traffic(daemon.port, warm, requests)
        found.seconds += time.monotonic() - began
        found.descriptors_after = await _settled(daemon, pid)
        found.memory_after = memory(pid)
        await daemon.stop()
        found.problems = _compare(
            _sums(daemon), {name: provider.told for name, provider in providers.items()}, requests
        )
    finally:
        await daemon.stop()
        for server in servers.values():
            await server.stop()
    return found


async def _settled(daemon: Daemon, pid: int) -> int:
    """Wait until idle connections are closed, and give how many descriptors are left."""
    deadline = time.monotonic() + SETTLE_SECONDS
    least = descriptors(pid)
    while time.monotonic() < deadline:
        await pause(0.5)
        least = min(least, descriptors(pid))
        if not any("socket:[" in str(link) for link in _connections(pid)):
            break
    return descriptors(pid)


def _connections(pid: int) -> list[str]:
    """Established TCP connections of a process, as the kernel lists them."""
    own = {str(path.readlink())[8:-1] for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [f"socket:[{row[9]}]" for row in rows if row[3] == "01" and row[9] in own]


def _compare(sums: dict[str, Sums], told: dict[str, Counter[str]], requests: int) -> list[str]:
    problems = []
    total = 0
    for name, expected in told.items():
        row = sums.get(name, Sums())
        total += row.requests
        for what in ("requests", "errors", "aborted", "input", "output"):
            if getattr(row, what) != expected[what]:
                problems.append(f"{name}: {what} is {getattr(row, what)}, told were {expected[what]}")
    if total != requests:
        problems.append(f"{total} requests were counted of {requests}")
    return problems


async def _main(_: object, requests: str = str(REQUESTS)) -> None:
    found = await day(int(requests))
    print(f"{found.requests} requests in {found.seconds:.0f} s, {found.requests / found.seconds:.0f} a second")
    print(f"memory {found.memory_before / 1e6:.1f} MB, then {found.memory_after / 1e6:.1f} MB ({found.growth:+.1%})")
    print(f"descriptors {found.descriptors_before}, then {found.descriptors_after}")
    print("\n".join(found.problems) or "the ledger is exact")
    if found.problems or found.growth > 0.05 or found.descriptors_after != found.descriptors_before:
        raise SystemExit(1)


if __name__ == "__main__":
    react(_main, sys.argv[1:])
