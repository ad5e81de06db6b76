"""Every vector of `routes`: the matcher's on the matcher, the others on requests that the daemon answers.

What the table says of a route (`class`, `auth`, `guards`) is also tried out: by a request without a key, by OPTIONS, by
a daemon without an upstream, and by what comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import TestCase

from llmux.web.matching import Match, Matcher, MethodNotAllowed, NotFound
from llmux.web.routes import ANY, Route
from tests import vectors
from tests.answering import pairs_of
from tests.conversation import Answer, Headers
from tests.expecting import check_keys, vector_tests
from tests.harness import CLIENT_KEY, Harness, provider

VECTORS = vectors.routing("routes")
BODY = b'{"model":"m-1","messages":[],"contents":[]}'
_EXPECTED = {"class", "handler", "params", "auth", "guards", "status", "allow", "name"}
NO_UPSTREAM = b'{"error":"amp upstream proxy not available"}'
NOT_FOUND = b'{"error":"Not found"}'


def route_of(method: str, pattern: str, name: str) -> Route:
    """A route of the matcher's own vectors; like every GET route it takes HEAD too (SPEC R-RT-4)."""
    if method.lower() in ("any", "*"):
        methods = ANY
    else:
        methods = ("GET", "HEAD") if method == "GET" else (method,)
    return Route(methods, pattern, "passthrough", name)


def credentials(given: Mapping[str, Any]) -> tuple[Headers, str]:
    """The headers and the query with which a request shows who it is."""
    source, which = given.get("credential_source"), given.get("credentials", "valid")
    key = {"valid": CLIENT_KEY, "wrong": "ck-wrong", "none": None}[which]
    if key is None:
        return [], ""
    if source is None:
        return [("X-Api-Key", key)], ""
    if source.startswith("?"):
        return [], source[1:].rstrip("=") + "=" + key
    name, _, scheme = source.partition(":")
    if name.lower() == "authorization raw":
        return [("Authorization", key)], ""
    return [(name.strip(), f"{scheme.strip()} {key}".strip())], ""


def shape(answer: Answer) -> str | None:
    """Whose list an answer is."""
    body = answer.json()
    if body.get("object") == "list":
        return "models.openai"
    if "has_more" in body:
        return "models.anthropic"
    return "models.gemini" if "models" in body else None


@vector_tests(VECTORS)
class RoutesVectors(TestCase):
    """SPEC 2 by example."""

    timeout = 20

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    async def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        check_keys(self, expect, _EXPECTED)
        if given.get("matcher"):
            self.check_matcher(given, expect)
        else:
            await self.check_request(given, expect)

    def check_matcher(self, given: dict[str, Any], expect: dict[str, Any]) -> None:
        matcher = Matcher([route_of(*each) for each in given["routes"]])
        try:
            match = matcher.match(given["method"], given["target"].partition("?")[0].encode())
        except NotFound:
            self.assertEqual(expect, {"status": 404})
        except MethodNotAllowed as problem:
            self.assertEqual(expect["status"], 405)
            allowed = set(expect.get("allow", problem.allow))
            self.assertEqual(allowed, set(problem.allow) - ({"HEAD"} - allowed))
        else:
            self.assertEqual(match.route.handler, expect["name"])
            self.assertEqual(dict(match.params), expect.get("params", {}))

    async def check_request(self, given: dict[str, Any], expect: dict[str, Any]) -> None:
        answer, match, harness = await self.ask(given)
        if "status" in expect:
            self.assertEqual(answer.status, expect["status"], answer.body)
            if "allow" in expect:
                self.assertEqual((answer.header("Allow") or "").split(", "), expect["allow"])
            return
        assert match is not None
        self.check_match(match, expect, answer)
        contacted = bool(harness.server("up").requests)
        match match.route.kind:
            case "passthrough":
                self.assertEqual(answer.status, 200)
                self.assertTrue(contacted)
                self.assertEqual(harness.records(), [])
            case "model":
                self.assertIn(answer.status, (200, 404))
                self.assertEqual(len(harness.records()), answer.status == 200)
                self.assertFalse(contacted)
            case "list":
                self.assertIn(answer.status, (200, 404))
                self.assertFalse(contacted)
            case "local":
                self.assertEqual(answer.status, 200)
                self.assertFalse(contacted)
        if "auth" in expect and given.get("config", {}).get("api_keys", True):
            await self.check_auth(given, expect["auth"])
        if "guards" in expect:
            await self.check_guards(given, expect["guards"])

    def check_match(self, match: Match, expect: dict[str, Any], answer: Answer) -> None:
        route = match.route
        self.assertEqual(route.kind, expect.get("class", route.kind))
        self.assertEqual(route.key, expect.get("auth", route.key))
        self.assertEqual(route.guarded, expect.get("guards", route.guarded))
        self.assertEqual(dict(match.params), expect.get("params", dict(match.params)))
        if "handler" in expect:
            handlers = {route.handler}
            if route.kind == "list" and answer.status == 200:
                handlers.add(shape(answer) or "")
            self.assertIn(expect["handler"], handlers)

    async def check_auth(self, given: dict[str, Any], expected: str) -> None:
        answer, _, _ = await self.ask({**given, "credentials": "none", "credential_source": None})
        self.assertEqual(answer.status == 401, expected == "required")

    async def check_guards(self, given: dict[str, Any], guarded: bool) -> None:
        config = given.get("config", {})
        answer, _, _ = await self.ask({**given, "config": {**config, "upstream": False}})
        # What no route matches is not found without an upstream (R-RT-8); any other guarded route refuses.
        refused = answer.body in (NO_UPSTREAM, NOT_FOUND) or (given["method"] == "HEAD" and answer.status in (404, 503))
        self.assertEqual(refused, guarded)
        config = {**config, "upstream": True, "cors": ["*"]}
        options, _, _ = await self.ask({**given, "method": "OPTIONS", "config": config})
        # The bridge is a model route for POST only: what asks for its permission is passthrough (R-RT-3).
        guarded = guarded or "/google/v1beta1/" in given["target"]
        self.assertEqual((options.status, options.body), (403, b"") if guarded else (204, b""))
        self.assertEqual(options.header("Access-Control-Allow-Origin"), None if guarded else "*")

    async def ask(self, given: Mapping[str, Any]) -> tuple[Answer, Match | None, Harness]:
        """One request to a daemon of its own, and which route took it."""
        harness = Harness(self)
        config = given.get("config", {})
        harness.server("up", lambda seen: seen.reply(200, b'{"up":true}'))
        serving = harness.server("local", lambda seen: seen.reply(200, b'{"served":true}'))
        kinds = {"anthropic": "anthropic", "gemini": "gemini", "openai": "openai", "openai-responses": "responses"}
        service = harness.start(
            {
                "api-keys": [CLIENT_KEY] if config.get("api_keys", True) else [],
                "upstream-url": "http://up" if config.get("upstream", True) else "",
                "restrict-management-to-localhost": config.get("restrict_localhost", False),
                "cors": {"origins": config.get("cors") or []},
                "providers": [provider(serving, "*", name=name, kind=name) for name in kinds],
            }
        )
        matches: list[Match] = []
        execute = service.face.app.execute_endpoint

        def watched(endpoint: str, request: Any, match: Match) -> Any:
            matches.append(match)
            return execute(endpoint, request, match)

        self.patch(service.face.app, "execute_endpoint", watched)
        headers, query = credentials(given)
        if "accept" in given:
            headers.append(("Accept", given["accept"]))
        headers += pairs_of(given.get("headers"))
        target = given["target"]
        if query:
            target += ("&" if "?" in target else "?") + query
        if config.get("cors"):
            headers.append(("Origin", "https://app.example"))
        host, _, port = given.get("peer", "127.0.0.1:5000").rpartition(":")
        client = harness.client(host.strip("[]"), int(port))
        client.ask(given["method"], target, headers, BODY if given["method"] in ("POST", "PUT", "PATCH") else None)
        answer = await client.answer()
        await harness.stop()
        return answer, matches[0] if matches else None, harness
