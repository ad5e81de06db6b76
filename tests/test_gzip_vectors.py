"""Every vector of `gzip`, through the daemon: what the upstream really sent, and what the client really gets."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from tests import vectors
from tests.answering import body_of, send
from tests.expecting import check_headers, check_keys, vector_tests
from tests.harness import Harness

VECTORS = vectors.routing("gzip")


@vector_tests(VECTORS)
class GzipVectors(TestCase):
    """SPEC 14 by example."""

    timeout = 20

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    async def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        check_keys(self, expect, {"body", "same_bytes", "headers", "status"})
        harness = Harness(self)
        harness.server("up", lambda seen: send(seen, given["response"]))
        harness.start({"upstream-url": "http://up"})
        method = given.get("method", "GET")
        answer = await harness.ask(method, "/api/user")
        self.assertTrue(answer.complete)
        self.assertEqual(answer.status, expect.get("status", given["response"].get("status", 200)))
        if "body" in expect:
            self.assertEqual(answer.body, str(expect["body"]).encode())
        if expect.get("same_bytes"):
            self.assertEqual(answer.body, b"" if method == "HEAD" else body_of(given["response"]))
        check_headers(self, expect.get("headers"), answer)
