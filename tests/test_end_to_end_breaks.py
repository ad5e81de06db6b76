"""Peers that die in mid-stream: the other side learns it at once, and nothing that was cut looks complete."""

from __future__ import annotations

import json
import time

from twisted.internet.error import ConnectionDone, ConnectionLost

from tests.end_to_end import EndToEndCase, Paused, RawClient, eventually, request_bytes
from tests.native_answers import anthropic_events, chat_events, gemini_events, responses_events
from tests.running import Daemon
from tests.scripted import Seen

AT_ONCE = 1.0
EVENTS = {
    "anthropic": anthropic_events,
    "openai": chat_events,
    "openai-responses": responses_events,
    "gemini": gemini_events,
}
CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
# name -> (path, model, format of the scripted peer); `tr-*` is served in another format than the route's
ROUTES = {
    "local": (MESSAGES, "own", "anthropic"),
    "mapped": (MESSAGES, "asked", "anthropic"),
    "credits": (CHAT, "paid", "openai"),
    "translated from chat": (MESSAGES, "tr-openai", "openai"),
    "translated from responses": (CHAT, "tr-openai-responses", "openai-responses"),
    "translated from gemini": (CHAT, "tr-gemini", "gemini"),
    "translated from anthropic": (CHAT, "own", "anthropic"),
    "passthrough": ("/api/threads/T-1/events", "", "openai"),
}


class BrokenStreams(EndToEndCase):
    async def begin(self) -> Daemon:
        self.script = Paused()
        self.server = self.serve(self.script)
        providers = [f"  - {{name: own, kind: anthropic, base-url: '{self.server.url}', models: [own], api-keys: [k]}}"]
        for kind in ("openai", "openai-responses", "gemini"):
            base = self.server.url + ("" if kind == "gemini" else "/v1")
            providers.append(
                f"  - {{name: {kind}, kind: {kind}, base-url: '{base}', models: [tr-{kind}], api-keys: [k]}}"
            )
        return await self.run_daemon(
            "providers:\n" + "\n".join(providers) + f"\nampcode:\n  upstream-url: {self.server.url}\n"
            "  credits: allow\n  model-mappings: [{from: asked, to: own}]\ncooldown: {max: 0}\n",
            "--log-level",
            "info",
        )

    async def ask_for(
        self, daemon: Daemon, name: str, stream: bool = True, version: str = "1.1"
    ) -> tuple[RawClient, Seen]:
        """A request that has arrived at the scripted peer."""
        path, model, _ = ROUTES[name]
        body = {"model": model, "max_tokens": 9, "stream": stream, "messages": [{"role": "user", "content": "hello"}]}
        client = await self.connect(daemon.port, request_bytes(path, json.dumps(body).encode(), version=version))
        return client, await self.script.next()

    async def begin_stream(self, daemon: Daemon, name: str) -> tuple[RawClient, Seen]:
        """A stream of which the client has seen the beginning."""
        client, seen = await self.ask_for(daemon, name)
        seen.begin_stream()
        for event in list(EVENTS[ROUTES[name][2]]("own"))[:-1]:
            seen.chunk(event)
        await client.until(b"lo from")
        return client, seen

    async def assertGoneAtOnce(self, seen: Seen, how: str) -> None:
        left = time.monotonic()
        await eventually(lambda: seen.gone.called, what=f"the end for {how}")
        self.assertLess(time.monotonic() - left, AT_ONCE, how)

    def assertQuiet(self, daemon: Daemon) -> None:
        """A client that leaves is nothing to warn of (SPEC R-CX-1)."""
        lines = daemon.log.partition("llmux listens on")[2].splitlines()
        loud = [line for line in lines if " info " not in line[:40] and "costs credits" not in line]
        self.assertEqual(loud[1:], [])

    async def test_theProvidersSocketIsClosedAtOnceWhenTheClientLeaves(self) -> None:
        daemon = await self.begin()
        for name in ROUTES:
            for leave in ("abortConnection", "loseConnection"):
                client, seen = await self.begin_stream(daemon, name)
                getattr(client.wire, leave)()
                await self.assertGoneAtOnce(seen, f"{name}, {leave}")
        self.assertQuiet(daemon)

    async def test_aClientThatLeavesBeforeTheHeadEndsTheProvidersRequestToo(self) -> None:
        daemon = await self.begin()
        for name in ROUTES:
            client, seen = await self.ask_for(daemon, name)
            client.wire.abortConnection()
            await self.assertGoneAtOnce(seen, name)
        self.assertQuiet(daemon)

    async def test_aStreamWhoseProviderDiesIsBrokenForTheClient(self) -> None:
        daemon = await self.begin()
        for name in ROUTES:
            for die in ("cut", "close"):
                client, seen = await self.begin_stream(daemon, name)
                getattr(seen, die)()
                await client.end(f"{name}, {die}")
                head, _, body = client.data.partition(b"\r\n\r\n")
                self.assertIn(b"transfer-encoding: chunked", head.lower(), name)
                self.assertFalse(body.endswith(b"0\r\n\r\n"), f"{name}, {die}: {body[-200:]!r}")

    async def test_anAnswerWithALengthStaysShortWhenItsProviderDies(self) -> None:
        daemon = await self.begin()
        for name in ("local", "credits", "passthrough"):
            for die in ("cut", "close"):
                client, seen = await self.ask_for(daemon, name, stream=False)
                seen.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 100\r\n\r\nonly this")
                await client.until(b"only this")
                getattr(seen, die)()
                await client.end(f"{name}, {die}")
                head, _, body = client.data.partition(b"\r\n\r\n")
                self.assertIn(b"content-length: 100", head.lower(), name)
                self.assertEqual(body, b"only this", name)

    async def test_aStreamThatEndsWithItsConnectionNeedsItsFormatsLastWords(self) -> None:
        daemon = await self.begin()
        for name in ("local", "mapped", "credits"):
            for whole in (True, False):
                client, seen = await self.ask_for(daemon, name)
                events = list(EVENTS[ROUTES[name][2]]("own"))
                head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
                seen.write(head + b"".join(events if whole else events[:-1]))
                await client.until(b"lo from")
                seen.close()
                await client.until(b"0\r\n\r\n") if whole else await client.end(name)
                self.assertEqual(client.data.endswith(b"\r\n0\r\n\r\n"), whole, f"{name}: {client.data[-200:]!r}")
        self.assertEqual(daemon.log.count("was cut: cut: the stream ended without its format's last words"), 3)

    async def test_anAnswerThatEndsWithItsConnectionIsBrokenByAReset(self) -> None:
        daemon = await self.begin()
        for name in ("local", "credits", "passthrough"):
            for complete in (True, False):
                client, seen = await self.ask_for(daemon, name, stream=False)
                seen.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nConnection: close\r\n\r\nsome bytes")
                await client.until(b"some bytes")
                if complete:
                    seen.close()
                    await client.until(b"0\r\n\r\n")
                    continue
                seen.cut()
                await client.end(f"{name}")
                self.assertFalse(client.data.endswith(b"0\r\n\r\n"), name)

    async def test_aClientOfHTTP10SeesAResetInsteadOfAnEnd(self) -> None:
        daemon = await self.begin()
        for name in ("local", "credits", "passthrough"):
            for die, expected in (("end_stream", ConnectionDone), ("cut", ConnectionLost)):
                client, seen = await self.ask_for(daemon, name, version="1.0")
                seen.begin_stream("image/png")
                seen.chunk(b"some bytes")
                await client.until(b"some bytes")
                getattr(seen, die)()
                ended = await client.end(f"{name}, {die}")
                self.assertIsInstance(ended.value, expected, f"{name}, {die}")
                self.assertNotIn(b"chunked", client.data, name)

    async def test_aBodyThatIsHeldForChangesIsA502WhenItsProviderDies(self) -> None:
        daemon = await self.begin()
        for name, kind in ROUTES.items():
            if name in ("passthrough", "credits"):
                continue
            client, seen = await self.ask_for(daemon, name, stream=False)
            whole = b'{"type":"message","model":"own","content":[{"type":"tool_use","name":"bash","id":"1","input":{}}'
            seen.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n" + whole)
            seen.close()
            await client.until(b"\r\n\r\n")
            self.assertTrue(client.data.startswith(b"HTTP/1.1 502 "), f"{name}, {kind}: {client.data!r}")
            self.assertNotIn(b"tool_use", client.data, name)
