"""Every vector of `reload`: a real file, looked at by a real Reloader, under a daemon that answers all the while."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import TestCase

from tests import vectors
from tests.answering import pairs_of
from tests.conversation import Conversation, Headers
from tests.expecting import check_headers, check_keys, check_log, vector_tests
from tests.harness import CLIENT_KEY, Harness, provider
from tests.scripted import Seen

VECTORS = vectors.routing("reload")
_HOST = re.compile(r"http://([a-z0-9-]+)/?")
_OUTCOME = {"status", "via", "upstream_key", "route_type", "resolved_model", "provider", "body", "headers"}
_STEPS = {"write", "write_by_rename", "touch", "delete", "wait_debounce", "request", "hold", "release", "expect"}


class Held:
    """A streaming request that stays open while the configuration changes."""

    def __init__(self, client: Conversation, via: str, seen: Seen) -> None:
        self.client = client
        self.via = via
        self.seen = seen


@vector_tests(VECTORS)
class ReloadVectors(TestCase):
    """SPEC 17 by example."""

    timeout = 20
    harness: Harness

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    async def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        check_keys(self, expect, {"steps", "reloads", "log", "held", "hold"})
        self.harness = Harness(self)
        self.held: list[Held] = []
        self.harness.server("local", lambda seen: seen.reply(200, b'{"model":"theirs"}'))
        self.harness.start(self.understood({"upstream-url": "http://up-a", **(given.get("config") or {})}))
        for step in given["steps"]:
            check_keys(self, step, _STEPS)
            await self.take(step)
        await self.release({"status": 200})
        if "reloads" in expect:
            self.assertEqual(self.harness.reloads, expect["reloads"])
        if "log" in expect:
            rules = self.harness.config.get("model-mappings")
            patterns = [rule["from"] for rule in rules if rule.get("regex")] if isinstance(rules, list) else []
            check_log(self, expect["log"], self.harness.events, pattern=next(iter(patterns), ""))
        self.assertNoSecretWasLogged()

    def understood(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Flat keys of a step as the file has them: providers are names of models, upstreams are servers."""
        config = dict(given)
        for host in _HOST.findall(str(config.get("upstream-url") or "")):
            self.harness.server(host)
        if isinstance(config.get("providers"), list):
            local = self.harness.servers["local"]
            names = [each for each in config["providers"] if isinstance(each, str)]
            others = [each for each in config["providers"] if not isinstance(each, str)]
            config["providers"] = [provider(local, *names)] if names else []
            config["providers"] += [{**provider(local), **each} for each in others]
        return config

    async def take(self, step: Mapping[str, Any]) -> None:
        harness = self.harness
        if "write" in step or "write_by_rename" in step:
            content = step.get("write", step.get("write_by_rename"))
            by_rename = "write_by_rename" in step
            if isinstance(content, Mapping):
                harness.save(self.understood(content), by_rename)
            else:
                harness.write(str(content or "").encode(), by_rename)
            harness.look(1)  # in the middle of a burst
        elif "touch" in step:
            harness.write(harness.path.read_bytes())
            harness.look(1)
        elif "delete" in step:
            harness.path.unlink()
            harness.look(1)
        elif "wait_debounce" in step:
            harness.look()
        elif "hold" in step:
            await self.hold(step["hold"] if isinstance(step["hold"], Mapping) else {}, step.get("expect") or {})
        elif "release" in step:
            await self.release(step.get("expect") or {})
        else:
            await self.request(step["request"], step.get("expect") or {})

    async def request(self, request: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
        check_keys(self, expect, _OUTCOME)
        harness = self.harness
        before = {name: len(server.requests) for name, server in harness.servers.items()}
        decisions = len(harness.records())
        client = harness.client(request.get("peer", "127.0.0.1"))
        self.send(client, request)
        answer = await client.answer()
        client.leave()
        self.assertTrue(answer.complete)
        self.assertEqual(answer.status, expect.get("status", answer.status), answer.body)
        if "body" in expect:
            self.assertEqual(answer.body.decode(), expect["body"])
        check_headers(self, expect.get("headers"), answer)
        reached = {
            name: server.requests[-1]
            for name, server in harness.servers.items()
            if len(server.requests) > before.get(name, 0)
        }
        if "via" in expect:
            self.assertEqual(list(reached), [expect["via"]] if expect["via"] else [])
        if "upstream_key" in expect:
            (seen,) = reached.values()
            self.assertEqual(seen.header("x-api-key"), expect["upstream_key"])
        records = harness.records()[decisions:]
        if "route_type" in expect:
            self.assertEqual([record["route_type"] for record in records], [expect["route_type"]])
        if "resolved_model" in expect:
            named = [record.get("resolved_model", record["requested_model"]) for record in records]
            self.assertEqual(named, [expect["resolved_model"]])
        if "provider" in expect:
            self.assertEqual([record.get("provider") for record in records], [expect["provider"]])

    def send(self, client: Conversation, request: Mapping[str, Any]) -> None:
        which = request.get("credentials", "valid")
        key = {"valid": CLIENT_KEY, "wrong": "ck-wrong", "none": None}.get(which, which)
        headers: Headers = ([] if key is None else [("X-Api-Key", str(key))]) + pairs_of(request.get("headers"))
        body = str(request["body"]).encode() if "body" in request else None
        client.ask(request.get("method", "GET"), request.get("target", "/api/user"), headers, body)

    async def hold(self, request: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
        """Begin a stream; its upstream sends a first event and leaves it open."""
        check_keys(self, expect, {"status", "via"})
        streaming: list[tuple[str, Seen]] = []
        scripts = {name: server.script for name, server in self.harness.servers.items()}
        for name, server in self.harness.servers.items():

            def stream(seen: Seen, name: str = name) -> None:
                seen.begin_stream()
                seen.chunk(b"data: first\n\n")
                streaming.append((name, seen))

            server.script = stream
        client = self.harness.client(request.get("peer", "127.0.0.1"))
        self.send(client, request)
        begun = await client.content(b"first")
        for name, server in self.harness.servers.items():
            server.script = scripts[name]
        ((via, seen),) = streaming
        self.assertEqual(begun.status, expect.get("status", 200))
        self.assertEqual(via, expect.get("via", via))
        self.held.append(Held(client, via, seen))

    async def release(self, expect: Mapping[str, Any]) -> None:
        """Let the streams that are open end: they finish where they began."""
        held, self.held = self.held, []
        for each in held:
            self.assertIsNone(each.client.ended)
            each.seen.chunk(b"data: last\n\n")
            each.seen.end_stream()
            answer = await each.client.answer()
            self.assertTrue(answer.complete)
            self.assertEqual(answer.body, b"data: first\n\ndata: last\n\n")
            self.assertEqual(each.via, expect.get("via", each.via))

    def assertNoSecretWasLogged(self) -> None:
        """Neither a line nor a field of an event holds a key (SPEC R-LG-2)."""
        config = self.harness.config
        keys = [config.get("upstream-api-key"), *config.get("api-keys", [CLIENT_KEY])]
        entries = config.get("upstream-api-keys")
        keys += [entry["upstream-api-key"] for entry in entries] if isinstance(entries, list) else []
        for event in self.harness.events:
            said = repr({name: value for name, value in event.items() if not name.startswith("log_")})
            for key in filter(lambda each: isinstance(each, str) and each, keys):
                self.assertNotIn(f"'{key}'", said)
                self.assertNotIn(f" {key} ", said)
