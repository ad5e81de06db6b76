"""A request that is over leaves no circle of references behind: what is freed at once need not be looked for."""

from __future__ import annotations

import gc
import json
from typing import Any

from twisted.trial.unittest import TestCase

from tests.harness import CLIENT_KEY, Harness
from tests.native_answers import script

MODEL = "m-1"
KEY = ("x-api-key", CLIENT_KEY)
TURNS = [{"role": "user", "content": "hi"}]
ROUNDS = 3


class GarbageTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.harness = Harness(self)
        self.harness.server("provider", script)
        self.harness.server("up")
        self.addCleanup(gc.enable)
        self.addCleanup(gc.set_debug, 0)
        self.addCleanup(gc.garbage.clear)

    async def left(self, method: str, path: str, body: Any = None) -> list[str]:
        """The types of ours in what only the garbage collector can free after some requests."""
        content = None if body is None else json.dumps(body).encode()
        client = self.harness.client()
        gc.disable()
        for number in range(ROUNDS + 1):
            client.ask(method, path, [KEY], content)
            answer = await client.answer()
            self.assertEqual((answer.status, answer.complete), (200, True))
            client.next_answer()
            if not number:  # whatever the first one leaves, the next ones may need
                gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        return sorted({type(thing).__name__ for thing in gc.garbage if type(thing).__module__.startswith("llmux.")})

    def start(self, kind: str) -> None:
        entry = {"name": "p", "kind": kind, "base-url": "http://provider", "api-keys": ["pk-1"], "models": [MODEL]}
        self.harness.start({"providers": [entry], "upstream-url": "http://up"})

    async def test_anAnswer(self) -> None:
        self.start("openai")
        self.assertEqual(await self.left("POST", "/v1/chat/completions", {"model": MODEL, "messages": TURNS}), [])

    async def test_aStream(self) -> None:
        self.start("openai")
        body = {"model": MODEL, "messages": TURNS, "stream": True}
        self.assertEqual(await self.left("POST", "/v1/chat/completions", body), [])

    async def test_aTranslatedStream(self) -> None:
        self.start("openai")
        body = {"model": MODEL, "messages": TURNS, "stream": True, "max_tokens": 9}
        self.assertEqual(await self.left("POST", "/v1/messages", body), [])

    async def test_whatPassesThrough(self) -> None:
        self.start("openai")
        self.assertEqual(await self.left("GET", "/api/user"), [])
