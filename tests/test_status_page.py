"""The status page of the assembled daemon: who may see it, what its forms do, and what others can make of it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from llmux.web.live import MOST_WATCHERS
from llmux.web.status_page import ASKED_ROUTES
from tests.conversation import Answer, Conversation, Headers
from tests.harness import CLIENT_KEY, Harness, provider
from tests.markup import HOSTILE, Tree

HOST = ("Host", "127.0.0.1:8317")
KEY = ("X-Api-Key", CLIENT_KEY)
HTML = ("Accept", "text/html,*/*;q=0.8")
FORM = ("Content-Type", "application/x-www-form-urlencoded")
NAVIGATION = [("Sec-Fetch-Site", "none"), ("Sec-Fetch-Dest", "document"), ("Sec-Fetch-Mode", "navigate")]
# What browsers send with a form of a page that gives no referrers away.
OWN_FORM = [FORM, ("Origin", "null"), ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Dest", "document")]


class PageCase(TestCase):
    """A daemon with one provider that serves `gpt-9`, and a browser that keeps one cookie."""

    timeout = 20

    def setUp(self) -> None:
        self.harness = Harness(self)
        self.local = self.harness.server("local", lambda seen: seen.reply(200, b'{"model":"gpt-9"}'))
        self.cookie = ""

    def start(self, **config: Any) -> None:
        keys = {name.replace("_", "-"): value for name, value in config.items()}
        self.harness.start({"providers": [provider(self.local, "gpt-9")], **keys})

    async def ask(
        self, method: str, target: str, headers: Headers, body: bytes | None = None, peer: str = "127.0.0.1"
    ) -> Answer:
        given = headers if any(name == "Host" for name, _ in headers) else [HOST, *headers]
        return await self.harness.ask(method, target, given, body, peer)

    async def open(self, target: str = "/llmux/", *more: tuple[str, str]) -> Answer:
        """What a browser gets for an address that was typed."""
        return await self.ask("GET", target, [HTML, *NAVIGATION, *self.jar(), *more])

    async def send(self, action: str, headers: Headers | None = None, **fields: str) -> Answer:
        """What a browser gets for a form of the page."""
        sent = [*(OWN_FORM if headers is None else headers), HTML, *self.jar()]
        answer = await self.ask("POST", f"/llmux/{action}", sent, urlencode(fields).encode())
        made = answer.header("Set-Cookie")
        if made is not None:
            self.cookie = made.partition(";")[0]
        return answer

    def jar(self) -> Headers:
        return [("Cookie", self.cookie)] if self.cookie else []

    def token(self, answer: Answer) -> str:
        return Tree(answer.body).all("input", lambda field: field.get("name") == "token")[0]["value"]

    async def sign_in(self, key: str = CLIENT_KEY) -> Answer:
        return await self.send("sign-in", token=self.token(await self.open()), key=key)

    def assertProtected(self, answer: Answer) -> None:
        policy = answer.header("Content-Security-Policy") or ""
        self.assertTrue(policy.startswith("default-src 'none'; style-src 'sha256-"), policy)
        self.assertEqual(answer.header("Cache-Control"), "no-store")
        self.assertEqual(answer.header("Referrer-Policy"), "no-referrer")
        self.assertEqual(answer.header("Cross-Origin-Opener-Policy"), "same-origin")
        self.assertEqual(Tree(answer.body).dangers(), [])

    async def cool(self, *models: str) -> None:
        """Let the provider refuse these models, so that they cool down."""
        script, self.local.script = self.local.script, lambda seen: seen.reply(429, b"{}")
        for model in models:
            body = json.dumps({"model": model, "messages": []}).encode()
            await self.ask("POST", "/v1/chat/completions", [KEY], body)
        self.local.script = script

    def cooling(self) -> list[str]:
        return sorted(str(row.model) for row in self.harness.daemon.face._management._lasting.credentials.listing())


class OpenDaemonTests(PageCase):
    """Without `api-keys`, for loopback peers only."""

    async def test_thePageIsThereAtOnce(self) -> None:
        self.start(api_keys=[])
        answer = await self.open()
        self.assertEqual((answer.status, answer.header("Content-Type")), (200, "text/html; charset=utf-8"))
        self.assertProtected(answer)
        self.assertNotIn(b"Sign out", answer.body)
        self.assertIsNone(answer.header("Set-Cookie"))

    async def test_theAddressWithoutItsSlashLeadsThere(self) -> None:
        self.start(api_keys=[])
        answer = await self.open("/llmux")
        self.assertEqual((answer.status, answer.header("Location")), (303, "/llmux/"))

    async def test_remotePeersAndForeignHostsAreRefused(self) -> None:
        self.start(api_keys=[])
        for path in ("/llmux/", "/llmux/events?token=x"):
            self.assertEqual((await self.ask("GET", path, [HTML], peer="192.168.1.9")).status, 403)
            self.assertEqual((await self.ask("GET", path, [HTML, ("Host", "evil.example")])).status, 403)

    async def test_onlyTheAddressBarAndThePageItselfOpenIt(self) -> None:
        self.start(api_keys=[])
        for site in ("cross-site", "same-site"):
            answer = await self.ask("GET", "/llmux/", [HTML, ("Sec-Fetch-Site", site), ("Sec-Fetch-Dest", "document")])
            self.assertEqual(answer.status, 403, site)
        for kind in ("empty", "iframe", "script", "image"):
            sent = [HTML, ("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Dest", kind)]
            self.assertEqual((await self.ask("GET", "/llmux/", sent)).status, 403, kind)

    async def test_aModelNameCannotBeMarkup(self) -> None:
        self.start(api_keys=[])
        body = json.dumps({"model": HOSTILE, "messages": []}).encode()
        await self.ask("POST", "/v1/chat/completions", [], body)
        answer = await self.open()
        self.assertProtected(answer)
        self.assertIn(HOSTILE, Tree(answer.body).text("rows"))

    async def test_theConfigurationIsShownWithoutItsSecrets(self) -> None:
        secret = "sk-a-secret-of-the-provider"
        entry = provider(self.local, "gpt-9", api_keys=[secret], headers={"X-Auth": secret + "-2"})
        self.start(api_keys=[], providers=[entry])
        answer = await self.open()
        self.assertIn(b"sk-a...ider", answer.body)
        self.assertNotIn(b"secret", answer.body)
        self.assertIn(self.harness.daemon.face.current.config.digest[:12].encode(), answer.body)

    async def test_requestsAreListedWithTheirOutcome(self) -> None:
        self.start(api_keys=[])
        await self.ask("POST", "/v1/chat/completions", [], b'{"model":"gpt-9"}')
        await self.ask("POST", "/v1/messages", [], b'{"model":"nobody","messages":[]}')
        tree = Tree((await self.open()).body)
        self.assertEqual(tree.texts("td", "outcome"), ["503", "200"])
        self.assertEqual(tree.texts("td", "route"), ["no provider", "local provider"])
        self.assertEqual(tree.texts("td", "by"), ["", "local"])


class SignInTests(PageCase):
    async def test_aBrowserIsAskedForAKeyAndKeepsASession(self) -> None:
        self.start()
        asked = await self.open()
        self.assertEqual(asked.status, 401)
        self.assertProtected(asked)
        self.assertNotIn(b"Requests", asked.body)
        done = await self.sign_in()
        self.assertEqual((done.status, done.header("Location"), done.body), (303, "/llmux/", b""))
        cookie = done.header("Set-Cookie") or ""
        for part in ("; Path=/llmux;", "; HttpOnly;", "; SameSite=Strict;"):
            self.assertIn(part, cookie)
        self.assertNotIn(CLIENT_KEY, cookie)
        page = await self.open()
        self.assertEqual(page.status, 200)
        self.assertIn(b"Sign out", page.body)

    async def test_aWrongKeyIsToldAndOpensNothing(self) -> None:
        self.start()
        answer = await self.sign_in("ck-wrong")
        self.assertEqual(answer.status, 401)
        self.assertProtected(answer)
        self.assertEqual(Tree(answer.body).texts("p", "problem"), ["That is not one of the client keys."])
        self.assertNotIn(b"ck-wrong", answer.body)
        self.assertIsNone(answer.header("Set-Cookie"))

    async def test_otherClientsShowTheirKeyOrReadARefusal(self) -> None:
        self.start()
        self.assertEqual((await self.ask("GET", "/llmux/", [KEY])).status, 200)
        missing = await self.ask("GET", "/llmux/", [])
        self.assertEqual((missing.status, missing.json()), (401, {"error": "Missing API key"}))
        wrong = await self.ask("GET", "/llmux/", [("X-Api-Key", "x")])
        self.assertEqual((wrong.status, wrong.json()), (401, {"error": "Invalid API key"}))

    async def test_signingOutEndsIt(self) -> None:
        self.start()
        await self.sign_in()
        token, kept = self.token(await self.open()), self.cookie
        done = await self.send("sign-out", token=token)
        self.assertEqual((done.status, self.cookie), (303, "llmux-session-8317="))
        self.cookie = kept
        self.assertEqual((await self.open()).status, 401)

    async def test_theSessionOpensNothingButThePage(self) -> None:
        self.start(upstream_url="http://up")
        up = self.harness.server("up")
        await self.sign_in()
        for method, path in (
            ("GET", "/llmux/status"),
            ("GET", "/llmux/cooldowns"),
            ("POST", "/llmux/cooldowns/clear"),
            ("POST", "/llmux/explain"),
            ("GET", "/metrics"),
            ("GET", "/v1/models"),
            ("POST", "/v1/chat/completions"),
            ("GET", "/api/user"),
        ):
            answer = await self.ask(method, path, self.jar(), b"{}" if method == "POST" else None)
            self.assertEqual(answer.status, 401, path)
        self.assertEqual(up.requests, [])

    async def test_aReloadWithoutTheKeyEndsIt(self) -> None:
        self.start(api_keys=[CLIENT_KEY, "ck-2"])
        await self.sign_in("ck-2")
        self.assertEqual((await self.open()).status, 200)
        self.harness.save({"api-keys": [CLIENT_KEY]})
        self.harness.look()
        self.assertEqual((await self.open()).status, 401)

    async def test_aReloadThatAsksForKeysAsksForASignIn(self) -> None:
        self.start(api_keys=[])
        visitors = self.harness.daemon.face.page._visitors
        done = await self.send("sign-in", token=visitors.sign_in_token, key="anything")
        self.assertEqual((done.status, done.header("Set-Cookie")), (303, None))
        self.assertEqual((await self.open()).status, 200)
        self.harness.save({"api-keys": [CLIENT_KEY]})
        self.harness.look()
        self.assertEqual((await self.open()).status, 401)
        self.assertEqual((await self.send("clear", token=visitors.without_session().token)).status, 401)


class FormTests(PageCase):
    """What changes something needs the token of the page, from the page."""

    async def test_theButtonClearsWhatItNames(self) -> None:
        entry = provider(self.local, "gpt-9", "gpt-8")
        self.start(providers=[entry])
        await self.sign_in()
        await self.cool("gpt-9", "gpt-8")
        self.assertEqual(self.cooling(), ["gpt-8", "gpt-9"])
        page = await self.open()
        self.assertEqual(len(Tree(page.body).texts("table", "cooldowns")), 1)
        done = await self.send("clear", token=self.token(page), provider="local", model="gpt-9")
        self.assertEqual((done.status, done.header("Location")), (303, "/llmux/#cooling"))
        self.assertEqual(self.cooling(), ["gpt-8"])
        await self.send("clear", token=self.token(page))
        self.assertEqual(self.cooling(), [])

    async def test_withoutTheTokenNothingHappens(self) -> None:
        self.start()
        await self.sign_in()
        await self.cool("gpt-9")
        other = Harness(self)
        other.start({"providers": []})
        for token in ("", "x", other.daemon.face.page._visitors.without_session().token):
            answer = await self.send("clear", token=token)
            self.assertEqual(answer.status, 403)
            self.assertProtected(answer)
        self.assertEqual((await self.send("clear")).status, 403)
        self.assertEqual((await self.send("sign-out", token="x")).status, 403)
        self.assertEqual((await self.send("sign-in", token="x", key=CLIENT_KEY)).status, 403)
        self.assertEqual(self.cooling(), ["gpt-9"])
        self.assertEqual((await self.open()).status, 200)

    async def test_theTokenOfAnotherSessionIsWorthNothing(self) -> None:
        self.start()
        await self.sign_in()
        token = self.token(await self.open())
        self.cookie = ""
        await self.sign_in()
        self.assertEqual((await self.send("clear", token=token)).status, 403)

    async def test_withoutTheSessionTheTokenIsWorthNothing(self) -> None:
        self.start()
        await self.sign_in()
        await self.cool("gpt-9")
        token = self.token(await self.open())
        self.cookie = ""
        answer = await self.send("clear", token=token)
        self.assertEqual(answer.status, 401)
        self.assertProtected(answer)
        self.assertEqual(self.cooling(), ["gpt-9"])

    async def test_otherSitesCannotSendAForm(self) -> None:
        self.start(api_keys=[])
        await self.cool("gpt-9")
        token = self.token(await self.open())
        for headers in (
            [FORM, ("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")],
            [FORM, ("Origin", "https://evil.example")],
            [FORM, ("Origin", "http://127.0.0.1:9000")],
            [FORM, ("Origin", "null"), ("Sec-Fetch-Site", "cross-site")],
            [FORM, ("Origin", "null"), ("Sec-Fetch-Site", "same-site")],
            [FORM, ("Host", "evil.example")],
        ):
            for action in ("clear", "sign-in", "sign-out"):
                self.assertEqual((await self.send(action, headers, token=token, key="x")).status, 403, headers)
        self.assertEqual(self.cooling(), ["gpt-9"])
        # A browser that says nothing about sites, over plain HTTP to an address of the network.
        self.assertEqual((await self.send("clear", [FORM, ("Origin", "null")], token=token)).status, 303)
        self.assertEqual(self.cooling(), [])

    async def test_elsewhereANullOriginStaysForeign(self) -> None:
        self.start(api_keys=[])
        for method, path in (("GET", "/llmux/"), ("GET", "/llmux/status"), ("POST", "/llmux/cooldowns/clear")):
            body = b"{}" if method == "POST" else None
            self.assertEqual((await self.ask(method, path, [("Origin", "null")], body)).status, 403, path)

    async def test_formsAreShort(self) -> None:
        self.start(api_keys=[])
        self.assertEqual((await self.send("clear", token="x" * 70_000)).status, 413)
        many = "&".join(f"f{number}=1" for number in range(5000)).encode()
        self.assertEqual((await self.ask("POST", "/llmux/clear", OWN_FORM, many)).status, 403)
        self.assertEqual((await self.ask("POST", "/llmux/clear", OWN_FORM, b"\xff\x00=%zz&token")).status, 403)

    async def test_theAddressThatAFormLeftLeadsToThePage(self) -> None:
        self.start(api_keys=[])
        await self.cool("gpt-9")
        token = self.token(await self.open())
        for action in ("clear", "sign-in", "sign-out"):
            answer = await self.open(f"/llmux/{action}?token={token}")
            self.assertEqual((answer.status, answer.header("Location")), (303, "/llmux/"))
        self.assertEqual(self.cooling(), ["gpt-9"])


class ExplainTests(PageCase):
    async def test_aQuestionInTheAddressIsAnsweredInThePage(self) -> None:
        self.start(api_keys=[])
        answer = await self.open("/llmux/?explain=gpt-9%28high%29&route=%2Fv1%2Fchat%2Fcompletions")
        tree = Tree(answer.body)
        self.assertEqual((answer.status, tree.texts("div", "decision") != []), (200, True))
        self.assertIn("gpt-9(high) at local", tree.texts("li")[-1])

    async def test_everyRouteOfTheFormCanBeAskedFor(self) -> None:
        self.start(api_keys=[])
        self.assertEqual(len(ASKED_ROUTES), 6)
        for route in ASKED_ROUTES:
            answer = await self.open(f"/llmux/?{urlencode({'explain': 'gpt-9', 'route': route})}")
            self.assertEqual(answer.status, 200, route)

    async def test_aQuestionThatMakesNoSenseIsToldSo(self) -> None:
        self.start(api_keys=[])
        for query in ("explain=gpt-9&route=/nowhere", f"explain={'x' * 2000}", "explain=x&route=%00%ff"):
            answer = await self.open(f"/llmux/?{query}")
            self.assertEqual((answer.status, len(Tree(answer.body).texts("p", "problem"))), (400, 1), query[:40])
        self.assertEqual((await self.open("/llmux/?explain=%20&route=x")).status, 200)

    async def test_hostileQuestionsStayText(self) -> None:
        self.start(api_keys=[])
        for fields in ({"explain": HOSTILE}, {"explain": HOSTILE, "route": HOSTILE}, {"explain": "m", "rows": HOSTILE}):
            self.assertProtected(await self.open(f"/llmux/?{urlencode(fields)}"))


class EventTests(PageCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.leave()))
        self.clients: list[Conversation] = []

    async def leave(self) -> None:
        """All watchers go, and the clock that serves them ends with the last."""
        for client in self.clients:
            client.leave()
        await self.harness.settled(lambda: not self.harness.daemon.face.page.live.watchers)

    async def watch(self, *headers: tuple[str, str], token: str) -> Conversation:
        client = self.harness.client()
        self.clients.append(client)
        client.ask("GET", f"/llmux/events?rows=30&token={token}", [HOST, *headers])
        return client

    async def events(self, client: Conversation, count: int) -> list[list[str]]:
        """The events so far, when there are so many."""

        def found() -> list[list[str]]:
            lines = client.received.replace(b"\r\n", b"\n").split(b"\n")
            return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]

        await self.harness.settled(lambda: len(found()) >= count)
        return found()

    async def test_anOpenPageIsToldOfRequestsAsTheyGoBy(self) -> None:
        self.start()
        await self.sign_in()
        client = await self.watch(*self.jar(), token=self.token(await self.open()))
        first = (await self.events(client, 1))[0]
        parts = ["rows", "facts", "day", "cooldowns", "about", "warnings", "settings"]
        self.assertEqual([Tree(part).elements[0][1]["id"] for part in first], parts)
        await self.ask("POST", "/v1/chat/completions", [KEY], b'{"model":"gpt-9"}')
        (row,) = (await self.events(client, 2))[1]
        tree = Tree(f"<table>{row}</table>")
        self.assertEqual((tree.all("tr"), tree.texts("td", "outcome")), ([{"id": "r1", "class": "done"}], ["200"]))

    async def test_anOpenPageIsToldOfAReload(self) -> None:
        self.start()
        client = await self.watch(KEY, token=self.harness.daemon.face.page._visitors.without_session().token)
        await self.events(client, 1)
        self.harness.save({"api-keys": [CLIENT_KEY], "providers": [], "upstream-url": "http://up", "debug": True})
        self.harness.look()
        await self.harness.settled(lambda: b"generation 2," in client.received)
        told = {Tree(part).elements[0][1]["id"]: part for part in (await self.events(client, 2))[-1]}
        self.assertLessEqual({"about", "warnings", "settings"}, set(told))
        self.assertIn("generation 2, digest", Tree(told["about"]).texts("p")[0])
        self.assertIn("debug", Tree(told["warnings"]).texts("li")[0])
        self.assertIn("upstream-url: http://up", Tree(told["settings"]).texts("pre")[0])
        self.assertNotIn(CLIENT_KEY, told["settings"])

    async def test_itTakesTheTokenAndTheSession(self) -> None:
        self.start()
        await self.sign_in()
        token = self.token(await self.open())
        for headers, shown, status in (
            (self.jar(), "", 403),
            (self.jar(), "x", 403),
            ([], token, 401),
            ([KEY], token, 403),
            ([HTML], token, 403),
        ):
            client = await self.watch(*headers, token=shown)
            self.assertEqual((await client.answer()).status, status, headers)

    async def test_signingOutEndsTheStream(self) -> None:
        self.start()
        await self.sign_in()
        token = self.token(await self.open())
        client = await self.watch(*self.jar(), token=token)
        await self.events(client, 1)
        await self.send("sign-out", token=token)
        self.assertTrue((await client.answer()).complete)

    async def test_theDrainDoesNotWaitForWatchers(self) -> None:
        self.start(api_keys=[])
        client = await self.watch(token=self.harness.daemon.face.page._visitors.without_session().token)
        await self.events(client, 1)
        self.harness.daemon.face.draining = True
        self.assertTrue((await client.answer()).complete)

    async def test_tooManyAreToldToComeBack(self) -> None:
        self.start(api_keys=[])
        token = self.harness.daemon.face.page._visitors.without_session().token
        clients = [await self.watch(token=token) for _ in range(MOST_WATCHERS + 1)]
        answer = await clients[-1].answer()
        self.assertEqual((answer.status, answer.header("Retry-After")), (503, "15"))
