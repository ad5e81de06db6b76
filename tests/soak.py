"""Forty streams at once through the real daemon, with random kills on both sides: `python -m tests.soak [--seconds N]`.

Every stream carries numbered events. One that nobody killed must arrive whole and in order; one whose upstream was
killed must arrive as a beginning, in order, and look cut; and when all is over the daemon has logged no traceback and
holds no more descriptors or memory than before.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure

from tests.running import Daemon, pause
from tests.scripted import ScriptedServer, Seen

KEY = "soak-client-key"
MEMORY_SLACK = 12 * 1024  # kB that the allocator may keep
_TICKET = re.compile(rb"ticket-(\d+)-")
_NUMBER = re.compile(rb"#(\d+);")
ROUTES = (
    ("/api/soak", "", b"[DONE]"),
    ("/v1/chat/completions", "native-chat", b"[DONE]"),
    ("/v1/messages", "native-messages", b"message_stop"),
    ("/v1/messages", "mapped", b"message_stop"),
    ("/v1/messages", "native-chat", b"message_stop"),
    ("/v1/chat/completions", "native-messages", b"[DONE]"),
)


def configuration(url: str) -> str:
    """Every kind of route towards one upstream: passthrough, native, mapped and translated."""
    return f"""
api-keys: [{KEY}]
providers:
  - {{name: chat, kind: openai, base-url: "{url}", api-keys: [soak-provider-key], models: [native-chat]}}
  - {{name: messages, kind: anthropic, base-url: "{url}", api-keys: [soak-provider-key], models: [native-messages]}}
ampcode:
  upstream-url: {url}
  upstream-api-key: soak-upstream-key
  credits: deny
  restrict-management-to-localhost: false
  model-mappings: [{{from: mapped, to: native-messages}}]
cooldown: {{max: 0}}
"""


def event(value: Any, name: str | None = None) -> bytes:
    """One event of a stream."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + json.dumps(value).encode() + b"\n\n"


def chat_events(count: int) -> Iterator[bytes]:
    """A Chat Completions stream with numbered texts."""
    for number in range(count):
        yield event({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": f"#{number};"}}]})
    yield event({"id": "c", "model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    yield b"data: [DONE]\n\n"


def messages_events(count: int) -> Iterator[bytes]:
    """A Messages stream with numbered texts."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {}}
    yield event({"type": "message_start", "message": message}, "message_start")
    block = {"type": "text", "text": ""}
    yield event({"type": "content_block_start", "index": 0, "content_block": block}, "content_block_start")
    for number in range(count):
        delta = {"type": "text_delta", "text": f"#{number};"}
        yield event({"type": "content_block_delta", "index": 0, "delta": delta}, "content_block_delta")
    yield event({"type": "content_block_stop", "index": 0}, "content_block_stop")
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    yield event({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 1}}, "message_delta")
    yield event({"type": "message_stop"}, "message_stop")


def dechunked(body: bytes) -> tuple[bytes, bool]:
    """The content of a chunked body and whether its end was there."""
    content = b""
    while body:
        line, found, rest = body.partition(b"\r\n")
        if not found:
            break
        size = int(line, 16)
        if not size:
            return content, rest == b"\r\n"
        content += rest[:size]
        body = rest[size + 2 :]
    return content, False


@dataclass
class Plan:
    """What shall become of one stream, and what did: an upstream's kill or a client's, after so many events."""

    route: tuple[str, str, bytes]
    events: int
    upstream_dies: int | None
    client_leaves: int | None
    manner: int
    finished: bool = False


@dataclass
class Report:
    """What a soak saw; `wrong` has a line for each broken promise."""

    outcomes: Counter[str] = field(default_factory=Counter)
    events: int = 0
    wrong: list[str] = field(default_factory=list)
    descriptors: tuple[int, int] = (0, 0)
    memory: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        outcomes = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        return (
            f"{sum(self.outcomes.values())} streams ({outcomes}), {self.events} events; descriptors "
            f"{self.descriptors[0]} -> {self.descriptors[1]}; resident {self.memory[0]} -> {self.memory[1]} kB; "
            f"{len(self.wrong)} wrong"
        )


class Caller(Protocol):
    """A client connection that asks for one stream after the other and looks at each."""

    def __init__(self, soak: Soak) -> None:
        self.soak = soak
        self.data = b""
        self.over: Deferred[None] = Deferred()
        self.plan: Plan | None = None

    @property
    def wire(self) -> Any:
        """The transport, a TCP connection."""
        return self.transport

    def connectionMade(self) -> None:
        self.wire.setTcpNoDelay(True)
        self._ask()

    def _ask(self) -> None:
        ticket, self.plan = self.soak.plan()
        self.data = b""
        path, model, _ = self.plan.route
        message = {"role": "user", "content": f"ticket-{ticket}-"}
        body = json.dumps({"model": model, "max_tokens": 99, "stream": True, "messages": [message]}).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: llmux.test\r\nAuthorization: Bearer {KEY}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wire.write(head.encode() + body)
        if self.plan.client_leaves == 0:
            self._leave(self.plan)

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        plan = self.plan
        if plan is None:
            return
        if plan.client_leaves is not None and len(_NUMBER.findall(self.data)) >= plan.client_leaves:
            self._leave(plan)
        elif self.data.endswith(b"0\r\n\r\n") or (b"\r\nContent-Length: " in self.data and self.data.endswith(b"}")):
            self.soak.judge(plan, self.data, ended=False)
            self.plan = None
            if self.soak.running and b"\r\nConnection: close\r\n" not in self.data:
                self._ask()
            else:
                self.wire.loseConnection()

    def _leave(self, plan: Plan) -> None:
        self.plan = None
        self.soak.judge(plan, self.data, left=True)
        self.wire.abortConnection() if plan.manner % 2 else self.wire.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        plan, self.plan = self.plan, None
        if plan is not None:
            self.soak.judge(plan, self.data, ended=True)
        self.over.callback(None)


class _Callers(ClientFactory):
    noisy = False

    def __init__(self, caller: Caller) -> None:
        self.caller = caller

    def buildProtocol(self, addr: object) -> Caller:
        return self.caller

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.caller.soak.report.wrong.append(f"the daemon refused a connection: {reason.getErrorMessage()}")
        self.caller.over.callback(None)


class Soak:
    """One run: plans the streams, plays the upstream, and judges what clients got."""

    def __init__(self, reactor: Any, streams: int, seed: int) -> None:
        self.report = Report()
        self.running = True
        self._reactor = reactor
        self._streams = streams
        self._random = Random(seed)
        self._plans: dict[int, Plan] = {}

    def plan(self) -> tuple[int, Plan]:
        """The next stream."""
        random = self._random
        count = random.randrange(1, 60)
        fate = random.random()
        plan = Plan(
            random.choice(ROUTES),
            count,
            random.randrange(-1, count + 1) if fate < 0.2 else None,
            random.randrange(0, count + 1) if 0.2 <= fate < 0.4 else None,
            random.randrange(6),
        )
        ticket = len(self._plans)
        self._plans[ticket] = plan
        return ticket, plan

    def serve(self, seen: Seen) -> None:
        """Play the upstream for one request."""
        found = _TICKET.search(seen.body)
        assert found is not None
        plan = self._plans[int(found[1])]
        if plan.upstream_dies == -1:
            self._die(seen, plan)
            return
        events = messages_events if "/v1/messages" in seen.target else chat_events
        seen.begin_stream()
        self._send(seen, plan, events(plan.events), 0)

    def _send(self, seen: Seen, plan: Plan, events: Iterator[bytes], sent: int) -> None:
        """Send a few events, now or in a while."""
        for piece in events:
            if seen.gone.called:
                return
            if plan.upstream_dies is not None and sent >= plan.upstream_dies:
                self._die(seen, plan)
                return
            seen.chunk(piece)
            sent += 1
            if self._random.random() < 0.5:
                delay = self._random.choice((0, 0, 0.002, 0.02))
                IReactorTime(self._reactor).callLater(delay, self._send, seen, plan, events, sent)
                return
        plan.finished = True
        seen.end_stream()

    def _die(self, seen: Seen, plan: Plan) -> None:
        if plan.manner == 0:
            seen.cut()
        elif plan.manner == 1:
            seen.close()
        elif plan.manner == 2:
            seen.write(b"80\r\ndata: {")
            seen.close()
        elif plan.manner == 3:
            seen.write(b"0\r\n")
            seen.close()
        elif plan.manner == 4:
            seen.write(b"\r\nnonsense\r\n")
            seen.close()
        else:
            seen.write(b"5\r\ndata:\r\n")
            seen.cut()

    def judge(self, plan: Plan, data: bytes, *, left: bool = False, ended: bool = False) -> None:
        """Compare what a client got with what was planned."""
        head, _, body = data.partition(b"\r\n\r\n")
        streamed = b"transfer-encoding: chunked" in head.lower()
        content, complete = dechunked(body) if streamed else (body, bool(head) and not ended)
        numbers = [int(number) for number in _NUMBER.findall(content)]
        self.report.events += len(numbers)
        if numbers != list(range(len(numbers))):
            self._wrong(plan, f"out of order: {numbers}")
        if left:
            self.report.outcomes["left by their clients"] += 1
        elif plan.upstream_dies is None or plan.finished:
            self.report.outcomes["whole"] += 1
            if not complete or len(numbers) != plan.events or plan.route[2] not in content:
                self._wrong(plan, f"not whole: {len(numbers)} events, complete: {complete}, {head[:60]!r}")
        elif not streamed and head:
            self.report.outcomes["answered with an error"] += 1
            if not head.startswith(b"HTTP/1.1 502 ") or numbers:
                self._wrong(plan, f"no proper error: {head[:60]!r}")
        else:
            self.report.outcomes["cut"] += 1
            if complete or plan.route[2] in content:
                self._wrong(plan, f"looks whole after {len(numbers)} events")

    def _wrong(self, plan: Plan, what: str) -> None:
        self.report.wrong.append(f"{what} ({plan})")

    async def _call(self) -> None:
        """Keep one client going."""
        while self.running:
            caller = Caller(self)
            tcp = IReactorTCP(self._reactor)
            tcp.connectTCP("127.0.0.1", self._port, _Callers(caller))
            await caller.over

    async def run(self, seconds: float) -> Report:
        """Start a daemon, load it, and look at what is left; a first second of load opens what stays open."""
        server = ScriptedServer(self.serve, IReactorTCP(self._reactor))
        daemon = await Daemon(configuration(server.url)).started()
        self._port = daemon.port
        proc = Path(f"/proc/{daemon.process.pid}")
        try:
            await self._load(1.0)
            descriptors = await self._settled(server, proc, 0)
            warm = min(10.0, seconds / 2)
            await self._load(warm)
            await self._settled(server, proc, descriptors)
            memory = resident(proc)
            await self._load(seconds - warm)
            after = await self._settled(server, proc, descriptors)
            self._look(daemon, (descriptors, after), (memory, resident(proc)))
        finally:
            self.running = False
            await daemon.stop()
            await server.stop()
        return self.report

    async def _load(self, seconds: float) -> None:
        """Keep all clients going for so long, and let the last streams end."""
        self.running = True
        callers = gatherResults([Deferred.fromCoroutine(self._call()) for _ in range(self._streams)])
        await pause(seconds)
        self.running = False
        await callers

    async def _settled(self, server: ScriptedServer, proc: Path, expected: int) -> int:
        """The daemon's descriptors when nothing is under way and no connection is kept; not before they are few."""
        for connection in list(server.connections):
            connection.wire.abortConnection()
        for _ in range(20):
            await pause(0.1)
            count = len(list((proc / "fd").iterdir()))
            if count <= expected:
                break
        return count

    def _look(self, daemon: Daemon, descriptors: tuple[int, int], memory: tuple[int, int]) -> None:
        report = self.report
        report.descriptors, report.memory = descriptors, memory
        if descriptors[1] > descriptors[0]:
            report.wrong.append(f"descriptors leak: {descriptors}")
        if memory[1] > memory[0] + MEMORY_SLACK:
            report.wrong.append(f"memory grows: {memory} kB")
        if "Traceback" in daemon.log or " critical " in daemon.log:
            report.wrong.append(
                "the daemon logged a traceback:\n" + daemon.log[daemon.log.find("Traceback") - 300 :][:3000]
            )


def resident(proc: Path) -> int:
    """The resident memory of a process in kB."""
    found = re.search(r"VmRSS:\s+(\d+) kB", (proc / "status").read_text())
    return int(found[1]) if found else 0


def main() -> None:
    """Run as the command line says; the exit status is 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--streams", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    async def run(reactor: Any) -> None:
        report = await Soak(reactor, options.streams, options.seed).run(options.seconds)
        print("\n".join([*report.wrong[:20], str(report)]))
        if report.wrong:
            sys.exit(1)

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main()
