"""Every vector of `errors`, through the daemon: what clients see when something goes wrong, and what the log says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from llmux.errors import HTTPProblem
from llmux.web.verbs import bridge_action
from tests import vectors
from tests.answering import pairs_of
from tests.conversation import Answer, Conversation, Headers
from tests.expecting import check_headers, check_keys, check_log, vector_tests
from tests.faults import IMPATIENT, begin, fault_of, url_of
from tests.harness import CLIENT_KEY, Harness, provider
from tests.scripted import Seen

reactor: Any = installed
VECTORS = vectors.routing("errors")
SMALL = 2048  # bytes of a body where bodies must be too large
INTERNALS = "an internal thought of /srv/llmux/secret.py"
_ANSWER = {"status", "content_type", "body_json", "body_contains", "body_empty", "not_contains", "headers"}
_AROUND = {"log", "connection", "upstream_contacted", "upstream_aborted_within_s", "upstream_requests", "action"}
_CREDENTIALS = {"x-api-key", "authorization", "x-goog-api-key"}
_CONFIG = {"restrict_localhost": "restrict-management-to-localhost"}


def kind_of(target: str) -> str:
    """The kind of provider that speaks a path's format."""
    if "/messages" in target:
        return "anthropic"
    if "/responses" in target:
        return "openai-responses"
    return "gemini" if "/v1beta" in target else "openai"


def configuration_of(
    given: Mapping[str, Any], expect: Mapping[str, Any], rule: str, harness: Harness
) -> dict[str, Any]:
    """The configuration of a scenario, with the peers that it needs."""
    scenario = given["scenario"]
    who, _, what = scenario.partition("_")
    faults = {who: None if what == "status" else fault_of(what)} if who in ("upstream", "provider") else {}
    config: dict[str, Any] = {}
    # A path that no pattern matches goes to the upstream when there is one (DESIGN D-44), so 404 is seen without.
    if not scenario.startswith("no_upstream") and not (rule == "R-ER-8" and expect.get("status") == 404):
        config["upstream-url"] = url_of(harness, "up", faults.get("upstream"), given.get("upstream_response") or {})
    models = given.get("providers") or ([json.loads(given["body"])["model"]] if who == "provider" else [])
    if models:
        url = url_of(harness, "local", faults.get("provider"), given.get("provider_response") or {})
        config["providers"] = [provider(url, *models, kind=kind_of(given["target"]))]
    if any(fault is not None and ("timeout" in fault or fault == "idle") for fault in faults.values()):
        config["timeouts"] = IMPATIENT
    if "too_large" in scenario:
        config["limits"] = {"body": SMALL}
    for key, value in (given.get("config") or {}).items():
        if key == "cors":
            config["cors"] = {"origins": value or []}
        elif key == "api_keys":
            config["api-keys"] = value if isinstance(value, list) else [CLIENT_KEY] if value else []
        elif key == "upstream":
            config["upstream-url"] = config.get("upstream-url") if value else ""
        else:
            config[_CONFIG.get(key, key.replace("_", "-"))] = value
    return config


def headers_of(given: Mapping[str, Any]) -> Headers:
    """The client's headers, with the key that the scenario means."""
    headers = pairs_of(given.get("headers"))
    scenario = given["scenario"]
    if scenario.startswith("no_cred") or _CREDENTIALS & {name.lower() for name, _ in headers}:
        return headers
    return [("X-Api-Key", "ck-wrong" if scenario.startswith("wrong_cred") else CLIENT_KEY), *headers]


@vector_tests(VECTORS)
class ErrorsVectors(TestCase):
    """SPEC 15 and 16 by example."""

    timeout = 20

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    async def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        check_keys(self, expect, _ANSWER | _AROUND)
        scenario = given["scenario"]
        if scenario == "bridge_unit":
            self.check_bridge(given["path"], expect)
            return
        harness = Harness(self)
        harness.start(configuration_of(given, expect, vector["rule"], harness), log_level="info")
        if "exception" in scenario or "panic" in scenario or "internal" in scenario or "raises" in scenario:
            self.patch(harness.daemon.face.models, "handle", self.raising)
            self.patch(harness.daemon.face, "_passthrough", self)
        client = harness.client(*peer_of(given))
        body = given.get("body")
        if "too_large" in scenario:
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * SMALL}]})
        raw = None if body is None else str(body).encode()
        if scenario.startswith("client_"):
            await self.check_departure(given, expect, harness, client, raw)
        else:
            client.ask(given.get("method", "GET"), str(given["target"]), headers_of(given), raw)
            answer = await client.answer()
            self.check_answer(expect, answer)
            if "connection" in expect:
                self.assertEqual(expect["connection"], "closed_abnormally")
                self.assertFalse(answer.complete)
                self.assertIsNotNone(client.ended)
        if "exception" in scenario or "panic" in scenario or "internal" in scenario or "raises" in scenario:
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.check_around(given, expect, harness)

    async def raising(self, *given: Any, **more: Any) -> None:
        """Stand for a handler with a bug."""
        raise RuntimeError(INTERNALS)

    forward = raising

    def check_bridge(self, path: str, expect: Mapping[str, Any]) -> None:
        try:
            action = bridge_action(path)
        except HTTPProblem as problem:
            headers = [(name.decode(), value.decode()) for name, value in problem.headers]
            self.check_answer(expect, Answer(problem.status, "", headers, problem.body, True, []))
        else:
            self.assertEqual(action, expect["action"])

    def check_answer(self, expect: Mapping[str, Any], answer: Answer) -> None:
        if "status" in expect:
            self.assertEqual(answer.status, expect["status"], answer.body)
        if "content_type" in expect:
            self.assertTrue((answer.header("Content-Type") or "").startswith(expect["content_type"]))
        if "body_json" in expect:
            self.assertEqual(answer.json(), expect["body_json"])
        for text in expect.get("body_contains", ()):
            self.assertIn(text.encode(), answer.body)
        if expect.get("body_empty"):
            self.assertEqual(answer.body, b"")
        everything = answer.body.decode("utf-8", "replace") + repr(answer.headers)
        for text in [*expect.get("not_contains", ()), INTERNALS]:
            self.assertNotIn(text, everything)
        check_headers(self, expect.get("headers"), answer)

    def check_around(self, given: Mapping[str, Any], expect: Mapping[str, Any], harness: Harness) -> None:
        if "upstream_contacted" in expect:
            self.assertEqual(harness.contacted("up"), expect["upstream_contacted"])
        if "upstream_requests" in expect:
            self.assertEqual(len(harness.servers["up"].requests), expect["upstream_requests"])
        if "log" in expect:
            path = str(given["target"]).partition("?")[0]
            check_log(self, expect["log"], harness.events, path=path, method=given.get("method", "GET"))

    async def check_departure(
        self,
        given: Mapping[str, Any],
        expect: Mapping[str, Any],
        harness: Harness,
        client: Conversation,
        body: bytes | None,
    ) -> None:
        """A client that leaves: before the answer, in the middle of it, or in the middle of its own body."""
        name = "local" if harness.config.get("providers") else "up"
        heads: list[Seen] = []
        whole: list[Seen] = []
        server = harness.servers[name]
        server.at_head, server.script = heads.append, whole.append
        method, target, scenario = given.get("method", "GET"), str(given["target"]), given["scenario"]
        headers = headers_of(given)
        if "upload" in scenario or "sending" in scenario or "request_body" in scenario:
            client.ask(method, target, [*headers, ("Content-Length", str(len(body or b"") + 1000))], body or b"part")
            if not given.get("providers"):
                await harness.settled(lambda: bool(heads))
        else:
            client.ask(method, target, headers, body)
            await harness.settled(lambda: bool(whole))
            if "before" not in scenario and "waiting" not in scenario:
                begin(whole[0], given.get("upstream_response") or given.get("provider_response") or {})
                await client.head()
        client.leave()
        limit = expect.get("upstream_aborted_within_s", 2)
        for seen in heads:
            await seen.gone.addTimeout(limit, reactor)
        await deferLater(reactor, 0.05, lambda: None)
        self.assertEqual(harness.daemon.server.busy, 0)


def peer_of(given: Mapping[str, Any]) -> tuple[str, int]:
    """The client's address; a remote one where the scenario says so."""
    default = "203.0.113.5:9" if given["scenario"] == "remote_peer" else "127.0.0.1:5000"
    host, _, port = str(given.get("peer", default)).rpartition(":")
    return host.strip("[]"), int(port)
