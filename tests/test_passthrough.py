"""The reverse proxy over real sockets: WebSockets with an unmodified client and server, streams, aborts and cuts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from tests.conversation import Conversation
from tests.harness import CLIENT_KEY, Harness
from tests.scripted import Seen

reactor: Any = installed
KEY = ("X-Api-Key", CLIENT_KEY)
ACTOR = "/actors/gateway/threadActor/websocket/?rvt-namespace=default&rvt-key=T-1"
UPGRADE = [
    KEY,
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Protocol", "rivet"),
]
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Own: 1\r\n\r\n"


class WebSocketTests(TestCase):
    """`websockets` on both sides of the daemon, each in a thread of its own."""

    timeout = 30

    def setUp(self) -> None:
        self.harness = Harness(self)
        self.paths: list[str] = []
        self.server = serve(self.echo, "127.0.0.1", 0, subprotocols=["rivet"], max_size=None)  # type: ignore[list-item]  # a NewType of str
        thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        thread.start()
        self.addCleanup(deferToThread, thread.join)
        self.addCleanup(self.server.shutdown)
        number = self.server.socket.getsockname()[1]
        self.harness.start({"upstream-url": f"http://127.0.0.1:{number}"})

    def echo(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.paths.append(connection.request.path)
        for message in connection:
            if message == "goodbye":
                connection.close(4001, "as you wish")
                return
            connection.send(message)

    async def talk(self, conversation: Callable[[Any], Any]) -> Any:
        """Run a conversation in a thread, on a connection through the daemon."""

        def run() -> Any:
            url = f"ws://127.0.0.1:{self.harness.port}{ACTOR}"
            headers = {"X-Api-Key": CLIENT_KEY}
            with connect(url, subprotocols=["rivet"], additional_headers=headers, max_size=None) as client:  # type: ignore[list-item]  # a NewType of str
                return conversation(client)

        result = await deferToThread(run)
        await self.harness.settled(lambda: not self.harness.daemon.server.busy)
        return result

    async def test_messagesOfEveryKindAndSizePass(self) -> None:
        sent: list[Any] = ["hello", b"\x00\xff", "", "x" * 700_000, bytes(range(256)) * 4000]

        def conversation(client: Any) -> Any:
            echoed = []
            for message in sent:
                client.send(message)
                echoed.append(client.recv())
            return echoed, client.subprotocol

        echoed, subprotocol = await self.talk(conversation)
        self.assertEqual(echoed, sent)
        self.assertEqual(subprotocol, "rivet")
        self.assertEqual(self.paths, [ACTOR])

    async def test_pingsAndCloseCodesPass(self) -> None:
        def conversation(client: Any) -> Any:
            assert client.ping().wait(5)
            client.send("goodbye")
            try:
                client.recv()
            except ConnectionClosed:
                return client.close_code, client.close_reason

        self.assertEqual(await self.talk(conversation), (4001, "as you wish"))

    async def test_manyTunnelsAtOnce(self) -> None:
        def conversation(client: Any) -> Any:
            for number in range(20):
                client.send(f"message {number}")
                assert client.recv() == f"message {number}"
            return True

        running = [Deferred.fromCoroutine(self.talk(conversation)) for _ in range(8)]
        self.assertEqual([await each for each in running], [True] * 8)
        await self.harness.settled(lambda: not self.harness.daemon.face._passthrough.tunnels)


class PassthroughCase(TestCase):
    """A daemon in front of one scripted upstream, with clients on real sockets."""

    timeout = 20

    def setUp(self) -> None:
        self.harness = Harness(self)
        self.up = self.harness.server("up")
        self.harness.start({"upstream-url": "http://up", "upstream-api-key": "uk-main-0001"})

    async def seen(self, count: int = 1) -> Seen:
        """Wait for a whole request at the upstream."""
        await self.harness.settled(lambda: len(self.up.requests) >= count)
        return self.up.requests[count - 1]

    async def idle(self) -> None:
        """Wait until the daemon has nothing to do."""
        await self.harness.settled(lambda: not self.harness.daemon.server.busy)


class UpgradeTests(PassthroughCase):
    async def upgraded(self) -> tuple[Conversation, Seen]:
        self.up.script = lambda seen: seen.write(SWITCHED)
        client = await self.harness.connect()
        client.ask("GET", ACTOR, UPGRADE)
        answer = await client.head()
        self.assertEqual(answer.status, 101)
        seen = await self.seen()
        self.up.on_bytes = None
        return client, seen

    async def test_theUpgradeArrivesWithTheClientsOwnFieldsAndOurCredential(self) -> None:
        client, seen = await self.upgraded()
        self.assertEqual((seen.method, seen.target), ("GET", ACTOR))
        self.assertEqual((seen.header("upgrade"), seen.header("connection")), ("websocket", "Upgrade"))
        for name, value in UPGRADE[3:]:
            self.assertEqual(seen.all(name.lower()), [value])
        self.assertEqual(seen.header("x-api-key"), "uk-main-0001")
        answer = client.so_far
        assert answer is not None
        self.assertEqual((answer.header("upgrade"), answer.header("x-own")), ("websocket", "1"))
        client.leave()

    async def test_bytesBehindThe101AreNotLost(self) -> None:
        self.up.script = lambda seen: seen.write(SWITCHED + b"\x81\x05first")
        client = await self.harness.connect()
        client.ask("GET", ACTOR, UPGRADE)
        await client.until(lambda: True if client.received.endswith(b"\x81\x05first") else None)
        client.leave()

    async def test_aClientThatLeavesEndsTheTunnelAtTheUpstream(self) -> None:
        client, seen = await self.upgraded()
        client.leave()
        await seen.gone.addTimeout(2, reactor)
        await self.idle()

    async def test_anUpstreamThatLeavesEndsTheTunnelAtTheClient(self) -> None:
        client, seen = await self.upgraded()
        seen.cut()
        await client.end()
        await self.idle()

    async def test_aRefusedUpgradeIsTheUpstreamsAnswer(self) -> None:
        client = await self.harness.connect()
        for status in (401, 404, 503):
            self.up.script = lambda seen, status=status: seen.reply(status, b'{"error":"theirs"}')  # type: ignore[misc]  # a default binds it
            client.ask("GET", ACTOR, UPGRADE)
            answer = await client.answer()
            self.assertEqual((answer.status, answer.json()), (status, {"error": "theirs"}))
            client.next_answer()
        client.leave()

    async def test_anUpgradeWithABodyUnderWayIsNotOffered(self) -> None:
        client = await self.harness.connect()
        client.ask("POST", ACTOR, [*UPGRADE, ("Content-Length", "4")], b"ab")
        await deferLater(reactor, 0.05, lambda: None)
        client.send(b"cd")
        self.assertEqual((await client.answer()).status, 200)
        self.assertEqual((self.up.requests[0].header("upgrade"), self.up.requests[0].body), (None, b"abcd"))
        client.leave()

    async def test_beyondTheLimitUpgradesAreNotOffered(self) -> None:
        self.harness.save({"limits": {"tunnels": 1}})
        self.harness.look()
        first, _ = await self.upgraded()
        self.up.script = lambda seen: seen.reply(426, b"{}")
        second = await self.harness.connect()
        second.ask("GET", ACTOR, UPGRADE)
        self.assertEqual((await second.answer()).status, 426)
        self.assertIsNone(self.up.requests[1].header("upgrade"))
        first.leave()
        second.leave()

    async def test_anUpgradeNeedsAKey(self) -> None:
        answer = await self.harness.ask("GET", ACTOR, UPGRADE[1:])
        self.assertEqual((answer.status, self.up.requests), (401, []))


class AnswerTests(PassthroughCase):
    async def test_redirectsAreReturnedAndCookiesComeLineByLine(self) -> None:
        cookies = [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2, still b"), ("Location", "/elsewhere")]
        self.up.script = lambda seen: seen.reply(302, b"", headers=cookies)
        answer = await self.harness.ask("GET", "/auth/sign-in")
        self.assertEqual((answer.status, answer.header("Location")), (302, "/elsewhere"))
        self.assertEqual(answer.all("Set-Cookie"), ["a=1; Path=/", "b=2, still b"])
        self.assertEqual(len(self.up.requests), 1)

    async def test_noCookieIsKeptForTheNextRequest(self) -> None:
        self.up.script = lambda seen: seen.reply(200, b"{}", headers=[("Set-Cookie", "session=1")])
        for _ in range(2):
            await self.harness.ask("GET", "/api/user")
        self.assertEqual([seen.header("cookie") for seen in self.up.requests], [None, None])

    async def test_everyMethodAndOddTargetPassesAsItIs(self) -> None:
        asked = [
            ("PROPFIND", "/api/user/%2Fa%20b?x=%41&&y"),
            ("PATCH", "/api/threads/a//b?"),
            ("DELETE", "/api/tab?q='\"|{}"),
        ]
        for method, target in asked:
            self.assertEqual((await self.harness.ask(method, target)).status, 200, target)
        self.assertEqual([(seen.method, seen.target) for seen in self.up.requests], asked)

    async def test_interimAnswersPass(self) -> None:
        def hint(seen: Seen) -> None:
            seen.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            seen.reply(200, b"{}")

        self.up.script = hint
        answer = await self.harness.ask("GET", "/api/user")
        self.assertEqual((answer.status, answer.interim), (200, [103]))

    async def test_aConnectionServesOneRequestAfterTheOther(self) -> None:
        client = await self.harness.connect()
        for number in range(3):
            client.ask("POST", f"/api/user/{number}", [KEY], b"x" * number)
            self.assertTrue((await client.answer()).complete)
            client.next_answer()
        client.leave()
        self.assertEqual([seen.body for seen in self.up.requests], [b"", b"x", b"xx"])
        self.assertEqual(len({id(seen.connection) for seen in self.up.requests}), 1)

    async def test_eventsPassOneByOne(self) -> None:
        self.up.script = lambda seen: seen.begin_stream()
        client = await self.harness.connect()
        client.ask("GET", "/api/threads/x", [KEY])
        seen = await self.seen()
        self.assertEqual((await client.head()).header("content-type"), "text/event-stream")
        for number in range(5):
            seen.chunk(b"data: %d\n\n" % number)
            await client.content(b"data: %d\n\n" % number)
        seen.end_stream()
        self.assertTrue((await client.answer()).complete)
        client.leave()


class EndTests(PassthroughCase):
    async def test_aClientThatLeavesAbortsTheUpstream(self) -> None:
        self.up.script = lambda seen: seen.begin_stream()
        client = await self.harness.connect()
        client.ask("GET", "/api/threads/x", [KEY])
        seen = await self.seen()
        await client.head()
        client.leave()
        await seen.gone.addTimeout(2, reactor)
        await self.idle()
        self.assertEqual(self.harness.problems(), [])

    async def test_aClientThatLeavesInItsUploadAbortsTheUpstream(self) -> None:
        heads: list[Seen] = []
        self.up.at_head = heads.append
        client = await self.harness.connect()
        client.ask("POST", "/api/attachments", [KEY, ("Content-Length", "1000")], b"the beginning")
        await self.harness.settled(lambda: bool(heads))
        client.leave()
        await heads[0].gone.addTimeout(2, reactor)
        await self.idle()
        self.assertEqual((self.up.requests, self.harness.problems()), ([], []))

    async def test_anAnswerThatIsCutNeverLooksComplete(self) -> None:
        for head in (b"Content-Length: 100\r\n\r\npart of it", b"Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"):
            for end in (Seen.close, Seen.cut):

                def cut(seen: Seen, head: bytes = head, end: Callable[[Seen], None] = end) -> None:
                    seen.write(b"HTTP/1.1 200 OK\r\n" + head)
                    reactor.callLater(0.02, end, seen)

                self.up.script = cut
                client = await self.harness.connect()
                client.ask("GET", "/api/user", [KEY])
                answer = await client.answer()
                self.assertEqual((answer.status, answer.body[:4], answer.complete), (200, b"part", False))
        await self.idle()
        self.assertEqual(len(self.harness.problems()), 4)

    async def test_anAnswerUntilTheEndOfTheConnectionEndsWell(self) -> None:
        def until_close(seen: Seen) -> None:
            seen.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")
            seen.close()

        self.up.script = until_close
        answer = await self.harness.ask("GET", "/api/user")
        self.assertEqual((answer.body, answer.complete), (b"all of it", True))


class UploadTests(PassthroughCase):
    async def test_uploadsStreamWithoutBeingHeld(self) -> None:
        heads: list[Seen] = []
        self.up.at_head = heads.append
        client = await self.harness.connect()
        client.ask("POST", "/api/attachments", [KEY, ("Transfer-Encoding", "chunked")])
        client.send(b"5\r\nfirst\r\n")
        await self.harness.settled(lambda: bool(heads))
        await self.harness.settled(lambda: heads[0].body == b"first")
        client.send(b"4\r\nlast\r\n0\r\n\r\n")
        self.assertEqual((await client.answer()).status, 200)
        self.assertEqual((await self.seen()).body, b"firstlast")
        client.leave()

    async def test_theDaemonSaysContinueWhenTheBodyIsWanted(self) -> None:
        client = await self.harness.connect()
        client.ask("POST", "/api/attachments", [KEY, ("Content-Length", "4"), ("Expect", "100-continue")])
        await client.until(lambda: True if b"100 Continue" in client.received else None)
        client.send(b"body")
        answer = await client.answer()
        self.assertEqual((answer.status, answer.interim), (200, [100]))
        self.assertEqual((self.up.requests[0].body, self.up.requests[0].header("expect")), (b"body", None))
        client.leave()

    async def test_aRefusalCostsNoUpload(self) -> None:
        client = await self.harness.connect()
        client.ask("POST", "/api/attachments", [("Content-Length", "4"), ("Expect", "100-continue")])
        answer = await client.answer()
        self.assertEqual((answer.status, answer.interim), (401, []))
        client.leave()

    async def test_anAnswerBeforeTheEndOfTheUploadArrives(self) -> None:
        self.up.at_head = lambda seen: seen.reply(413, b'{"error":"too much"}')
        client = await self.harness.connect()
        client.ask("POST", "/api/attachments", [KEY, ("Content-Length", "1000")], b"part")
        answer = await client.answer()
        self.assertEqual((answer.status, answer.json()), (413, {"error": "too much"}))
        client.leave()
