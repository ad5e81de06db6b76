"""What the daemon answers by itself, and what it keeps from or adds to what others answer."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from typing import Any
from unittest import mock

from twisted.trial.unittest import TestCase

from llmux.rewrite.amp_shape import ToolNames
from tests.conversation import Answer, Headers
from tests.harness import CLIENT_KEY, Harness, provider
from tests.scripted import Seen

KEY = ("X-Api-Key", CLIENT_KEY)
ORIGIN = ("Origin", "https://app.example")
UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
CHAT = "/api/provider/openai/v1/chat/completions"
CREDITS = "/api/internal?getCreditsByRequestId"
USER = "/api/internal?getUserInfo"
FEATURES = b'{"ok":true,"result":{"id":1,"features":[{"name":"a"},{"name":"thread-actors-tui","enabled":true}]}}'


class FaceCase(TestCase):
    """A daemon with an upstream and a provider that serves `gpt-9`."""

    timeout = 20

    def setUp(self) -> None:
        self.harness = Harness(self)
        self.up = self.harness.server("up")
        self.local = self.harness.server("local", lambda seen: seen.reply(200, b'{"model":"gpt-9"}'))

    def start(self, **config: Any) -> None:
        keys = {name.replace("_", "-"): value for name, value in config.items()}
        self.harness.start({"upstream-url": "http://up", "providers": [provider(self.local, "gpt-9")], **keys})

    def say(self, body: bytes, status: int = 200, content_type: str = "application/json") -> None:
        """Let the upstream and the provider answer so."""

        def script(seen: Seen) -> None:
            seen.reply(status, body, content_type)

        self.up.script = self.local.script = script

    async def ask(self, method: str, target: str, headers: Headers | None = None, body: bytes | None = None) -> Answer:
        return await self.harness.ask(method, target, headers, body)


class LocalTests(FaceCase):
    async def test_healthSaysWhichConfigurationIsInForce(self) -> None:
        self.start()
        first = (await self.ask("GET", "/healthz", [])).json()
        self.assertEqual((first["status"], first["generation"]), ("ok", 1))
        self.harness.save({"upstream-url": "http://elsewhere"})
        self.harness.look()
        second = (await self.ask("GET", "/health", [])).json()
        self.assertEqual(second["generation"], 2)
        self.assertNotEqual(second["digest"], first["digest"])
        self.assertEqual(second["digest"], self.harness.daemon.face.current.config.digest)

    async def test_readinessEndsWithTheDrain(self) -> None:
        self.start()
        ready = await self.ask("GET", "/readyz", [])
        self.assertEqual((ready.status, ready.json()), (200, {"status": "ready"}))
        self.harness.daemon.face.draining = True
        draining = await self.ask("GET", "/readyz", [])
        self.assertEqual((draining.status, draining.json()), (503, {"status": "draining"}))

    async def test_headIsGetWithoutABody(self) -> None:
        self.start()
        for target in ("/healthz", "/readyz", "/v1/models", "/v1beta/models", "/v1/models/gpt-9"):
            whole, head = [await self.ask(method, target) for method in ("GET", "HEAD")]
            self.assertEqual((head.status, head.body, head.headers), (200, b"", whole.headers), target)
            self.assertEqual(head.header("Content-Length"), str(len(whole.body)), target)

    async def test_listsNameWhatIsServedInTheShapeOfTheCaller(self) -> None:
        self.start()
        openai = (await self.ask("GET", "/v1/models")).json()
        self.assertEqual([model["id"] for model in openai["data"]], ["gpt-9"])
        anthropic = (await self.ask("GET", "/v1/models", [KEY, ("anthropic-version", "2023-06-01")])).json()
        self.assertEqual((anthropic["first_id"], anthropic["has_more"]), ("gpt-9", False))
        gemini = (await self.ask("GET", "/v1/models", [("x-goog-api-key", CLIENT_KEY)])).json()
        self.assertEqual(gemini["models"][0]["name"], "models/gpt-9")
        self.assertFalse(self.up.requests or self.local.requests)

    async def test_aModelThatNobodyServesIsNotFoundInTheCallersShape(self) -> None:
        self.start()
        gemini = await self.ask("GET", "/v1beta/models/ghost")
        self.assertEqual(
            (gemini.status, gemini.json()), (404, {"error": {"message": "Not Found", "type": "not_found"}})
        )
        openai = await self.ask("GET", "/v1/models/ghost")
        self.assertEqual((openai.status, openai.json()["error"]["type"]), (404, "invalid_request_error"))
        anthropic = await self.ask("GET", "/v1/models/ghost", [KEY, ("anthropic-version", "x")])
        self.assertEqual((anthropic.status, anthropic.json()["type"]), (404, "error"))

    async def test_anUnknownGeminiMethodIsNotFound(self) -> None:
        self.start()
        for action in ("gpt-9:explode", "gpt-9", "gpt-9:"):
            answer = await self.ask("POST", f"/v1beta/models/{action}", body=b"{}")
            self.assertEqual(answer.status, 404, action)
            self.assertIn("not found", answer.json()["error"]["message"])
        self.assertFalse(self.up.requests or self.local.requests)

    async def test_whatTheWireRefusesIsSaidInTheFormatOfTheRoute(self) -> None:
        self.start()
        client = self.harness.client()
        client.method = "POST"
        client.send(b"POST /v1/messages HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 2\r\n\r\n")
        answer = await client.answer()
        self.assertEqual((answer.status, answer.json()["type"]), (400, "error"))


class UpgradeTests(FaceCase):
    async def test_modelAndListPathsRefuseUpgradesAtOnce(self) -> None:
        self.start()
        for target in ("/v1/responses", "/v1/models", CHAT, "/v1beta/models/gpt-9", "/healthz"):
            answer = await self.ask("GET", target, [KEY, *UPGRADE])
            self.assertEqual(answer.status, 426, target)
        posted = await self.ask("POST", "/v1/messages", [KEY, *UPGRADE], b"{}")
        self.assertEqual((posted.status, posted.json()["type"]), (426, "error"))
        self.assertFalse(self.up.requests or self.local.requests)

    async def test_theOfferOfHTTP2IsIgnored(self) -> None:
        self.start()
        offer = [
            KEY,
            ("Connection", "Upgrade, HTTP2-Settings"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
        ]
        self.assertEqual((await self.ask("GET", "/v1/models", offer)).status, 200)
        self.assertEqual((await self.ask("GET", "/api/user", offer)).status, 200)
        (seen,) = self.up.requests
        self.assertEqual((seen.header("upgrade"), seen.header("http2-settings")), (None, None))


class CORSTests(FaceCase):
    def allowed(self, answer: Answer) -> str | None:
        return answer.header("Access-Control-Allow-Origin")

    async def test_itIsOffByDefault(self) -> None:
        self.start()
        answer = await self.ask("GET", "/v1/models", [KEY, ORIGIN])
        self.assertIsNone(self.allowed(answer))
        preflight = await self.ask("OPTIONS", CHAT, [ORIGIN])
        self.assertEqual((preflight.status, preflight.header("Allow")), (405, "POST"))

    async def test_aPreflightNeedsNoKeyAndNamesTheMethods(self) -> None:
        self.start(cors={"origins": ["https://app.example"]})
        preflight = await self.ask("OPTIONS", CHAT, [ORIGIN, ("Access-Control-Request-Method", "POST")])
        self.assertEqual((preflight.status, preflight.body), (204, b""))
        self.assertEqual(self.allowed(preflight), ORIGIN[1])
        self.assertEqual(preflight.header("Access-Control-Allow-Methods"), "POST")
        self.assertEqual(preflight.header("Vary"), "Origin")

    async def test_anotherOriginGetsNothing(self) -> None:
        self.start(cors={"origins": ["https://app.example"]})
        for method in ("OPTIONS", "GET"):
            answer = await self.ask(method, "/v1/models", [KEY, ("Origin", "https://evil.example")])
            self.assertIsNone(self.allowed(answer))

    async def test_listsHealthAndRefusalsMayBeRead(self) -> None:
        self.start(cors={"origins": ["*"]})
        for method, target, headers, status in (
            ("GET", "/v1/models", [KEY, ORIGIN], 200),
            ("GET", "/healthz", [ORIGIN], 200),
            ("GET", "/v1/models", [ORIGIN], 401),
            ("POST", CHAT, [ORIGIN], 401),
        ):
            answer = await self.ask(method, target, headers, b"{}" if method == "POST" else None)
            self.assertEqual((answer.status, self.allowed(answer)), (status, "*"), target)

    async def test_modelAnswersMayBeRead(self) -> None:
        self.start(cors={"origins": ["*"]})
        for body in (b'{"model":"gpt-9","messages":[]}', b'{"model":"for-credits","messages":[]}'):
            answer = await self.ask("POST", CHAT, [KEY, ORIGIN], body)
            self.assertEqual((answer.status, self.allowed(answer)), (200, "*"), body)
            self.assertIsNone(self.allowed(await self.ask("POST", CHAT, [KEY], body)))

    async def test_passthroughPathsTakeNoPart(self) -> None:
        self.up.script = lambda seen: seen.reply(200, b"{}", headers=[("Access-Control-Allow-Origin", "*")])
        self.start(cors={"origins": ["*"]})
        for target in ("/api/user", "/threads/T-1", "/auth/x", "/nowhere"):
            options = await self.ask("OPTIONS", target, [KEY, ORIGIN])
            self.assertEqual((options.status, options.body, self.allowed(options)), (403, b"", None), target)
            self.assertIsNone(self.allowed(await self.ask("GET", target, [KEY, ORIGIN])), target)
        self.assertEqual({seen.method for seen in self.up.requests}, {"GET"})


class QuestionTests(FaceCase):
    """Calls to /api/internal that the daemon has its own mind about."""

    def question(self, request_id: Any) -> bytes:
        return json.dumps({"method": "getCreditsByRequestId", "params": {"requestId": request_id}}, indent=1).encode()

    async def test_whatOwnKeysServedCostsNothing(self) -> None:
        self.start()
        await self.ask("POST", CHAT, [KEY, ("X-Amp-Client-Request-Id", "r-1")], b'{"model":"gpt-9"}')
        answer = await self.ask("POST", CREDITS, body=self.question("r-1"))
        self.assertEqual(answer.json(), {"ok": True, "result": {"credits": 0}})
        self.assertEqual(self.up.requests, [])

    async def test_everyOtherQuestionGoesOnByteForByte(self) -> None:
        self.up.script = lambda seen: seen.reply(200, b'{"ok":true,"result":{"credits":7}}')
        self.start()
        await self.ask("POST", CHAT, [KEY, ("X-Amp-Client-Request-Id", "r-1")], b'{"model":"nobody"}')
        self.up.requests.clear()
        asked = [self.question("r-1"), self.question("r-2"), self.question(5), b"not json", b"[1]", b"", b"\xff\xfe"]
        for body in asked:
            answer = await self.ask("POST", CREDITS, body=body)
            self.assertEqual(answer.json()["result"]["credits"], 7)
        self.assertEqual([seen.body for seen in self.up.requests], asked)

    async def test_anAbsurdQuestionIsTooLarge(self) -> None:
        self.start()
        answer = await self.ask("POST", CREDITS, body=b"x" * 70_000)
        self.assertEqual(answer.status, 413)
        self.assertEqual(self.up.requests, [])

    async def test_theQuestionNeedsAKeyToo(self) -> None:
        self.start()
        self.assertEqual((await self.ask("POST", CREDITS, [], self.question("r-1"))).status, 401)

    async def test_configuredFeaturesAreTakenOutOfUserInfo(self) -> None:
        self.up.script = lambda seen: seen.reply(200, FEATURES)
        self.start(strip_features=["thread-actors-tui"])
        answer = await self.ask("POST", USER, body=b'{"method":"getUserInfo"}')
        self.assertEqual(answer.body, b'{"ok":true,"result":{"id":1,"features":[{"name":"a"}]}}')
        self.assertEqual(answer.header("Content-Length"), str(len(answer.body)))
        for target in ("/api/internal?loadPlugins", "/api/internal/x?getUserInfo"):
            self.assertEqual((await self.ask("POST", target, body=b"{}")).body, FEATURES)

    async def test_aCompressedAnswerIsStrippedToo(self) -> None:
        packed = gzip.compress(FEATURES)
        self.up.script = lambda seen: seen.reply(200, packed, headers=[("Content-Encoding", "gzip")])
        self.start(strip_features=["thread-actors-tui"])
        answer = await self.ask("POST", USER, body=b"{}")
        self.assertNotIn(b"thread-actors-tui", answer.body)
        self.assertIsNone(answer.header("Content-Encoding"))

    async def test_anAnswerThatIsGzipWithoutSayingSoIsStrippedToo(self) -> None:
        packed = gzip.compress(FEATURES)
        self.start(strip_features=["thread-actors-tui"])
        for sent, content_type, status, received in (
            (packed, "application/json", 200, FEATURES.replace(b',{"name":"thread-actors-tui","enabled":true}', b"")),
            (packed, "text/plain", 200, FEATURES),
            (packed, "application/json", 206, packed),
            (packed[:40], "application/json", 200, packed[:40]),
            (gzip.compress(b"no JSON"), "application/json", 503, b"no JSON"),
        ):
            self.say(sent, status, content_type)
            answer = await self.ask("POST", USER, body=b"{}")
            self.assertEqual((answer.status, answer.body), (status, received), content_type)
            self.assertEqual(answer.header("Content-Length"), str(len(received)))

    async def test_aBombWithoutALabelPassesAsItCame(self) -> None:
        packed = gzip.compress(b'{"result":"' + b"x" * 9000 + b'"}')
        self.say(packed)
        self.start(strip_features=["thread-actors-tui"], limits={"response": 4096})
        self.assertEqual((await self.ask("POST", USER, body=b"{}")).body, packed)

    async def test_withoutTheSettingUserInfoIsLeftAlone(self) -> None:
        self.up.script = lambda seen: seen.reply(200, FEATURES)
        self.start()
        self.assertEqual((await self.ask("POST", USER, body=b"{}")).body, FEATURES)


class CreditsPolicyTests(FaceCase):
    async def test_actorsAndWebSocketsCanBeStopped(self) -> None:
        self.start(ampcode={"credits-passthrough": "deny"})
        for method, target, headers in (
            ("GET", "/actors/gateway/threadActor/websocket/?x", [KEY, *UPGRADE]),
            ("POST", "/api/thread-actors", [KEY]),
            ("GET", "/api/user", [KEY, *UPGRADE]),
        ):
            answer = await self.ask(method, target, headers)
            self.assertEqual(answer.status, 403, target)
            self.assertIn("ampcode.credits-passthrough in llmux.yaml", answer.json()["error"])
        self.assertEqual(self.up.requests, [])
        self.assertEqual((await self.ask("GET", "/api/user")).status, 200)

    async def test_whatMayCostCreditsWithoutARouteNeedsThemPermitted(self) -> None:
        paths = (
            "/api/provider/openai/v1/embeddings",
            "/api/provider/google/v1/models/m:generateContent",
            "/api/provider/google/v1beta1/publishers/google/operations",
            "/api/%70rovider/openai/v1/chat/completions",
            "//api/provider/x",
        )
        self.start()
        for policy in ("deny", {"allow": ["gpt-*"]}, {"daily-requests": 5}, "allow"):
            self.up.requests.clear()
            self.harness.save({"credits": policy})
            self.harness.look()
            for path in paths:
                answer = await self.ask("POST", path, body=b'{"model":"gpt-1"}')
                self.assertEqual(answer.status, 200 if policy == "allow" else 403, (policy, path))
                if policy != "allow":
                    self.assertIn("ampcode.credits in llmux.yaml:", answer.json()["error"])
            self.assertEqual(len(self.up.requests), len(paths) * (policy == "allow"))
            self.assertEqual((await self.ask("GET", "/api/provider/cerebras/v1/tcp_warming")).status, 200, policy)

    async def test_aDeniedModelNamesItselfAndTheLine(self) -> None:
        self.start(credits="deny")
        answer = await self.ask("POST", CHAT, body=b'{"model":"ghost"}')
        message = answer.json()["error"]["message"]
        self.assertEqual(answer.status, 503)
        self.assertIn("No provider available for model: ghost", message)
        self.assertIn("llmux.yaml:", message)
        self.assertEqual(self.up.requests, [])

    async def test_theDaysBudgetEnds(self) -> None:
        self.start(credits={"allow": ["*"], "daily-requests": 1})
        statuses = [(await self.ask("POST", CHAT, body=b'{"model":"ghost"}')).status for _ in range(2)]
        self.assertEqual(statuses, [200, 503])


class LabelTests(FaceCase):
    """`x-llmux-body` says `identical` of nothing that differs (DESIGN 3)."""

    async def test_whatTheUpstreamSaysIsIdenticalUnlessItIsUnpacked(self) -> None:
        self.start()
        unsigned = b'{"model":"x","messages":[{"role":"assistant","content":[{"type":"thinking"},{"type":"text"}]}]}'
        for asked, sent, label in (
            (b'{"model":"x"}', b"{}", "identical"),
            (b'{"model":"x"}', gzip.compress(b"{}"), "spliced"),
            (unsigned, b"{}", "identical"),
        ):
            self.say(sent)
            answer = await self.ask("POST", "/v1/messages", body=asked)
            self.assertEqual((answer.body, answer.header("x-llmux-body")), (b"{}", label))

    async def test_anErrorIsSplicedWhenTheKeyInItIsMasked(self) -> None:
        self.start(upstream_api_key="uk-main-0001")
        for model, key in (("gpt-9", "pk-local-0001"), ("x", "uk-main-0001")):
            said = b'{"error":"no such key: %s"}' % key.encode()
            self.say(said, 400)
            answer = await self.ask("POST", CHAT, body=json.dumps({"model": model}).encode())
            self.assertEqual(answer.body, said.replace(key.encode(), b"*" * len(key)))
            self.assertEqual((answer.status, answer.header("x-llmux-body")), (400, "spliced"), model)

    async def test_anErrorOfAProviderIsIdenticalWhenNothingInItIsMasked(self) -> None:
        self.start()
        self.say(b'{"error":"no"}', 400)
        answer = await self.ask("POST", CHAT, body=b'{"model":"gpt-9"}')
        self.assertEqual((answer.body, answer.header("x-llmux-body")), (b'{"error":"no"}', "identical"))


class ShapeTests(FaceCase):
    """Amp's shape fixes where a provider speaks another format, and what they hold of a request (SPEC 10)."""

    CALL = b'{"index":0,"id":"t-1","type":"function","function":{"name":"GREP","arguments":"{}"}}'

    def asked(self, stream: bool, tools: str = "", prompt: str = "hi") -> bytes:
        messages = [{"role": "user", "content": prompt}]
        declared = [{"name": tools, "input_schema": {"type": "object"}}] if tools else []
        asked = {"model": "gpt-9", "max_tokens": 99, "stream": stream, "messages": messages, "tools": declared}
        return json.dumps(asked).encode()

    async def test_aTranslatedToolCallHasTheClientsCasingAndASignature(self) -> None:
        self.start()
        for tools, name in (("", b"Grep"), ("grep", b"grep")):
            self.say(
                b'{"id":"c","model":"gpt-9","choices":[{"index":0,"finish_reason":"tool_calls",'
                b'"message":{"role":"assistant","content":null,"tool_calls":[' + self.CALL + b"]}}]}"
            )
            answer = await self.ask("POST", "/v1/messages", body=self.asked(False, tools))
            self.assertIn(b'"type":"tool_use","id":"t-1","name":"%s","input":{},"signature":""}' % name, answer.body)
            self.assertEqual(answer.header("Content-Length"), str(len(answer.body)))
            self.say(
                b'data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant","tool_calls":['
                + self.CALL
                + b']}}]}\n\ndata: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n',
                content_type="text/event-stream",
            )
            answer = await self.ask("POST", "/v1/messages", body=self.asked(True, tools))
            self.assertIn(b'"type":"tool_use","id":"t-1","name":"%s","input":{},"signature":""}' % name, answer.body)
            self.assertTrue(answer.body.endswith(b'data: {"type":"message_stop"}\n\n'), answer.body)

    async def test_otherClientsGetNone(self) -> None:
        self.start()
        message = b'{"role":"assistant","content":null,"tool_calls":[' + self.CALL + b"]}"
        self.say(b'{"id":"c","choices":[{"index":0,"finish_reason":"tool_calls","message":' + message + b"}]}")
        answer = await self.ask("POST", "/v1/responses", body=b'{"model":"gpt-9","input":"hi"}')
        self.assertIn(b'"GREP"', answer.body)
        self.assertNotIn(b"signature", answer.body)

    async def test_aLongRequestIsNotKeptForTheSakeOfItsToolNames(self) -> None:
        self.start(providers=[provider(self.local, "gpt-9", kind="anthropic")])
        settle = mock.Mock(side_effect=ToolNames.settle)
        self.patch(ToolNames, "settle", lambda names: settle(names))
        for prompt, times in (("hi", 0), ("x" * 2_000_000, 1)):
            settle.reset_mock()
            await self.ask("POST", "/v1/messages", body=self.asked(True, "Bash", prompt))
            self.assertEqual(settle.call_count, times)


class OverflowTests(FaceCase):
    async def test_anAnswerAboveTheLimitPassesUnchangedWithAWarning(self) -> None:
        body = b'{"model":"gpt-9","x":"' + b"y" * 5000 + b'"}'
        self.local.script = lambda seen: seen.reply(200, body)
        self.start(limits={"response": 2048}, model_mappings=[{"from": "asked", "to": "gpt-9"}])
        answer = await self.ask("POST", CHAT, body=b'{"model":"asked"}')
        self.assertEqual((answer.body, answer.complete), (body, True))
        (warning,) = self.harness.problems()
        self.assertIn("limits.response", warning["log_format"])


class NoTextTests(FaceCase):
    """A long body is not looked through for bytes that are no UTF-8 (SPEC R-EX-6): nothing of ours may stumble."""

    LONG = "x" * 70_000
    MESSAGES: Mapping[str, Mapping[str, object]] = {
        "/v1/chat/completions": {
            "messages": [
                {"role": "system", "content": "BAD"},
                {"role": "assistant", "content": "BAD" + LONG, "tool_calls": [{"id": "BAD", "extra_content": "BAD"}]},
            ]
        },
        "/v1/messages": {
            "max_tokens": 9,
            "metadata": {"user_id": "BAD"},
            "tools": [{"name": "BAD", "input_schema": {"BAD": "BAD"}}],
            "messages": [
                {"role": "user", "content": "BAD"},
                {"role": "assistant", "content": [{"type": "thinking", "thinking": "BAD" + LONG, "signature": "BAD"}]},
            ],
        },
        "/v1/responses": {
            "prompt_cache_key": "BAD",
            "input": [{"type": "reasoning", "id": "BAD", "BAD": "BAD" + LONG}],
        },
        "/v1beta/models/gpt-9:generateContent": {
            "contents": [{"role": "model", "parts": [{"text": "BAD" + LONG, "thoughtSignature": "BAD"}]}]
        },
    }

    async def test_itReachesAProviderOfItsFormatAsItIsAndIsRefusedForAnother(self) -> None:
        for kind, native in (
            ("openai", "/v1/chat/completions"),
            ("anthropic", "/v1/messages"),
            ("openai-responses", "/v1/responses"),
            ("gemini", "/v1beta/models/gpt-9:generateContent"),
        ):
            given = {**provider(self.local, "gpt-9"), "kind": kind}
            if self.harness.service is None:
                self.start(providers=[given])
            self.harness.save({"upstream-url": "http://up", "providers": [given]})
            self.harness.look()
            for route, rest in self.MESSAGES.items():
                for model in ("gpt-9", "gpt-9(high)"):
                    self.local.requests.clear()
                    body = json.dumps({"model": model, **rest}).encode().replace(b"BAD", b"\xff\xc3")
                    answer = await self.ask("POST", route, body=body)
                    told = (kind, route, model, answer.body[:300])
                    if route == native:
                        self.assertEqual(answer.status, 200, told)
                        self.assertEqual(self.local.requests[0].body.count(b"\xff\xc3"), body.count(b"\xff\xc3"), told)
                    else:
                        self.assertEqual((answer.status, self.local.requests), (400, []), told)
                    self.assertEqual(self.harness.problems(), [], told)
