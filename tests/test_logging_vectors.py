"""Every vector of `logging`, through the daemon: the record that a request really leaves in the log, and no secret."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from twisted.logger import LogEvent, LogLevel
from twisted.trial.unittest import TestCase

from llmux.config.secret import mask
from llmux.daemon.observers import json_line, text_line
from llmux.routing.suffix import parse
from tests import vectors
from tests.answering import pairs_of, send
from tests.expecting import check_keys, line_of, vector_tests
from tests.harness import CLIENT_KEY, Harness, provider
from tests.test_errors_vectors import kind_of

VECTORS = vectors.routing("logging")
_EXPECTED = {"level", "fields", "contains", "decision_records", "no_leak", "not_contains", "masked", "single_line"}
_LEVEL = {"warn": "warning"}


@vector_tests(VECTORS)
class LoggingVectors(TestCase):
    """SPEC 18 by example."""

    timeout = 20

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    async def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        check_keys(self, expect, _EXPECTED)
        if "mask" in given or "secret" in given:
            self.check_masked(str(given.get("mask", given.get("secret"))), expect)
            return
        self.harness = Harness(self)
        if "decision" in given:
            await self.decide(given["decision"])
        else:
            await self.request(given)
        records = self.harness.records()
        self.assertEqual(len(records), expect.get("decision_records", 1 if "decision" in given else len(records)))
        for event in records:
            self.check_record(event, expect)
        # At the default level, and also at the one that says most, neither form of the log has what must not leak.
        lines = "".join(text_line(event) + json_line(event) for event in self.harness.events)
        for text in [*expect.get("no_leak", ()), *expect.get("not_contains", ())]:
            self.assertNotIn(text, lines)

    def check_masked(self, value: str, expect: Mapping[str, Any]) -> None:
        masked = mask(value)
        self.assertEqual(masked, expect.get("masked", masked))
        for text in expect.get("no_leak", ()):
            self.assertNotIn(text, masked)

    def check_record(self, event: LogEvent, expect: Mapping[str, Any]) -> None:
        level: LogLevel = event["log_level"]
        name = _LEVEL.get(level.name, level.name)
        self.assertEqual(name, expect.get("level", name))
        self.assertEqual(event["component"], "amp-routing")
        self.assertIsNotNone(datetime.fromisoformat(event["timestamp"]).tzinfo)
        for field, value in (expect.get("fields") or {}).items():
            self.assertEqual(event.get(field), value, field)
        for text in expect.get("contains", ()):
            self.assertIn(text, line_of(event))
        self.assertEqual(text_line(event).count("\n"), 1)
        self.assertEqual(json_line(event).count("\n"), 1)

    async def decide(self, decision: Mapping[str, Any]) -> None:
        """Configure the daemon so that a request leads to this decision, and send that request."""
        route, requested, resolved = (decision[key] for key in ("route_type", "requested_model", "resolved_model"))
        path = str(decision["path"])
        asked, target = parse(requested), parse(resolved)
        local = self.harness.server("local", lambda seen: seen.reply(200, b'{"model":"theirs"}'))
        self.harness.server("up")
        config: dict[str, Any] = {"upstream-url": "" if route == "NO_PROVIDER" else "http://up"}
        if decision.get("provider") is not None:
            config["providers"] = [provider(local, target.base, name=decision["provider"], kind=kind_of(path))]
        if route == "MODEL_MAPPING":
            to = target.base if asked.raw == target.raw else resolved
            config["model-mappings"] = [{"from": asked.base, "to": to}]
        self.harness.start(config)
        body = json.dumps({"model": requested, "messages": []}).encode()
        answer = await self.harness.ask("POST", path, body=body)
        self.assertEqual(answer.status, 503 if route == "NO_PROVIDER" else 200)

    async def request(self, given: Mapping[str, Any]) -> None:
        """Send the request of a vector, by default with the client key."""
        request = given["request"]
        target = str(request["target"])
        response = given.get("provider_response") or {"body": '{"model":"theirs"}'}
        local = self.harness.server("local", lambda seen: send(seen, response, "application/json"))
        self.harness.server("up", lambda seen: send(seen, given.get("upstream_response") or {"body": "{}"}))
        config: dict[str, Any] = {"upstream-url": "http://up"}
        if given.get("providers"):
            config["providers"] = [provider(local, *given["providers"], kind=kind_of(target))]
        for key, value in (given.get("config") or {}).items():
            config[key.replace("_", "-")] = value
        if given.get("rules") or given.get("mappings"):
            config["model-mappings"] = given.get("rules") or given.get("mappings")
        self.harness.start(config, log_level=given.get("log_level", "debug"))
        headers = pairs_of(request.get("headers"))
        if not {"x-api-key", "authorization", "x-goog-api-key"} & {name.lower() for name, _ in headers}:
            headers.append(("X-Api-Key", CLIENT_KEY))
        body = str(request["body"]).encode() if "body" in request else None
        await self.harness.ask(request.get("method", "POST"), target, headers, body)
