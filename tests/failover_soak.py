"""Clients in a hurry, keys that fail: `python -m tests.failover_soak [--seconds N]`, through the real daemon.

64 clients ask, in two formats, streaming and not, for a model that 6 keys on 3 providers serve, each of which fails at
random in any way. Every client must get a whole answer, a proper error, or an answer that is cut because its provider
died in the middle of it; and for each key the provider must have seen as many requests as the daemon's log has.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import react

from tests.conversation import Answer, Conversation
from tests.native_answers import TEXT
from tests.native_answers import script as well
from tests.running import Daemon, pause
from tests.scripted import ScriptedServer, Seen

reactor: Any = installed
CLIENT_KEY = "soak-client-key"
MODEL = "m-1"
PROVIDERS = (("first", "openai"), ("second", "anthropic"), ("third", "openai"))
ROUTES = {"/v1/chat/completions": b"[DONE]", "/v1/messages": b"message_stop"}
LATER = 0.03
_START = {"type": "message_start", "message": {"id": "m", "role": "assistant", "content": [], "model": MODEL}}
_CHUNK = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "H"}}]}
_ERRORS = {429: 6, 500: 3, 503: 5, 529: 3, 400: 2}
_TICKET = re.compile(rb"ticket-(\d+)-")


def configuration(urls: dict[str, str]) -> str:
    """Three providers with two keys each; whoever fails is left alone for a moment only."""
    providers = "".join(
        f"  - {{name: {name}, kind: {kind}, base-url: '{urls[name]}', models: [{MODEL}], "
        f"api-keys: [soak-{name}-key-1, soak-{name}-key-2]}}\n"
        for name, kind in PROVIDERS
    )
    return (
        f"api-keys: [{CLIENT_KEY}]\nproviders:\n{providers}"
        "ampcode: {upstream-url: 'http://127.0.0.1:9', credits: deny}\n"
        "timeouts: {first-byte: 3, idle: 1}\ncooldown: {max: 0.1}\n"
        "routing: {strategy: weighted, session-affinity: false}\n"
    )


def _error(status: int) -> Callable[[Seen], None]:
    body = json.dumps({"type": "error", "error": {"type": "scripted", "message": f"scripted {status}"}}).encode()
    headers = [("retry-after-ms", "100")] if status == 429 else []
    return lambda seen: seen.reply(status, body, headers=headers)


def _cut_later(seen: Seen) -> None:
    reactor.callLater(LATER, seen.cut)


def _in_the_head(seen: Seen) -> None:
    seen.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    _cut_later(seen)


def _begun(seen: Seen, body: bool) -> None:
    """A head, perhaps with the beginning of an answer, and then the end of the connection."""
    anthropic = seen.target.endswith("/messages")
    if seen.json().get("stream"):
        seen.begin_stream()
        if body:
            start = {
                "type": "message_start",
                "message": {"id": "m", "role": "assistant", "content": [], "model": MODEL},
            }
            chunk = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "H"}}]}
            name = b"event: message_start\n" if anthropic else b""
            seen.chunk(name + b"data: " + json.dumps(start if anthropic else chunk).encode() + b"\n\n")
    else:
        seen.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        if body:
            seen.write(b'{"id":"x","object":"chat.completion","choices":[' + b" " * 100)
    _cut_later(seen)


def _disguised(seen: Seen) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy", "code": 529}}
    if not seen.json().get("stream"):
        seen.reply(200, json.dumps(error).encode())
        return
    name = b"event: error\n" if seen.target.endswith("/messages") else b""
    seen.stream([name + b"data: " + json.dumps(error).encode() + b"\n\n"])


def _slowly(seen: Seen) -> None:
    reactor.callLater(LATER, well, seen)


# How a provider behaves, and how often. `dies` is the one that a client may see as an answer that was cut.
WAYS: dict[str, tuple[int, Callable[[Seen], None]]] = {
    "answers": (80, well),
    "answers slowly": (10, _slowly),
    **{
        f"says {status}": (weight, _error(status))
        for status, weight in ((429, 6), (500, 3), (503, 5), (529, 3), (400, 2))
    },
    "resets": (4, Seen.cut),
    "resets in the head": (3, _in_the_head),
    "resets after the head": (3, lambda seen: _begun(seen, False)),
    "dies": (4, lambda seen: _begun(seen, True)),
    "disguises an error": (4, _disguised),
}


@dataclass
class Report:
    """What happened; `wrong` must be empty."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    logged: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        requests = sum(self.answers.values())
        lines = [f"{requests} requests in {self.seconds:.0f} s; {sum(self.seen.values())} came to providers"]
        lines += [f"  {count:6} {what}" for what, count in self.answers.most_common()]
        lines += [
            f"  {key}: {self.seen[key]} seen, {self.logged[key]} logged" for key in sorted({*self.seen, *self.logged})
        ]
        lines += [f"WRONG: {what}" for what in self.wrong[:20]]
        return "\n".join(lines)


class Soak:
    """One daemon, three providers, many clients."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.report = Report()
        self.tickets = 0
        self.met: dict[int, list[tuple[str, str]]] = {}  # ticket -> (provider, what it did), in order
        self.servers = {name: ScriptedServer(self._script(name)) for name, _ in PROVIDERS}
        urls = {name: server.url for name, server in self.servers.items()}
        self.daemon = Daemon(configuration(urls), "--log-format", "json", "--log-level", "debug")

    def _script(self, name: str) -> Callable[[Seen], None]:
        names = [*WAYS]
        weights = [weight for weight, _ in WAYS.values()]

        def script(seen: Seen) -> None:
            found = _TICKET.search(seen.body)
            assert found is not None
            way = self.random.choices(names, weights)[0]
            self.met.setdefault(int(found[1]), []).append((name, way))
            key = seen.header("authorization") or seen.header("x-api-key") or ""
            number = key.rpartition("-")[2]
            self.report.seen[f"{name} {number}"] += 1
            if f"soak-{name}-key-" not in key:
                self.report.wrong.append(f"{name} got a key that is not its own")
            WAYS[way][1](seen)

        return script

    async def run(self, seconds: float, clients: int) -> Report:
        """Let the clients ask for so long, then compare."""
        await self.daemon.started()
        began = time.monotonic()
        await gatherResults([Deferred.fromCoroutine(self._client(began + seconds)) for _ in range(clients)])
        self.report.seconds = time.monotonic() - began
        await pause(0.3)
        await self.daemon.stop()
        for server in self.servers.values():
            await server.stop()
        self._compare_with_log()
        return self.report

    async def _client(self, until: float) -> None:
        while time.monotonic() < until:
            self.tickets += 1
            ticket, route, stream = self.tickets, self.random.choice([*ROUTES]), self.random.random() < 0.5
            endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.daemon.port)
            client: Conversation = await connectProtocol(endpoint, Conversation())
            turn = {"role": "user", "content": f"ticket-{ticket}-"}
            body = json.dumps({"model": MODEL, "stream": stream, "max_tokens": 9, "messages": [turn]}).encode()
            client.ask("POST", route, [("x-api-key", CLIENT_KEY)], body)
            try:
                answer = await client.answer()
            except Exception as problem:
                self.report.wrong.append(f"{ticket}: no answer: {problem!r} after {self.met.get(ticket)}")
            else:
                self._judge(ticket, route, stream, answer)
            client.leave()

    def _judge(self, ticket: int, route: str, stream: bool, answer: Answer) -> None:
        met = self.met.get(ticket, [])
        what = f"{ticket} {route} {'stream' if stream else 'whole'} {answer.status}: {met}"
        wrong = self.report.wrong
        last = met[-1] if met else ("", "")
        if len(met) > 6 or any(way.startswith("answers") or way == "says 400" for _, way in met[:-1]):
            wrong.append(f"sent again: {what}")
        if answer.header("x-llmux-reason") is None:
            wrong.append(f"without a reason: {what}")
        if answer.header("x-llmux-provider") not in {name for name, _ in met}:
            wrong.append(f"by {answer.header('x-llmux-provider')}: {what}")
        if not answer.complete:
            self.report.answers["cut, as its provider died"] += 1
            if last[1] != "dies" or answer.status != 200:
                wrong.append(f"cut: {what}")
        elif answer.status == 200:
            self.report.answers["whole"] += 1
            if not last[1].startswith("answers") or not self._is_whole(route, stream, answer.body):
                wrong.append(f"not whole: {what} {answer.body!r}")
        else:
            self.report.answers[f"error {answer.status}"] += 1
            self._judge_error(route, answer, what)

    def _is_whole(self, route: str, stream: bool, body: bytes) -> bool:
        if stream:
            return all(words in body for words in (b"llo from", b" the provider.", ROUTES[route]))
        return TEXT in json.dumps(json.loads(body), ensure_ascii=False)

    def _judge_error(self, route: str, answer: Answer, what: str) -> None:
        try:
            error = answer.json()
        except ValueError:
            error = {}
        told = error.get("error", {})
        shaped = (
            isinstance(told, dict) and told.get("message") and (route != "/v1/messages" or error["type"] == "error")
        )
        if answer.status not in (400, 429, 500, 502, 503, 504, 529) or not shaped:
            self.report.wrong.append(f"no proper error: {what} {answer.body[:200]!r}")

    def _compare_with_log(self) -> None:
        for line in self.daemon.log.splitlines():
            record = json.loads(line) if line.startswith("{") else {}
            if record.get("component") == "llmux-try" and record["sent"]:
                self.report.logged[f"{record['provider']} {record['key']}"] += 1
            if "traceback" in record or "Traceback" in line:
                self.report.wrong.append(line[:500])
            if "soak-" in line:
                self.report.wrong.append(f"a key in the log: {line[:200]}")
        if self.report.logged != self.report.seen:
            self.report.wrong.append("what providers saw is not what the log says")
        if self.daemon.process.returncode != 0:
            self.report.wrong.append(f"the daemon ended with {self.daemon.process.returncode}")


def main() -> None:
    """Run for as long as the command line says; exit status 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()

    async def soak() -> None:
        report = await Soak(options.seed).run(options.seconds, options.clients)
        print(f"seed {options.seed}\n{report}")
        if report.wrong:
            sys.exit(1)

    react(lambda _: Deferred.fromCoroutine(soak()))


if __name__ == "__main__":
    main()
