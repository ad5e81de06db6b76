"""The ledger of the real daemon: its sums are what scripted providers told, in every format, native and translated."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from llmux.config.secret import mask
from llmux.peers.store import state_file
from llmux.peers.usage_table import Sums, report
from tests import native_answers
from tests.end_to_end import EndToEndCase, eventually, request_bytes
from tests.running import Daemon
from tests.scripted import ScriptedServer, Seen

KEYS = ("client-key-one-0001", "client-key-two-0002")
KINDS = ("anthropic", "openai", "openai-responses", "gemini")
PATHS = {
    "anthropic": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "gemini": "/v1beta/models/{model}:{verb}",
}
SPOKEN = {"anthropic": "anthropic", "openai": "chat", "openai-responses": "responses", "gemini": "gemini"}
_READ = re.compile(rb'("(?:input_tokens|prompt_tokens|promptTokenCount)": )11\b')
_WRITTEN = re.compile(rb'("(?:output_tokens|completion_tokens|candidatesTokenCount)": )7\b')


class Provider:
    """Serves one kind, tells other counts in every answer, and knows their sums."""

    def __init__(self, kind: str) -> None:
        self.told: Counter[str] = Counter()
        self._format = SPOKEN[kind]

    def __call__(self, seen: Seen) -> None:
        self.told["requests"] += 1
        asked = seen.json()
        stream = ":stream" in seen.target or bool(asked.get("stream"))
        read, written = 1000 + self.told["requests"], 10 + 3 * self.told["requests"]
        self.told["input"] += read
        self.told["output"] += written
        pieces = list(self._pieces(stream))
        told = [_WRITTEN.sub(rb"\g<1>%d" % written, _READ.sub(rb"\g<1>%d" % read, piece)) for piece in pieces]
        if stream:
            seen.stream(told)
        else:
            seen.reply(200, told[0])

    def _pieces(self, stream: bool) -> Iterator[bytes]:
        if not stream:
            yield getattr(native_answers, self._format)("m")
            return
        events: Callable[[str], Iterator[bytes]] = getattr(native_answers, f"{self._format}_events")
        for event in events("m"):
            if event == b"data: [DONE]\n\n":
                usage = {"prompt_tokens": 11, "completion_tokens": 7}
                yield b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
            yield event


def body_of(protocol: str, model: str, stream: bool) -> bytes:
    asked: dict[str, Any] = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hello"}]}
    if protocol == "anthropic":
        asked["max_tokens"] = 99
    elif protocol == "responses":
        asked = {"model": model, "stream": stream, "input": "Hello"}
    elif protocol == "gemini":
        asked = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}
    return json.dumps(asked).encode()


def target_of(protocol: str, model: str, stream: bool) -> str:
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return PATHS[protocol].format(model=model, verb=verb)


class LedgerTests(EndToEndCase):
    async def start(self, servers: dict[str, ScriptedServer], more: str = "") -> Daemon:
        lines = [f"api-keys: [{', '.join(KEYS)}]", "providers:"]
        for kind, server in servers.items():
            url = server.url + ("/v1" if kind.startswith("openai") else "")
            lines.append(
                f"  - {{name: own-{kind}, kind: {kind}, base-url: '{url}', api-keys: [pk-{kind}-000000], "
                f"models: [m-{kind}, m-bad]}}"
            )
        return await self.run_daemon("\n".join([*lines, more]))

    def file(self, daemon: Daemon) -> Path:
        return state_file(str(daemon.config), {"XDG_STATE_HOME": str(daemon.folder / "state")})

    def read(self, daemon: Daemon, *by: str) -> dict[tuple[str, ...], Sums]:
        if not self.file(daemon).exists():
            return {}
        with closing(sqlite3.connect(f"file:{self.file(daemon)}?mode=ro", uri=True)) as connection:
            return {line.names: line.sums for line in report(connection, by)}

    async def written(self, daemon: Daemon, requests: int) -> None:
        def there() -> bool:
            try:
                return sum(sums.requests for sums in self.read(daemon, "model").values()) == requests
            except sqlite3.OperationalError:
                return False  # the file is there before its tables are

        await eventually(there, what=f"{requests} requests in the ledger")

    async def test_itsSumsAreWhatTheProvidersTold(self) -> None:
        providers = {kind: Provider(kind) for kind in KINDS}
        daemon = await self.start({kind: self.serve(script) for kind, script in providers.items()})
        asked = 0
        for kind in KINDS:
            for protocol in PATHS:
                for stream in (False, True):
                    model = f"m-{kind}"
                    answer = await self.ask(
                        daemon.port,
                        target_of(protocol, model, stream),
                        body_of(protocol, model, stream),
                        headers={"x-api-key": KEYS[asked % 2]},
                    )
                    self.assertEqual(answer.status, 200, (kind, protocol, stream, answer.body))
                    asked += 1
        await self.written(daemon, asked)
        by_provider = self.read(daemon, "provider", "model", "credential", "route")
        self.assertEqual(len(by_provider), len(KINDS))
        for kind, provider in providers.items():
            sums = by_provider[f"own-{kind}", f"m-{kind}", mask(f"pk-{kind}-000000"), "LOCAL_PROVIDER"]
            told = provider.told
            self.assertEqual(
                (told["requests"], told["input"], told["output"]), (sums[0], sums.input, sums.output), kind
            )
            self.assertEqual((sums.errors, sums.aborted, sums.metered, sums.first_bytes), (0, 0, 8, 8))
        clients = self.read(daemon, "client")
        self.assertEqual([sums.requests for sums in clients.values()], [16, 16])
        self.assertNotIn(b"client-key-one", self.file(daemon).read_bytes())
        printed = await deferToThread(self.usage, daemon)
        whole = {name: sum(provider.told[name] for provider in providers.values()) for name in ("input", "output")}
        self.assertEqual({name: printed["total"][name] for name in whole}, whole)
        await daemon.stop()
        self.assertEqual(self.read(daemon, "provider", "model", "credential", "route"), by_provider)

    def usage(self, daemon: Daemon) -> Any:
        command = [str(Path(sys.executable).with_name("llmux")), "usage", "--json", "--config", str(daemon.config)]
        environ = {"XDG_STATE_HOME": str(daemon.folder / "state"), "PATH": ""}
        return json.loads(subprocess.run(command, env=environ, capture_output=True, check=True, timeout=30).stdout)

    async def test_errorsAndAbortsAreCountedForWhatTheyAre(self) -> None:
        scripts: list[Callable[[Seen], None]] = []
        pending: list[Seen] = []
        daemon = await self.start({"anthropic": self.serve(lambda seen: scripts.pop(0)(seen))})

        async def message(script: Callable[[Seen], None], stream: bool, model: str = "m-anthropic") -> None:
            scripts.append(script)
            await self.ask(
                daemon.port, PATHS["anthropic"], body_of("anthropic", model, stream), headers={"x-api-key": KEYS[0]}
            )

        events = list(native_answers.anthropic_events("m"))

        def cut(seen: Seen) -> None:
            seen.begin_stream()
            seen.chunk(events[0])
            seen.close()

        failing = [*events[:2], b'event: error\ndata: {"type":"error","error":{"type":"api_error"}}\n\n']
        await message(lambda seen: seen.reply(400, b'{"type":"error","error":{"type":"x","message":"y"}}'), False)
        await message(cut, True)
        await message(lambda seen: seen.stream(failing), True)
        await message(lambda seen: None, False, "nobody-serves-this")
        scripts.clear()
        for begun in (True, False):
            scripts.append(pending.append)
            sent = request_bytes(
                PATHS["anthropic"], body_of("anthropic", "m-anthropic", True), (f"X-Api-Key: {KEYS[0]}",)
            )
            client = await self.connect(daemon.port, sent)
            await eventually(lambda: pending, what="the request")
            seen = pending.pop()
            if begun:
                seen.begin_stream()
                seen.chunk(events[0])
                await client.until(b"message_start")
            client.wire.abortConnection()
            await seen.gone
        await self.written(daemon, 6)
        found = self.read(daemon, "route", "provider", "model")
        nobody = found["NO_PROVIDER", "", "nobody-serves-this"]
        self.assertEqual((nobody.requests, nobody.errors, nobody.metered, nobody.first_bytes), (1, 1, 0, 0))
        sums = found["LOCAL_PROVIDER", "own-anthropic", "m-anthropic"]
        self.assertEqual((sums.requests, sums.errors, sums.aborted), (5, 3, 2))
        # three streams had begun and said 11 and 1 before they ended
        self.assertEqual((sums.metered, sums.input, sums.output, sums.first_bytes), (3, 33, 3, 3))

    async def test_whatCostsCreditsIsCountedToo(self) -> None:
        upstream = self.serve(native_answers.script)
        daemon = await self.start({}, f"ampcode: {{upstream-url: '{upstream.url}', credits: allow}}")
        for stream in (False, True):
            answer = await self.ask(
                daemon.port, PATHS["anthropic"], body_of("anthropic", "opus-9", stream), headers={"x-api-key": KEYS[0]}
            )
            self.assertEqual(answer.status, 200)
        await self.written(daemon, 2)
        found = self.read(daemon, "route", "provider", "model", "credential")
        sums = found["AMP_CREDITS", "upstream", "opus-9", ""]
        self.assertEqual((sums.requests, sums.metered, sums.input, sums.output), (2, 2, 22, 14))

    async def test_aLedgerThatIsSwitchedOffWritesNothing(self) -> None:
        daemon = await self.start({"anthropic": self.serve(native_answers.script)}, "usage: {enabled: false}")
        await self.ask(
            daemon.port, PATHS["anthropic"], body_of("anthropic", "m-anthropic", True), headers={"x-api-key": KEYS[0]}
        )
        await daemon.stop()
        self.assertEqual(self.read(daemon, "model"), {})

    async def test_aDiskThatTakesNothingStopsNoRequest(self) -> None:
        daemon = await self.start({"anthropic": self.serve(native_answers.script)})
        file = self.file(daemon)
        for place in (file.parent, file.parent.parent):
            place.mkdir(parents=True, exist_ok=True)
        file.parent.rmdir()
        file.parent.write_bytes(b"no folder")
        for _ in range(4):
            answer = await self.ask(
                daemon.port,
                PATHS["anthropic"],
                body_of("anthropic", "m-anthropic", False),
                headers={"x-api-key": KEYS[0]},
            )
            self.assertEqual(answer.status, 200)
        log = await daemon.until("cannot be used, going on in memory")
        self.assertEqual(log.count("going on in memory"), 1)
        file.parent.unlink()
        await daemon.stop()
        self.assertEqual([sums.requests for sums in self.read(daemon, "model").values()], [4])
