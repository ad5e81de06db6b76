"""The vectors of `betas`, `rewrite_request` and `rewrite_json` that a whole daemon can answer, answered by one.

Left to the unit tests are those that describe a part alone: bodies without a model, which are refused, suffixes, which
become thinking settings, and answers in a format that the provider does not speak.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import TestCase

from llmux.routing.extractor import ModelExtractor
from tests import vectors
from tests.answering import body_of, pairs_of, send
from tests.conversation import Answer, Headers
from tests.expecting import check_header, check_headers, check_keys, vector_tests
from tests.harness import CLIENT_KEY, Harness, provider
from tests.scripted import Seen
from tests.test_errors_vectors import kind_of

ANTHROPIC, CHAT = "/api/provider/anthropic/v1/messages", "/api/provider/openai/v1/chat/completions"
_OWN = ("LOCAL_PROVIDER", "MODEL_MAPPING")


def asked_in(body: bytes, path: str) -> str | None:
    """The model that a request names."""
    tail = path.partition("?")[0].partition("/models/")[2]
    return ModelExtractor().extract(body, None, {"action": tail} if tail else {}, bool(tail))


def requests() -> list[dict[str, Any]]:
    """Vectors of `rewrite_request` whose request is one that the daemon sends on."""
    found = []
    for vector in vectors.routing("rewrite_request"):
        given = vector["input"]
        body = str(given.get("body", "")).encode()
        passthrough = given.get("route") == "PASSTHROUGH"
        named = asked_in(body, given.get("path", "")) is not None
        if (named or passthrough) and not str(given.get("new_model") or "").endswith(")"):
            found.append(vector)
    return found


def answers() -> list[dict[str, Any]]:
    """Vectors of `rewrite_json` whose answer can come from a provider that speaks the route's format."""
    found = []
    for vector in vectors.routing("rewrite_json"):
        given = vector["input"]
        declared = str(given.get("request_body", "{}"))
        try:
            sendable = isinstance(json.loads(declared), dict)
        except ValueError:
            sendable = False
        foreign = (
            b'"content":[' in body_of(given["response"]) and given.get("provider_kind", "anthropic") != "anthropic"
        )
        if sendable and not foreign:
            found.append(vector)
    return found


async def relay(
    case: TestCase,
    route: str,
    path: str,
    asked: str,
    served: str,
    headers: Headers,
    body: bytes,
    response: Mapping[str, Any],
) -> tuple[Seen, Answer]:
    """Send one request over a route; what its receiver saw, and what the client got."""
    harness = Harness(case)
    for name in ("local", "up"):
        harness.server(name, lambda seen: send(seen, response, "application/json"))
    own = route in _OWN
    harness.start(
        {
            "upstream-url": "http://up",
            "providers": [provider(harness.servers["local"], served, kind=kind_of(path))] if own else [],
            "model-mappings": [{"from": asked, "to": served}] if route == "MODEL_MAPPING" else [],
        }
    )
    answer = await harness.ask("POST", path, [("X-Api-Key", CLIENT_KEY), *headers], body)
    case.assertTrue(answer.complete)
    (seen,) = harness.servers["local" if own else "up"].requests
    case.assertEqual(answer.header("x-llmux-route"), None if route == "PASSTHROUGH" else route)
    await harness.stop()
    return seen, answer


@vector_tests(vectors.routing("betas"))
class BetasVectors(TestCase):
    """SPEC 12 by example."""

    timeout = 20

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(vectors.routing("betas")), 0)

    async def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        check_keys(self, expect, {"beta_values", "features"})
        route = given["route"]
        path = "/api/user" if route == "PASSTHROUGH" else ANTHROPIC
        served = "m-1" if route == "LOCAL_PROVIDER" else "m-2"
        seen, _ = await relay(
            self,
            route,
            path,
            "m-1",
            served,
            pairs_of(given["headers"]),
            b'{"model":"m-1","messages":[]}',
            {"body": "{}"},
        )
        lines = seen.all("anthropic-beta")
        self.assertEqual(lines, expect.get("beta_values", lines))
        features = [item.strip() for line in lines for item in line.split(",")]
        self.assertEqual(features, expect.get("features", features))


@vector_tests(requests())
class RequestVectors(TestCase):
    """SPEC 7.2 by example."""

    timeout = 20

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(requests()), 0)

    async def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        check_keys(
            self, expect, {"body", "unchanged", "body_json", "contains", "not_contains", "path", "action", "headers"}
        )
        route = given.get("route", "MODEL_MAPPING")
        path = given.get("path") or ("/api/user" if route == "PASSTHROUGH" else CHAT)
        body = body_of(given)
        asked = asked_in(str(given.get("body", "")).encode(), path) or ""
        served = given.get("new_model") if route == "MODEL_MAPPING" else asked
        headers = [pair for pair in pairs_of(given.get("headers")) if pair[0].lower() != "content-length"]
        seen, _ = await relay(self, route, path, asked, served or asked, headers, body, {"body": "{}"})
        if "body" in expect:
            self.assertEqual(seen.body, str(expect["body"]).encode())
        if expect.get("unchanged"):
            self.assertEqual(seen.body, body)
        if "body_json" in expect:
            self.assertEqual(seen.json(), expect["body_json"])
        for text in expect.get("contains", ()):
            self.assertIn(text.encode(), seen.body)
        for text in expect.get("not_contains", ()):
            self.assertNotIn(text.encode(), seen.body)
        tail = seen.target.partition("/models/")[2]
        self.assertEqual(tail, expect["path"].partition("/models/")[2] if "path" in expect else tail)
        self.assertEqual(tail.partition("?")[0], expect.get("action", tail.partition("?")[0]))
        for name, wanted in (expect.get("headers") or {}).items():
            check_header(self, name, wanted, seen.headers)


@vector_tests(answers())
class AnswerVectors(TestCase):
    """SPEC 8 and 10 by example."""

    timeout = 20

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(answers()), 0)

    async def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        check_keys(self, expect, {"body", "unchanged", "body_json", "contains", "not_contains", "headers"})
        route, asked = given.get("route", "MODEL_MAPPING"), given.get("requested_model", "ask-1")
        response = given["response"]
        blocks = b'"content":[' in body_of(response)
        kind = given.get("provider_kind", "anthropic" if blocks else "openai")
        path = {"anthropic": ANTHROPIC, "openai": CHAT}.get(kind, f"/v1beta/models/{asked}:generateContent")
        path = "/api/user" if route == "PASSTHROUGH" else path
        declared = str(given.get("request_body", "{}")).lstrip()[1:]
        head = '{"model":' + json.dumps(asked)
        body = (head + declared if declared.lstrip().startswith("}") else f"{head},{declared}").encode()
        base = asked.partition("(")[0]
        served = base if route == "LOCAL_PROVIDER" else "real-1"
        _, answer = await relay(self, route, path, base, served, [], body, response)
        self.assertEqual(answer.status, response.get("status", 200))
        if "body" in expect:
            self.assertEqual(answer.body, str(expect["body"]).encode())
        if expect.get("unchanged"):
            self.assertEqual(answer.body, body_of(response))
        if "body_json" in expect:
            self.assertEqual(answer.json(), expect["body_json"])
        for text in expect.get("contains", ()):
            self.assertIn(text.encode(), answer.body)
        for text in expect.get("not_contains", ()):
            self.assertNotIn(text.encode(), answer.body)
        check_headers(self, expect.get("headers"), answer)
