"""The configuration changes while the daemon works: no request is lost, and every good file comes into force."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import treq
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.web.http_headers import Headers

from tests.end_to_end import Answer, EndToEndCase, Paused, eventually, received, request_bytes
from tests.native_answers import TEXT, anthropic_events, script
from tests.running import Daemon

KEY = "client-key-of-the-tests"
BURSTS, REWRITES = 10, 20
INVALID = (
    b"",
    b"\n",
    b"providers: {",
    b"\tapi-keys: [x]\n",
    b"listen: tcp:1:interface=127.0.0.1\napi-kyes: [x]\n",
    b"listen: tcp:1:interface=127.0.0.1\napi-keys: []\n",
    b"\xff\xfe\x00",
    b"providers: [{name: a, kind: nothing}]\n",
    b"api-keys: 7\nproviders: []\n",
)


class Load:
    """Clients that ask one request after the other over a connection each, until `stop` is set."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.stop = threading.Event()
        self.good = 0
        self.bad: list[str] = []

    def run(self, path: str, body: dict[str, Any], fine: Callable[[Answer], bool]) -> None:
        """Ask until told to stop; blocks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
        try:
            while not self.stop.is_set():
                try:
                    connection.request("POST", path, json.dumps(body).encode(), headers)
                    answer = received(connection)
                except (OSError, http.client.HTTPException) as problem:
                    self.bad.append(f"{path}: {problem!r}")
                    connection.close()
                    continue
                if answer.status == 200 and not answer.broken and fine(answer):
                    self.good += 1
                else:
                    self.bad.append(f"{path}: {answer}")
        finally:
            connection.close()


class ReloadTests(EndToEndCase):
    async def health(self, daemon: Daemon) -> dict[str, Any]:
        """What /healthz says."""
        answer = await treq.get(f"{daemon.url}/healthz", headers=Headers({"X-Api-Key": [KEY]}), persistent=False)
        told: dict[str, Any] = await treq.json_content(answer)
        return told

    async def test_twoHundredRewritesUnderLoadLoseNoRequest(self) -> None:
        provider, upstream = self.serve(script), self.serve(script)

        def valid(number: int) -> bytes:
            more = "".join(
                f"  - {{name: more{index}, kind: demo, models: [x{index}]}}\n" for index in range(number % 4)
            )
            return (
                f"listen: tcp:{daemon.port}:interface=127.0.0.1\n"
                f"api-keys: [other-{number}, {KEY}]  # {number}\n"
                f"providers:\n{more}"
                f"  - {{name: o, kind: anthropic, base-url: '{provider.url}', models: [own-1], api-keys: [k{number}]}}"
                "\n"
                "  - {name: demo, kind: demo}\n"
                f"ampcode:\n  upstream-url: {upstream.url}\n  credits: {{allow: [paid-1]}}\n"
                f"  model-mappings: [{{from: asked-1, to: own-1}}, {{from: n, to: x{number}}}]\n"
            ).encode()

        daemon = await self.run_daemon("api-keys: [first]\nproviders: [{name: demo, kind: demo}]\n")
        daemon.config.write_bytes(valid(0))
        await self.wait_for(daemon, valid(0))
        load = Load(daemon.port)
        told = b"This is the demo provider"
        message = {"max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
        clients = [
            deferToThread(load.run, path, {**message, **more}, fine)
            for path, more, fine in (
                ("/v1/messages", {"model": "own-1"}, lambda answer: TEXT.encode() in answer.body),
                ("/v1/messages", {"model": "asked-1", "stream": True}, lambda answer: b"asked-1" in answer.body),
                ("/v1/chat/completions", {"model": "paid-1"}, lambda answer: TEXT.encode() in answer.body),
                ("/v1/chat/completions", {"model": "demo", "stream": True}, lambda answer: b"[DONE]" in answer.body),
                ("/v1/responses", {"model": "demo", "input": "hello"}, lambda answer: told in answer.body),
            )
        ]
        try:
            await self.rewrite(daemon, valid)
        finally:
            load.stop.set()
            await gatherResults(clients)
        self.assertEqual(load.bad, [])
        self.assertGreater(load.good, BURSTS * len(clients))

    async def rewrite(self, daemon: Daemon, valid: Callable[[int], bytes]) -> None:
        """Ten bursts of twenty rewrites each; the last of every burst is good and has to come into force."""
        random, number = Random(20), 0
        generation = (await self.health(daemon))["generation"]
        for burst in range(BURSTS):
            for rewrite in range(REWRITES):
                number += 1
                good = valid(number)
                last = rewrite == REWRITES - 1
                kind = random.choice(("valid", "invalid", "half", "gone")) if not last else "valid"
                if kind == "invalid":
                    good = random.choice(INVALID)
                elif kind == "half":
                    half = good[: random.randrange(len(good))].rstrip()
                    daemon.config.write_bytes(half)
                elif kind == "gone":
                    daemon.config.unlink()
                if random.random() < 0.5:
                    new = daemon.folder / "new.yaml"
                    new.write_bytes(good)
                    new.rename(daemon.config)
                else:
                    daemon.config.write_bytes(good)
                if burst % 2 and (last or kind == "invalid"):
                    daemon.process.send_signal(signal.SIGHUP)
            await self.wait_for(daemon, valid(number))
            now = (await self.health(daemon))["generation"]
            self.assertGreater(now, generation)
            generation = now
        self.assertEqual(number, 200)

    async def wait_for(self, daemon: Daemon, content: bytes) -> None:
        """Wait until /healthz tells the digest of this content."""
        digest = hashlib.sha256(content).hexdigest()[:12]
        told: dict[str, Any] = {}

        def look() -> bool:
            answer = self.ask_now(daemon)
            told.update(answer)
            return bool(told["digest"] == digest)

        found = await deferToThread(self.until, look)
        self.assertTrue(found, f"{digest} is not in force but {told}:\n{daemon.log}")

    @staticmethod
    def until(look: Callable[[], bool]) -> bool:
        for _ in range(300):
            if look():
                return True
            threading.Event().wait(0.05)
        return False

    @staticmethod
    def ask_now(daemon: Daemon) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=20)
        try:
            connection.request("GET", "/healthz")
            told: dict[str, Any] = json.loads(connection.getresponse().read())
            return told
        finally:
            connection.close()

    async def test_aSignalReloadsAtOnceAndABadFileChangesNothing(self) -> None:
        daemon = await self.run_daemon("providers: [{name: demo, kind: demo}]\n", "--log-format", "json")
        before = await self.health(daemon)
        good = daemon.config.read_text(encoding="utf-8")
        daemon.config.write_text(good + "providerz: []\n", encoding="utf-8")
        os.utime(daemon.config, (1, 1))
        daemon.process.send_signal(signal.SIGHUP)
        log = await daemon.until("the old configuration stays")
        self.assertIn(f"{daemon.config}:3:1: providerz: unknown key", log)
        self.assertEqual(await self.health(daemon), before)
        daemon.config.write_text(good + "request-retry: 1\n", encoding="utf-8")
        daemon.process.send_signal(signal.SIGHUP)
        await self.wait_for(daemon, daemon.config.read_bytes())
        self.assertEqual((await self.health(daemon))["generation"], before["generation"] + 1)
        await daemon.until("changed: request-retry")

    async def test_aStreamEndsWhereItBeganAlthoughItsProviderLeftTheConfiguration(self) -> None:
        paused = Paused()
        server = self.serve(paused)
        own = f"{{name: own, kind: anthropic, base-url: '{server.url}', api-keys: [k], models: [own-1]}}"
        daemon = await self.run_daemon(f"providers: [{{name: demo, kind: demo}}, {own}]\n")
        body = json.dumps({"model": "own-1", "stream": True, "max_tokens": 9, "messages": []}).encode()
        client = await self.connect(daemon.port, request_bytes("/v1/messages", body))
        seen = await paused.next()
        seen.begin_stream()
        events = list(anthropic_events("own-1"))
        seen.chunk(events[0])
        await client.until(b"message_start")
        daemon.config.write_text(
            f"listen: tcp:{daemon.port}:interface=127.0.0.2\nproviders: [{{name: demo, kind: demo}}]\n"
        )
        await self.wait_for(daemon, daemon.config.read_bytes())
        refused = await self.ask(daemon.port, "/v1/messages", body)
        self.assertEqual(refused.status, 503)
        for event in events[1:]:
            seen.chunk(event)
        seen.end_stream()
        await client.until(b"0\r\n\r\n")
        self.assertIn(b"message_stop", client.data)
        self.assertIn("a changed listen address takes effect after a restart", daemon.log)

    async def test_anUpstreamThatChangesIsAskedByTheNextRequest(self) -> None:
        first, second = self.serve(), self.serve()
        config = "providers: [{{name: demo, kind: demo}}]\nampcode: {{upstream-url: '{0}', credits: allow}}\n"
        daemon = await self.run_daemon(config.format(first.url))
        listen = daemon.config.read_text(encoding="utf-8").partition("\n")[0]
        for server in (first, second):
            daemon.config.write_text(f"{listen}\n{config.format(server.url)}")
            await self.wait_for(daemon, daemon.config.read_bytes())
            self.assertEqual((await self.ask(daemon.port, "/api/user")).status, 200)
            self.assertEqual(len(server.requests), 1)
        daemon.config.write_text(f"{listen}\n{config.format('')}")
        await self.wait_for(daemon, daemon.config.read_bytes())
        self.assertEqual((await self.ask(daemon.port, "/api/user")).status, 503)
        await eventually(lambda: len(first.requests) == len(second.requests) == 1)
