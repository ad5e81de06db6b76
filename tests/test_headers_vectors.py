"""Every vector of `headers`, through the daemon: what the upstream and the providers really receive, over TLS too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from twisted.trial.unittest import TestCase

from tests import vectors
from tests.answering import pairs_of, send
from tests.conversation import Answer
from tests.expecting import check_header, check_headers, check_keys, vector_tests
from tests.harness import CLIENT_KEY, Harness, provider
from tests.scripted import ScriptedServer, Seen
from tests.test_errors_vectors import kind_of

VECTORS = vectors.routing("headers")
_EXPECTED = {"upstream", "client", "upstream_contacted", "provider_request", "provider"}
_CHAT = "/api/provider/openai/v1/chat/completions"
ASKED, SERVED = "asked-1", "served-1"


def seen_parts(seen: Seen) -> str:
    """A whole request as text, to search in."""
    return f"{seen.method} {seen.target}\n{seen.headers}\n{seen.body.decode('latin-1')}"


@vector_tests(VECTORS)
class HeadersVectors(TestCase):
    """SPEC 11 by example."""

    timeout = 20

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    async def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        check_keys(self, expect, _EXPECTED)
        harness = Harness(self)
        config, url = given.get("config") or {}, "https://up.example"
        url = config.get("upstream_url", url)
        upstream = self.upstream(harness, url, given.get("upstream_response") or {"body": "{}"})
        route, request = given.get("route"), given.get("request") or {}
        modelled = route is not None and route != "PASSTHROUGH"
        target = request.get("target", _CHAT if modelled else "/api/user")
        local = harness.server(
            "local", lambda seen: send(seen, given.get("provider_response") or {"body": "{}"}, "application/json")
        )
        serving = [provider(local, SERVED, kind=kind_of(target), api_keys=[given.get("provider_key", "pk-9")])]
        harness.start(
            {
                "api-keys": config.get("api_keys", [CLIENT_KEY]),
                "upstream-url": url,
                "upstream-api-key": config.get("upstream_api_key", "uk-main"),
                "upstream-api-keys": [
                    {name.replace("_", "-"): value for name, value in entry.items()}
                    for entry in config.get("upstream_api_keys") or []
                ],
                "providers": serving if modelled else [],
                "model-mappings": [{"from": ASKED, "to": SERVED}] if route == "MODEL_MAPPING" else [],
            }
        )
        body = request.get("body")
        if body is None and modelled:
            body = json.dumps({"model": SERVED if route == "LOCAL_PROVIDER" else ASKED, "messages": []})
        client = harness.client(request.get("peer", "127.0.0.1"))
        headers = pairs_of(request["headers"]) if "headers" in request else [("X-Api-Key", CLIENT_KEY)]
        method = request.get("method", "POST" if modelled else "GET")
        client.ask(method, target, headers, None if body is None else str(body).encode())
        answer = await client.answer()
        self.assertTrue(answer.complete)
        await harness.settled(lambda: not harness.daemon.server.busy)
        if expect.get("upstream_contacted") is not None:
            self.assertEqual(bool(upstream.requests), expect["upstream_contacted"])
        if "upstream" in expect:
            self.check_seen(upstream.requests, expect["upstream"])
        for key in ("provider_request", "provider"):
            if key in expect:
                self.check_seen(local.requests, expect[key])
        if "client" in expect:
            self.check_client(expect["client"], answer)

    def upstream(self, harness: Harness, url: str, response: Mapping[str, Any]) -> ScriptedServer:
        parts = urlsplit(url)
        host = parts.hostname or "up.example"
        make = harness.tls_server if parts.scheme == "https" else harness.server
        return make(host, lambda seen: send(seen, response))

    def check_seen(self, requests: list[Seen], expect: Mapping[str, Any]) -> None:
        check_keys(self, expect, {"target", "host", "headers", "method", "body", "not_contains_anywhere"})
        (seen,) = requests
        self.assertEqual(seen.target, expect.get("target", seen.target))
        self.assertEqual(seen.method, expect.get("method", seen.method))
        self.assertEqual(seen.all("host"), [expect.get("host", seen.header("host"))])
        if "body" in expect:
            self.assertEqual(seen.body, str(expect["body"]).encode())
        for name, wanted in (expect.get("headers") or {}).items():
            check_header(self, name, wanted, seen.headers)
        for text in expect.get("not_contains_anywhere", ()):
            self.assertNotIn(text, seen_parts(seen))

    def check_client(self, expect: Mapping[str, Any], answer: Answer) -> None:
        check_keys(self, expect, {"status", "headers", "body", "body_contains"})
        self.assertEqual(answer.status, expect.get("status", answer.status), answer.body)
        check_headers(self, expect.get("headers"), answer)
        if "body" in expect:
            self.assertEqual(answer.body, str(expect["body"]).encode())
