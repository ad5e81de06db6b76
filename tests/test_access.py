"""The access log: a line for every request whatever becomes of it, and no query in any of them."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from llmux.daemon.access import LONGEST_PATH, AccessLog
from llmux.wire.channel import ServerChannel
from llmux.wire.request import Request
from tests.end_to_end import EndToEndCase
from tests.serving import Serving


class AccessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.serving = Serving()
        self.log = AccessLog(self.serving.server, self.serving.clock.seconds)
        self.events: list[LogEvent] = []
        observe: Any = self.events.append
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def lines(self) -> list[str]:
        """What the access log said."""
        own = [event for event in self.events if event["log_namespace"] == "llmux.daemon.access.AccessLog"]
        return [formatEvent(event) for event in own]

    def ask(self, target: str) -> tuple[ServerChannel, Request]:
        """A request on a connection of its own."""
        channel, _ = self.serving.connect("192.0.2.1")
        channel.dataReceived(f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        return channel, self.serving.requests[-1]

    def test_anAnswerIsOneLineWithoutItsQuery(self) -> None:
        _, request = self.ask("/v1/models?key=sk-secret&b=1")
        self.serving.clock.advance(0.25)
        self.assertEqual(self.lines(), [])
        request.respond(200, [], b"hello")
        self.assertEqual(self.lines(), ["192.0.2.1 GET /v1/models 200 5 B 0.25 s whole"])
        self.assertEqual(self.log._begun, {})

    def test_whatIsCutOrLeftIsSaid(self) -> None:
        _, request = self.ask("/a")
        request.start(200, [])
        request.write(b"abc")
        request.break_off()
        channel, _ = self.ask("/b")
        channel.connectionLost(Failure(ConnectionDone()))
        cut, left = self.lines()
        self.assertEqual(cut, "192.0.2.1 GET /a 200 3 B 0.0 s cut")
        self.assertEqual(left, "192.0.2.1 GET /b 499 0 B 0.0 s left")

    def test_whatTheWireHasToAnswerItselfIsThereToo(self) -> None:
        channel, _ = self.serving.connect("192.0.2.1")
        channel.dataReceived(b"POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        self.assertEqual(self.lines(), ["192.0.2.1 POST /c 400 0 B 0.0 s whole"])

    def test_aPathIsShort(self) -> None:
        _, request = self.ask("/" + "x" * 2000)
        request.respond(404, [], b"")
        self.assertLess(len(self.lines()[0]), LONGEST_PATH + 100)


class DaemonTests(EndToEndCase):
    async def test_everyRequestToTheDaemonIsALine(self) -> None:
        daemon = await self.run_daemon("api-keys: [ck-1]\nproviders: [{name: demo, kind: demo}]\n", "--access-log")
        body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "hi"}]}).encode()
        await self.ask(daemon.port, "/v1/chat/completions?key=ck-1", body)
        await self.ask(daemon.port, "/v1/chat/completions?key=ck-wrong", body)
        await self.ask(daemon.port, "/nothing?auth_token=ck-1")
        log = await daemon.until("/nothing")
        found = re.findall(r" (GET|POST) (\S+) (\d+) \d+ B [\d.]+ s whole", log)
        chat = ("POST", "/v1/chat/completions")
        self.assertEqual(found[-3:], [(*chat, "200"), (*chat, "401"), ("GET", "/nothing", "404")])
        self.assertNotIn("ck-", log)
        self.assertNotIn("key=", log)

    async def test_withoutTheOptionThereIsNone(self) -> None:
        daemon = await self.run_daemon("providers: [{name: demo, kind: demo}]\n")
        await self.ask(daemon.port, "/healthz")
        await daemon.stop()
        self.assertNotIn("/healthz", daemon.log)
