"""Signs of life while a provider thinks, in every format, native and translated (DESIGN D-52)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from llmux.web.vigil import PINGS, Vigil, Watch
from tests.conversation import Conversation
from tests.harness import CLIENT_KEY, Harness
from tests.native_answers import anthropic_events, chat_events, gemini_events, responses_events
from tests.scripted import Seen

reactor: Any = installed
MODEL = "m-1"
COMMENT = b": keep-alive\n\n"
EVENTS = {
    "anthropic": anthropic_events,
    "openai": chat_events,
    "openai-responses": responses_events,
    "gemini": gemini_events,
}
ROUTES = {
    "anthropic": "/v1/messages",
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "gemini": f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse",
}
NATIVE = {"anthropic": "anthropic", "chat": "openai", "responses": "openai-responses", "gemini": "gemini"}
LAST_WORDS = {"anthropic": b"message_stop", "chat": b"[DONE]", "responses": b"completed", "gemini": b'"STOP"'}
SIGNS = {
    "anthropic": (PINGS["anthropic"],),
    "chat": (COMMENT, b": ping\n\n"),
    "responses": (COMMENT, b": ping\n\n"),
    "gemini": (b"\r\n", b"\n"),
}


class Answering:
    """As much of a request as a vigil touches."""

    def __init__(self) -> None:
        self.status, self.ended, self.gone = 200, False, False
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Keep what is written."""
        if data:
            self.written.append(data)


class Places(SynchronousTestCase):
    """Where in a stream a sign may be put."""

    def after(self, protocol: str, *pieces: bytes, **options: Any) -> bytes:
        """The sign that may follow some pieces."""
        request: Any = Answering()
        vigil = Vigil(protocol, request, **options)
        for piece in pieces:
            vigil.see(piece)
        return vigil.sign_of_life()

    def test_beforeTheFirstEventAComment(self) -> None:
        for protocol in ("anthropic", "chat", "completions", "responses"):
            self.assertEqual(self.after(protocol), COMMENT)
        self.assertEqual(self.after("gemini"), b"\r\n")

    def test_betweenEventsWhatTheFormatTolerates(self) -> None:
        for protocol, ping in PINGS.items():
            for end in (b"\n\n", b"\r\n\r\n", b"\r\r"):
                self.assertEqual(self.after(protocol, b"data: {}" + end), ping, (protocol, end))

    def test_alsoWhenTheBoundaryIsCut(self) -> None:
        for pieces in ((b"data: {}\n", b"\n"), (b"data: {}\r\n\r", b"\n"), (b"data: {}\r\n", b"\r\n"), (b"x\r", b"\r")):
            self.assertEqual(self.after("chat", *pieces), COMMENT, pieces)

    def test_neverInsideAnEvent(self) -> None:
        for piece in (b"data: {", b"data: {}", b"data: {}\n", b"data: {}\r\n", b"\n\ndata: x", b"\r\n\r"):
            for protocol in PINGS:
                self.assertEqual(self.after(protocol, b"data: 1\n\n", piece), b"", (protocol, piece))

    def test_neverWhereNothingCanBePut(self) -> None:
        self.assertEqual(self.after("chat", b"data: {}\n\n", untouchable=True), b"")
        self.assertEqual(self.after("chat", untouchable=True), b"")

    def test_aTranslatedStreamSaysWhatIsAllowed(self) -> None:
        self.assertEqual(self.after("chat", b"data: half", ping=lambda: b": ping\n\n"), b": ping\n\n")


class Times(SynchronousTestCase):
    """When one is sent."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.seconds = 15.0
        self.watch = Watch(self.clock, lambda: self.seconds)
        self.request = Answering()
        answering: Any = self.request
        self.vigil = Vigil("chat", answering)
        self.watch.begin(self.vigil)

    def pass_by(self, seconds: int) -> int:
        """Let time pass; gives how many signs were sent meanwhile."""
        before = len(self.request.written)
        self.clock.pump([1.0] * seconds)
        return len(self.request.written) - before

    def test_everySoManySecondsOfSilence(self) -> None:
        self.assertEqual([self.pass_by(15), self.pass_by(1), self.pass_by(14), self.pass_by(30)], [0, 1, 0, 2])

    def test_whateverComesRestartsTheWait(self) -> None:
        self.pass_by(14)
        self.vigil.see(b"data: {}\n\n")
        self.assertEqual([self.pass_by(15), self.pass_by(1)], [0, 1])

    def test_aReloadChangesTheIntervalOfStreamsUnderWay(self) -> None:
        self.pass_by(10)
        self.seconds = 5
        self.assertEqual(self.pass_by(1), 1)

    def test_zeroSwitchesThemOff(self) -> None:
        self.seconds = 0
        self.assertEqual(self.pass_by(100), 0)

    def test_noneBeforeTheHeadNorAfterTheEnd(self) -> None:
        self.request.status = 0
        self.assertEqual(self.pass_by(40), 0)
        self.request.status, self.request.ended = 200, True
        self.assertEqual(self.pass_by(40), 0)
        self.request.ended, self.request.gone = False, True
        self.assertEqual(self.pass_by(40), 0)

    def test_nobodyLooksWhenThereIsNoStream(self) -> None:
        self.watch.end(self.vigil)
        self.watch.end(self.vigil)
        self.assertEqual((self.pass_by(40), self.clock.getDelayedCalls(), self.watch.open), (0, [], 0))


class Thinking(TestCase):
    """Through the assembled daemon: a provider that thinks in the middle of its stream."""

    timeout = 30

    def setUp(self) -> None:
        self.harness = Harness(self)
        self.waiting: list[Seen] = []
        self.harness.server("provider", self.waiting.append)

    def look(self, times: int = 3) -> None:
        """Let seconds pass for the streams under way."""
        for _ in range(times):
            self.harness.daemon.face.models.watch._look()

    async def asked(self, protocol: str, kind: str) -> tuple[Conversation, Seen, Iterator[bytes]]:
        """A client that asked for a stream, and the provider's side of it, whose head is out."""
        entry = {"name": "p", "kind": kind, "base-url": "http://provider", "api-keys": ["pk-1"], "models": [MODEL]}
        if self.harness.service is None:
            self.harness.start({"providers": [entry], "streaming": {"keepalive": 1}})
        turn = {"role": "user", "content": "hi"}
        body: dict[str, Any] = {"model": MODEL, "stream": True, "max_tokens": 9, "messages": [turn]}
        if protocol == "responses":
            body = {"model": MODEL, "stream": True, "input": "hi"}
        elif protocol == "gemini":
            body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
        client = self.harness.client()
        client.ask("POST", ROUTES[protocol], [("x-api-key", CLIENT_KEY)], json.dumps(body).encode())
        await self.harness.settled(lambda: bool(self.waiting))
        seen = self.waiting.pop()
        seen.begin_stream()
        return client, seen, iter([*EVENTS[kind](MODEL)])

    async def thinks(self, protocol: str, kind: str) -> None:
        """The provider sends an event, thinks, sends half an event, thinks, and ends."""
        client, seen, events = await self.asked(protocol, kind)
        watch = self.harness.daemon.face.models.watch
        await self.harness.settled(lambda: watch.open == 1)
        native = NATIVE[protocol] == kind
        if native:
            await client.head()
            self.look()
            await client.content(b"\r\n" if protocol == "gemini" else COMMENT)
        else:
            self.look()
            self.assertIsNone(client.so_far)
        (vigil,) = watch._streams
        begun = False
        while not begun:
            # The head of a translated stream leaves with the first event that says something.
            vigil.stirred = False
            seen.chunk(next(events))
            await self.harness.settled(lambda: vigil.stirred)
            await deferLater(reactor, 0.01, lambda: None)
            begun = client.so_far is not None and bool(client.so_far.body)
        await self.sign(client, SIGNS[protocol])
        rest = b"".join(events)
        if native:
            seen.chunk(rest[:9])
            await client.content(rest[:9])
            self.look()
            seen.chunk(rest[9:])
        else:
            seen.chunk(rest)
        seen.end_stream()
        answer = await client.answer()
        self.assertTrue(answer.complete)
        self.assertEqual(len(answer.body.split(LAST_WORDS[protocol])) >= 2, True, (protocol, kind))
        if native:
            self.assertIn(rest, answer.body)
        self.look()
        self.assertEqual((watch.open, watch.cut), (0, 0))
        client.leave()

    async def sign(self, client: Conversation, allowed: tuple[bytes, ...]) -> None:
        """Let time pass, and see one of the signs that are allowed at the end of the body."""
        before = client.so_far
        assert before is not None
        self.look()

        def grown() -> bytes | None:
            now = client.so_far
            return now.body[len(before.body) :] or None if now is not None else None

        self.assertIn(await client.until(grown), allowed)

    async def test_everyNativeStreamIsKeptAlive(self) -> None:
        for protocol, kind in NATIVE.items():
            await self.thinks(protocol, kind)
            await self.restarted()

    async def test_everyTranslatedStreamIsKeptAlive(self) -> None:
        for protocol, kind in (
            ("anthropic", "openai"),
            ("chat", "anthropic"),
            ("responses", "gemini"),
            ("gemini", "openai-responses"),
        ):
            await self.thinks(protocol, kind)
            await self.restarted()

    async def restarted(self) -> None:
        """Away with the daemon, for another configuration."""
        service, self.harness.service = self.harness.service, None
        assert service is not None
        await service.stopService()

    async def test_nothingFollowsAProviderThatDied(self) -> None:
        for protocol, kind in (("anthropic", "anthropic"), ("chat", "anthropic")):
            client, seen, events = await self.asked(protocol, kind)
            for _ in range(6):
                seen.chunk(next(events))
            await client.content(b"llo from")
            await self.harness.settled(lambda: self.harness.daemon.face.models.watch.open == 1)
            seen.close()
            await client.end()
            got = client.received
            self.assertEqual(self.harness.daemon.face.models.watch.open, 0)
            self.look(5)
            self.assertEqual((client.received, client.so_far and client.so_far.complete), (got, False))
            await self.restarted()

    async def test_nothingIsPutIntoAnAnswerWithALength(self) -> None:
        client, seen, _ = await self.asked("chat", "openai")
        client.leave()
        client = self.harness.client()
        body = json.dumps({"model": MODEL, "stream": True, "messages": []}).encode()
        client.ask("POST", ROUTES["chat"], [("x-api-key", CLIENT_KEY)], body)
        await self.harness.settled(lambda: bool(self.waiting))
        whole = b"".join(chat_events(MODEL))
        seen = self.waiting.pop()
        seen.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(whole))
        cut = whole.index(b"\n\n") + 2
        seen.write(whole[:cut])
        await client.content(whole[:cut])
        self.look(5)
        seen.write(whole[cut:])
        answer = await client.answer()
        self.assertEqual((answer.complete, answer.body), (True, whole))
