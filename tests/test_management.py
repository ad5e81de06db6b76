"""The management plane: who may use it, what it tells, and that cooldowns end there."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import TestCase

from llmux.peers.credentials import Credential
from tests.conversation import Answer, Headers
from tests.harness import CLIENT_KEY, Harness

LOCAL: Headers = [("Host", "127.0.0.1:8317"), ("x-api-key", CLIENT_KEY)]
PROVIDERS = [
    {
        "name": name,
        "kind": "openai",
        "base-url": f"http://{name}.example",
        "api-keys": [f"pk-{name}-secret-{number}" for number in (1, 2)],
        "models": ["m-1", "m-2"],
    }
    for name in ("a", "b")
]


class ManagementCase(TestCase):
    """One daemon, and its management plane."""

    timeout = 20

    def setUp(self) -> None:
        self.harness = Harness(self)

    def start(self, **more: Any) -> None:
        """Start it."""
        self.harness.start({"providers": PROVIDERS, "upstream-url": "http://up.example", **more})

    async def get(self, path: str, headers: Headers = LOCAL, peer: str = "127.0.0.1") -> Answer:
        """Ask for something."""
        return await self.harness.ask("GET", path, headers, peer=peer)

    async def post(self, path: str, asked: Any = None, headers: Headers = LOCAL) -> Answer:
        """Ask with a body."""
        body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
        return await self.harness.ask("POST", path, headers, body)

    def failed(self, provider: str, number: int, model: str, status: int = 429) -> None:
        """Let a credential have failed."""
        self.harness.daemon._lasting.credentials.failed(self.credential(provider, number), model, status, [])

    def credential(self, provider: str, number: int) -> Credential:
        """One credential."""
        return self.harness.daemon._lasting.credentials._by_provider[provider][number]


class Guards(ManagementCase):
    """Pages that a browser was lured to, and strangers."""

    async def test_onlyALocalHostWithoutAForeignOriginMayAsk(self) -> None:
        self.start()
        key = LOCAL[1]
        for headers, status in (
            (LOCAL, 200),
            ([("Host", "localhost"), key], 200),
            ([("Host", "[::1]:8317"), key], 200),
            ([("Host", "192.168.0.9:8317"), key], 200),
            ([*LOCAL, ("Origin", "http://127.0.0.1:8317")], 200),
            ([*LOCAL, ("Sec-Fetch-Site", "same-origin")], 200),
            ([("Host", "evil.example")], 403),
            ([("Host", "127.0.0.1.evil.example"), ("x-api-key", "wrong")], 403),
            ([("Host", "evil.example"), key, ("Origin", "http://other.example")], 403),
            ([*LOCAL, ("Origin", "http://evil.example")], 403),
            ([*LOCAL, ("Origin", "null")], 403),
            ([*LOCAL, ("Origin", "http://127.0.0.1:9999")], 403),
            ([*LOCAL, ("Sec-Fetch-Site", "cross-site")], 403),
            ([LOCAL[0]], 401),
            ([LOCAL[0], ("x-api-key", "wrong")], 401),
        ):
            for path in ("/llmux/status", "/llmux/cooldowns", "/llmux/nothing"):
                wanted = 404 if status == 200 and path == "/llmux/nothing" else status
                self.assertEqual((await self.get(path, headers)).status, wanted, (path, headers))

    async def test_whoShowsAKeyMayCallTheDaemonByAnyName(self) -> None:
        self.start()
        for path in ("/llmux/status", "/metrics"):
            self.assertEqual((await self.get(path, [("Host", "llmux.internal:8317"), LOCAL[1]])).status, 200, path)
        self.assertEqual((await self.get("/llmux/", [("Host", "llmux.internal:8317"), LOCAL[1]])).status, 403)

    async def test_anOpenDaemonIsNotCalledByAnyName(self) -> None:
        self.start(**{"api-keys": []})
        for headers in ([("Host", "llmux.internal:8317")], [("Host", "llmux.internal:8317"), LOCAL[1]]):
            self.assertEqual((await self.get("/metrics", headers)).status, 403)

    async def test_anOpenDaemonIsManagedFromThisMachineOnly(self) -> None:
        self.start(**{"api-keys": []})
        for peer, status in (("127.0.0.1", 200), ("::1", 200), ("203.0.113.9", 403), ("::ffff:203.0.113.9", 403)):
            self.assertEqual((await self.get("/llmux/status", [LOCAL[0]], peer)).status, status, peer)

    async def test_whatChangesSomethingIsNoGet(self) -> None:
        self.start()
        for path in ("/llmux/cooldowns/clear", "/llmux/explain"):
            answer = await self.get(path)
            self.assertIn(answer.status, (404, 405), path)


class Status(ManagementCase):
    """What it tells."""

    async def test_theStateOfTheDaemonWithoutItsSecrets(self) -> None:
        self.start(credits={"allow": ["*"], "daily-requests": 5})
        self.failed("a", 0, "m-1")
        answer = await self.get("/llmux/status")
        found = answer.json()
        self.assertEqual((answer.header("cache-control"), found["generation"]), ("no-store", 1))
        self.assertEqual(found["credits"], {"spent_today": 0, "left_today": 5})
        self.assertEqual([row["name"] for row in found["providers"]], ["a", "b"])
        self.assertEqual((len(found["cooldowns"]), found["upstream"]), (1, "http://up.example"))
        for told in (answer, await self.get("/llmux/cooldowns")):
            self.assertNotIn(b"secret", told.body)
            self.assertNotIn(CLIENT_KEY.encode(), told.body)


class CooldownsTests(ManagementCase):
    """Listed with reason and age, and cleared."""

    async def listed(self) -> int:
        """How many there are."""
        return len((await self.get("/llmux/cooldowns")).json()["cooldowns"])

    async def cleared(self, **asked: Any) -> int:
        """How many a clearing ended."""
        number: int = (await self.post("/llmux/cooldowns/clear", asked)).json()["cleared"]
        return number

    async def test_eachHasItsReasonAgeAndRest(self) -> None:
        self.start()
        self.failed("a", 0, "m-1")
        (row,) = (await self.get("/llmux/cooldowns")).json()["cooldowns"]
        self.assertEqual((row["reason"], row["status"], row["failures"], row["probing"]), ("rate-limit", 429, 1, False))
        self.assertTrue(29 < row["remaining"] <= 30 and 0 <= row["age"] < 1, row)

    async def test_theyAreClearedAllOrByProviderOrByModel(self) -> None:
        self.start()

        def cool() -> None:
            for provider in ("a", "b"):
                for number, model in ((0, "m-1"), (1, "m-2")):
                    self.failed(provider, number, model)
            self.failed("a", 0, "m-1", 401)

        for asked, count, left in (
            ({}, 5, 0),
            ({"provider": "a"}, 3, 2),
            ({"provider": "b", "model": "m-1"}, 1, 4),
            ({"provider": "a", "model": "m-2"}, 2, 3),
            ({"model": "m-1"}, 3, 2),
            ({"provider": "nobody"}, 0, 5),
        ):
            cool()
            self.assertEqual((await self.cleared(**asked), await self.listed()), (count, left), asked)
            await self.cleared()

    async def test_aClearedKeyIsUsedAgainAtOnce(self) -> None:
        self.start()
        for provider in ("a", "b"):
            for number in (0, 1):
                self.failed(provider, number, "m-1", 503)
        asked = {"model": "m-1", "route": "/v1/chat/completions"}
        before = (await self.post("/llmux/explain", asked)).json()
        self.assertEqual([attempt["ready"] for attempt in before["attempts"]], [False, False])
        await self.cleared(provider="b")
        after = (await self.post("/llmux/explain", asked)).json()
        self.assertEqual([(one["provider"], one["ready"]) for one in after["attempts"]], [("b", True), ("a", False)])

    async def test_badQuestionsAreRefused(self) -> None:
        self.start()
        self.failed("a", 0, "m-1")
        for asked in (b"{", b"[]", b'"a"', b'{"provider": 1}', b'{"model": []}', b"[" * 50_000):
            self.assertEqual((await self.post("/llmux/cooldowns/clear", asked)).status, 400, asked[:20])
        self.assertEqual((await self.post("/llmux/cooldowns/clear", b" " * 70_000)).status, 413)
        self.assertEqual(await self.listed(), 1)


class Explaining(ManagementCase):
    """POST /llmux/explain."""

    async def test_theRouteChoosesTheFormat(self) -> None:
        self.start()
        for route, translated in (("/v1/chat/completions", False), ("/api/provider/x/v1/messages?beta=true", True)):
            found = (await self.post("/llmux/explain", {"model": " m-1 ", "route": route})).json()
            self.assertEqual((found["requested_model"], found["route_type"]), ("m-1", "LOCAL_PROVIDER"))
            self.assertEqual([attempt["translated"] for attempt in found["attempts"]], [translated] * 2)

    async def test_badQuestionsAreRefused(self) -> None:
        self.start()
        for asked in ({}, {"model": ""}, {"model": "  "}, {"model": 1}, {"model": "m", "route": "/nowhere"}):
            self.assertEqual((await self.post("/llmux/explain", asked)).status, 400, asked)

    async def test_aUsedUpBudgetIsPartOfTheTruth(self) -> None:
        self.start(credits={"allow": ["paid-*"], "daily-requests": 1})
        asked = {"model": "paid-1", "route": "/v1/messages"}
        self.assertEqual((await self.post("/llmux/explain", asked)).json()["route_type"], "AMP_CREDITS")
        self.harness.daemon._lasting.credits.charge(1)
        found = (await self.post("/llmux/explain", asked)).json()
        self.assertEqual(found["route_type"], "NO_PROVIDER")
        self.assertRegex(found["reason"], r"daily-requests: 1 at llmux\.yaml:\d+ is used up for today")
