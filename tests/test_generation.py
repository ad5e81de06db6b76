"""A request keeps the generation that it began with, whatever is reloaded meanwhile."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from llmux.config.model import AmpcodeConfig, Config, ProviderConfig
from llmux.peers.generation import build
from tests.harness import CLIENT_KEY, Harness

reactor: Any = installed
CHAT = "/api/provider/openai/v1/chat/completions"
BODY = b'{"model":"nobody"}'


class GenerationTests(TestCase):
    timeout = 20

    async def test_noUpstreamGetsTheKeyOfAnother(self) -> None:
        harness = Harness(self)
        old, new = harness.server("up-a"), harness.server("up-b")
        harness.start({"upstream-url": "http://up-a", "upstream-api-key": "key-of-a"})
        client = harness.client()
        head = [("X-Api-Key", CLIENT_KEY), ("Content-Length", str(len(BODY)))]
        client.ask("POST", CHAT, head, BODY[:5])
        await deferLater(reactor, 0.02, lambda: None)
        harness.save({"upstream-url": "http://up-b", "upstream-api-key": "key-of-b"})
        harness.look()
        self.assertEqual(harness.reloads, 1)
        client.send(BODY[5:])
        self.assertEqual((await client.answer()).status, 200)
        await harness.ask("POST", CHAT, body=BODY)
        self.assertEqual([seen.header("x-api-key") for seen in old.requests], ["key-of-a"])
        self.assertEqual([seen.header("x-api-key") for seen in new.requests], ["key-of-b"])
        client.leave()

    async def test_noProviderGetsTheKeyOfAnother(self) -> None:
        harness = Harness(self)
        old, new = harness.server("prov-a"), harness.server("prov-b")

        def provider(name: str, host: str, key: str) -> dict[str, Any]:
            return {"name": name, "kind": "openai", "base-url": f"http://{host}", "models": ["m"], "api-keys": [key]}

        harness.start({"providers": [provider("p", "prov-a", "key-of-a")]})
        for after in (provider("p", "prov-b", "key-of-b"), provider("q", "prov-b", "key-of-b")):
            client = harness.client()
            body = b'{"model":"m"}'
            client.ask("POST", CHAT, [("X-Api-Key", CLIENT_KEY), ("Content-Length", str(len(body)))], body[:5])
            await deferLater(reactor, 0.02, lambda: None)
            harness.save({"providers": [after]})
            harness.look()
            client.send(body[5:])
            self.assertEqual((await client.answer()).status, 200)
            client.leave()
            harness.save({"providers": [provider("p", "prov-a", "key-of-a")]})
            harness.look()
        self.assertEqual([seen.header("authorization") for seen in old.requests], ["Bearer key-of-a"] * 2)
        self.assertEqual(new.requests, [])

    async def test_aURLThatCannotBeUsedChangesNothing(self) -> None:
        harness = Harness(self)
        service = harness.start({"upstream-url": "http://up-a", "upstream-api-key": "key-of-a"})
        before = service.face.current
        for bad in (
            Config(ampcode=AmpcodeConfig(upstream_url="ftp://x")),
            Config(providers=(ProviderConfig("p", "openai", "http://"),)),
        ):
            self.assertRaises(ValueError, build, bad, 2, service.face.models._lasting)
        assert before.upstream is not None
        self.assertEqual(before.upstream.key_for(None), "key-of-a")

    async def test_theNumbersCountReloads(self) -> None:
        harness = Harness(self)
        service = harness.start({"upstream-url": "http://up-a"})
        for number in (2, 3):
            harness.save({"upstream-url": f"http://up-{number}"})
            harness.look()
            self.assertEqual(service.face.current.number, number)
