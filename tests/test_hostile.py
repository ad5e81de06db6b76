"""Hostile clients and upstreams against the real daemon over raw sockets: it never lies, leaks, hangs or grows.

What trusted proxies promise and how they are attacked is in docs/hostile.md. Nothing here depends on timing but the
tests of clocks, which allow for several times what they expect.
"""

from __future__ import annotations

import atexit
import json
import re
import socket
import time

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.threads import deferToThread

from tests.end_to_end import EndToEndCase, RawClient, eventually, request_bytes
from tests.native_answers import anthropic_events, chat_events
from tests.running import STOP_SECONDS, Daemon, free_port, pause
from tests.scripted import ScriptedServer, Seen

KEY = "ck-hostile-0001"
UPSTREAM_KEY = "uk-hostile-0002"
PROVIDER_KEY = "pk-hostile-0003"
AUTHORIZED = f"Authorization: Bearer {KEY}"
PATH = "/api/threads/T-1"
SMUGGLED = b"GET /api/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


def raw(*lines: bytes, body: bytes = b"", method: bytes = b"POST", target: bytes = PATH.encode()) -> bytes:
    """A request with these header lines, as they are, behind a good beginning."""
    start = [method + b" " + target + b" HTTP/1.1", b"Host: localhost", AUTHORIZED.encode()]
    return b"\r\n".join([*start, *lines, b"", body])


def get(target: str = PATH, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    """A good request without a body."""
    return request_bytes(target, b"", (AUTHORIZED, *headers), method, version)


def hosted(host: bytes, request: bytes) -> bytes:
    """The request with another Host."""
    changed, count = re.subn(rb"\r\nHost: [^\r]*", b"\r\nHost: " + host, request)
    assert count == 1
    return changed


def asking(path: str, model: str, *headers: str, stream: bool = True) -> bytes:
    """A good request to a model route."""
    message = {"role": "user", "content": "hello"}
    body = json.dumps({"model": model, "max_tokens": 9, "stream": stream, "messages": [message]}).encode()
    return request_bytes(path, body, (AUTHORIZED, *headers))


def first_bytes(port: int) -> bytes:
    """What a new connection says on its own before it ends; for connections that are not to be had."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        try:
            return connection.recv(100)
        except ConnectionResetError:
            return b""


_running: dict[str, tuple[Daemon, int]] = {}


def _stop_all() -> None:
    for daemon, _ in _running.values():
        daemon.process.kill()
        daemon.process.wait(STOP_SECONDS)


atexit.register(_stop_all)


async def running(more: str) -> tuple[Daemon, int]:
    """A daemon with these lines in its configuration, started once, and the port where it looks for its peers."""
    if more not in _running:
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        keys = f"api-keys: [{PROVIDER_KEY}]"
        daemon = Daemon(
            f"api-keys: [{KEY}]\nproviders:\n"
            f"  - {{name: chat, kind: openai, base-url: '{url}', {keys}, models: [own]}}\n"
            f"  - {{name: messages, kind: anthropic, base-url: '{url}', {keys}, models: [far, near]}}\n"
            f"ampcode:\n  upstream-url: {url}\n  upstream-api-key: {UPSTREAM_KEY}\n  credits: deny\n"
            f"  restrict-management-to-localhost: false\ncooldown: {{max: 0}}\n{more}"
        )
        _running[more] = (await daemon.started(), port)
    return _running[more]


class HostileCase(EndToEndCase):
    """A daemon between raw clients and a scripted upstream, which is also its providers.

    Tests with the same configuration share the daemon: what one client or upstream does must not harm the next.
    """

    async def begin(self, more: str = "") -> None:
        self.daemon, port = await running(more)
        self.server = ScriptedServer(lambda seen: seen.reply(200, b"{}"), port=port)
        self.addCleanup(self.server.stop)
        self._logged = len(self.daemon.log)
        self.addCleanup(self.assertNoTraceback)

    @property
    def log(self) -> str:
        """What the daemon has logged in this test."""
        return self.daemon.log[self._logged :]

    def assertNoTraceback(self) -> None:
        self.assertNotIn("Traceback", self.log)

    async def send(self, data: bytes) -> RawClient:
        return await self.connect(self.daemon.port, data)

    async def ended(self, data: bytes, seconds: float = 10.0) -> RawClient:
        """Send, and wait until the daemon has ended the connection."""
        return await self.over(await self.send(data), f"the end after {data[:300]!r}", seconds)

    async def over(self, client: RawClient, what: str, seconds: float = 10.0) -> RawClient:
        """Wait until a client's connection has ended."""
        await eventually(lambda: client.ended is not None, seconds, what)
        return client

    def assertRefused(self, client: RawClient, statuses: tuple[int, ...], what: object) -> None:
        head, _, body = client.data.partition(b"\r\n\r\n")
        self.assertIn(int(head[9:12] or b"0"), statuses, f"{what!r}: {client.data[:300]!r}")
        self.assertIn(b"content-type: application/json", head.lower(), what)
        self.assertIn("error", json.loads(body), what)


class Requests(HostileCase):
    """What a client may send."""

    async def test_framingThatTwoParsersCouldReadInTwoWaysIsRefusedAndGoesNowhere(self) -> None:
        await self.begin()
        chunked = b"Transfer-Encoding: chunked"
        for data, *statuses in (
            (raw(b"Content-Length: 4", chunked, body=b"0\r\n\r\n" + SMUGGLED), 400),
            (raw(chunked, b"Content-Length: 44", body=b"0\r\n\r\n" + SMUGGLED), 400),
            (raw(b"Content-Length: 0", b"Content-Length: 40", body=SMUGGLED), 400),
            (raw(b"Content-Length: 0", b"Content-Length: 0", body=SMUGGLED), 400),
            (raw(b"Content-Length: 0, 40", body=SMUGGLED), 400),
            (raw(b"Content-Length: +40", body=SMUGGLED), 400),
            (raw(b"Content-Length: 0x28", body=SMUGGLED), 400),
            (raw(b"Content-Length: 4_0", body=SMUGGLED), 400),
            (raw(b"Content-Length:", body=SMUGGLED), 400),
            (raw(b"Content-Length: " + b"9" * 5000), 400),
            (raw(b"Content-Length : 40", body=SMUGGLED), 400),
            (raw(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n" + SMUGGLED), 400),
            (raw(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n" + SMUGGLED), 400, 501),
            (raw(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED), 501),
            (raw(b"Transfer-Encoding: identity, chunked", body=b"0\r\n\r\n" + SMUGGLED), 501),
            (raw(chunked, chunked, body=b"0\r\n\r\n" + SMUGGLED), 400),
            (raw(chunked, body=b"0\r\n\r\n").replace(b"HTTP/1.1", b"HTTP/1.0") + SMUGGLED, 400),
            (raw(b"X: a", b" Content-Length: 40", body=SMUGGLED), 400),
            (raw(b"X: a\nContent-Length: 40", body=SMUGGLED), 400),
            (raw(b"X: a\rContent-Length: 40", body=SMUGGLED), 400),
            (raw(b"X: a\0b"), 400),
            (raw(b"X\x01: a"), 400),
            (raw(b": a"), 400),
            (raw(b"no colon"), 400),
            (get().replace(b"\r\n", b"\n"), 400),
            (raw(b"Host: evil.test"), 400),
            (b"GET " + PATH.encode() + b" HTTP/1.1\r\n" + AUTHORIZED.encode() + b"\r\n\r\n", 400),
            (hosted(b"a b", get()), 400),
            (get().replace(b"GET ", b"GET  "), 400),
            (get().replace(b"GET ", b"GET http://evil.test"), 400),
            (get("evil.test:80", method="CONNECT"), 400, 501),
            (get("*", method="OPTIONS"), 400),
            (get(PATH + "#fragment"), 400),
            (get(PATH + "\\x"), 400),
            (get(PATH + "\x7f"), 400),
            (get(PATH + "\xe9"), 400),
            (get(version="2.0"), 400, 505),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, 505),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 60, 400),
        ):
            self.assertRefused(await self.ended(data + SMUGGLED), tuple(statuses), data)
        self.assertEqual(self.server.requests, [])

    async def test_chunksThatAreNoneAreRefusedAndTheirRequestIsNeverWhole(self) -> None:
        await self.begin()
        for body in (
            b"5\nhello\r\n0\r\n\r\n",
            b"5 \r\nhello\r\n0\r\n\r\n",
            b"0x5\r\nhello\r\n0\r\n\r\n",
            b"+5\r\nhello\r\n0\r\n\r\n",
            b"-5\r\nhello\r\n0\r\n\r\n",
            b"000000005\r\nhello\r\n0\r\n\r\n",
            b"5;a\x01b\r\nhello\r\n0\r\n\r\n",
            b"5;a\nb\r\nhello\r\n0\r\n\r\n",
            b"5;" + b"a" * 5000 + b"\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhelloXX0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"\r\nhello\r\n0\r\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\n" + b"X: " + b"y" * 20000 + b"\r\n\r\n",
        ):
            for target in (PATH, MESSAGES):
                client = await self.ended(
                    raw(b"Transfer-Encoding: chunked", body=body, target=target.encode()) + SMUGGLED
                )
                self.assertRefused(client, (400,), body[:60])
        self.assertEqual(self.server.requests, [])

    async def test_pipelinedAnswersKeepTheirOrderWhateverTheUpstreamDoes(self) -> None:
        await self.begin()
        self.server.script = lambda seen: seen.reply(200, seen.target.encode())
        targets = [f"{PATH}/{number}" for number in range(6)]
        local = get("/v1/models")
        client = await self.send(local.join([get(target) for target in targets]) + get(PATH, "Connection: close"))
        await eventually(lambda: client.ended is not None, what="the last answer")
        found = [client.data.find(b"\r\n\r\n" + target.encode()) for target in targets]
        self.assertEqual(found, sorted(found))
        self.assertNotIn(-1, found)
        self.assertEqual(client.data.count(b"HTTP/1.1 200 "), 12)
        self.assertEqual([seen.target for seen in self.server.requests], [*targets, PATH])

    async def test_anEarlyRefusalReadsNothingOfTheBodyAsARequest(self) -> None:
        await self.begin("limits: {body: 10KiB}\n")
        length = b"Content-Length: %d" % (3 * len(SMUGGLED))
        for data, status in (
            (raw(length, body=SMUGGLED).replace(KEY.encode(), b"wrong"), 401),
            (raw(b"Transfer-Encoding: chunked", body=b"99\r\n" + SMUGGLED).replace(KEY.encode(), b"wrong"), 401),
            (raw(b"Content-Length: 10241", body=SMUGGLED, target=CHAT.encode()), 413),
            (raw(length, b"Expect: 100-continue", body=SMUGGLED).replace(KEY.encode(), b"wrong"), 401),
            (raw(length, b"Expect: 200-ok", body=SMUGGLED), 417),
        ):
            client = await self.ended(data + SMUGGLED)
            self.assertRefused(client, (status,), data)
            self.assertEqual(client.data.count(b"HTTP/1.1 "), 1, client.data)
            self.assertIn(b"\r\nConnection: close\r\n", client.data)
        self.assertEqual(self.server.requests, [])

    async def test_continueIsSaidOnlyWhenTheBodyIsWanted(self) -> None:
        await self.begin()
        refused = await self.ended(raw(b"Content-Length: 2", b"Expect: 100-continue").replace(KEY.encode(), b"wrong"))
        self.assertRefused(refused, (401,), "no key")
        for target in (PATH, CHAT):
            body = b'{"model":"own"}'
            expecting = raw(b"Content-Length: %d" % len(body), b"Expect: 100-continue", target=target.encode())
            client = await self.send(expecting)
            self.assertEqual(await client.until(b"\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n")
            client.wire.write(body)
            await client.until(b"HTTP/1.1 200 ")
            self.assertEqual((self.server.requests[-1].body, self.server.requests[-1].header("expect")), (body, None))

    async def test_aSlowHeadIsGivenUpAtItsDeadlineHoweverItDrips(self) -> None:
        await self.begin("timeouts: {header: 1, keep-alive: 1}\n")
        idle = await self.send(b"")
        dripping = await self.send(b"GET /")
        began = time.monotonic()
        while dripping.ended is None and time.monotonic() - began < 10:
            dripping.wire.write(b"a")
            await pause(0.1)
        self.assertLess(time.monotonic() - began, 5)
        self.assertRefused(dripping, (408,), "a dripping head")
        await eventually(lambda: idle.ended is not None, 5, "the end of an idle connection")
        self.assertEqual(idle.data, b"")

    async def test_halfClosingClientsGetTheirAnswerAndOthersHaveLeft(self) -> None:
        await self.begin()
        waiting: list[Seen] = []
        self.server.script = waiting.append
        for data in (get(version="1.0"), get(PATH, "Connection: close")):
            client = await self.send(data)
            client.wire.loseWriteConnection()
            await eventually(lambda: waiting, what="the request")
            await pause(0.1)
            waiting.pop().reply(200, b"for a half-closed client")
            await self.over(client, "the end")
            self.assertTrue(client.data.endswith(b"\r\n\r\nfor a half-closed client"), client.data)
        for leave in ("loseConnection", "abortConnection"):
            client = await self.send(get())
            await eventually(lambda: waiting, what="the request")
            getattr(client.wire, leave)()
            left = time.monotonic()
            await eventually(lambda: waiting[0].gone.called, what="the end of the upstream's connection")
            self.assertLess(time.monotonic() - left, 1.0)
            waiting.clear()


class Limits(HostileCase):
    """Each limit, kept exactly and then exceeded by one."""

    async def test_headsOneOverTheirLimitsAreRefused(self) -> None:
        await self.begin("limits: {header-bytes: 2KiB, header-fields: 20, target: 1KiB}\n")
        for over in (0, 1):
            bare = get(PATH, "Connection: close", "X: ")
            size = get(PATH, "Connection: close", "X: " + "x" * (2048 - len(bare) + over))
            fields = get(PATH, "Connection: close", *["X: x"] * (20 - 3 + over))
            target = get(PATH + "?" + "x" * (1024 - len(PATH) - 1 + over), "Connection: close")
            for data, status in ((size, 431), (fields, 431), (target, 414)):
                client = await self.ended(data)
                if over:
                    self.assertRefused(client, (status,), status)
                else:
                    self.assertTrue(client.data.startswith(b"HTTP/1.1 200 "), client.data[:300])
        self.assertEqual(len(self.server.requests), 3)
        endless = await self.ended(b"GET " + PATH.encode() + b" HTTP/1.1\r\n" + b"X: x\r\n" * 1000)
        self.assertRefused(endless, (431,), "a head without an end")

    async def test_bodiesOneOverTheLimitAreRefusedWithAndWithoutALength(self) -> None:
        await self.begin("limits: {body: 10KiB}\n")
        for over in (0, 1):
            text = json.dumps({"model": "own", "x": ""}).encode()
            body = text.replace(b'""', b'"' + b"x" * (10240 - len(text) + over) + b'"')
            chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            for data in (
                raw(b"Content-Length: %d" % len(body), b"Connection: close", body=body, target=CHAT.encode()),
                raw(b"Transfer-Encoding: chunked", b"Connection: close", body=chunks, target=CHAT.encode()),
            ):
                client = await self.ended(data)
                if over:
                    self.assertRefused(client, (413,), data[:200])
                else:
                    self.assertTrue(client.data.startswith(b"HTTP/1.1 200 "), client.data[:300])
        self.assertEqual(len(self.server.requests), 2)

    async def test_bodiesOfAllRequestsTogetherWaitInsteadOfGrowing(self) -> None:
        await self.begin("limits: {body: 1MiB, buffered: 1MiB}\n")
        waiting: list[Seen] = []
        self.server.script = waiting.append
        text = json.dumps({"model": "own", "x": "x" * 700_000}).encode()
        data = raw(b"Content-Length: %d" % len(text), body=text, target=CHAT.encode())
        first, second = await self.send(data), await self.send(data)
        await eventually(lambda: waiting, what="the first request")
        await pause(0.3)
        self.assertEqual(len(waiting), 1)
        waiting.pop().reply(200, b"{}")
        await eventually(lambda: waiting, what="the second request, once there is room")
        waiting.pop().reply(200, b"{}")
        for client in (first, second):
            await client.until(b"HTTP/1.1 200 ")
        self.assertEqual([len(seen.body) for seen in self.server.requests], [len(text)] * 2)

    async def test_connectionsOneOverTheLimitsAreClosedAndRoomComesBack(self) -> None:
        for limits in ("connections: 3", "connections-per-address: 3"):
            await self.begin(f"limits: {{{limits}}}\n")
            held = [await self.send(get()) for _ in range(3)]
            for client in held:
                await client.until(b"HTTP/1.1 200 ")
            self.assertEqual(await deferToThread(first_bytes, self.daemon.port), b"")
            held[0].wire.loseConnection()
            await self.over(held[0], "the end of one connection")
            await pause(0.05)
            await (await self.send(get())).until(b"HTTP/1.1 200 ")

    async def test_tunnelsOneOverTheLimitGoOnAsPlainRequests(self) -> None:
        await self.begin("limits: {tunnels: 1}\n")

        def script(seen: Seen) -> None:
            if seen.header("upgrade"):
                seen.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nhello")
            else:
                seen.reply(200, b"plain")

        self.server.script = script
        upgrade = get(PATH, "Connection: Upgrade", "Upgrade: x")
        first = await self.send(upgrade)
        await first.until(b"hello")
        second = await self.send(upgrade)
        await second.until(b"plain")
        first.wire.loseConnection()
        await eventually(
            lambda: not self.server.connections or len(self.server.connections) == 1, what="the tunnel's end"
        )
        await (await self.send(upgrade)).until(b"hello")


class Answers(HostileCase):
    """What an upstream or a provider may answer."""

    async def test_answersThatTwoParsersCouldReadInTwoWaysAre502(self) -> None:
        await self.begin()
        ok = b"HTTP/1.1 200 OK\r\n"
        for answer in (
            b"SSH-2.0-OpenSSH\r\n\r\n",
            b"HTTP/1.1 +200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 600 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 20000 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok",
            ok + b"X: a\0b\r\nContent-Length: 2\r\n\r\nok",
            ok + b"X: a\rb\r\nContent-Length: 2\r\n\r\nok",
            ok + b"X: a\nContent-Length: 2\r\n\r\nok",
            ok + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
            ok + b"X : a\r\nContent-Length: 2\r\n\r\nok",
            ok + b"no colon\r\nContent-Length: 2\r\n\r\nok",
            ok + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ok + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
            ok + b"Content-Length: +2\r\n\r\nok",
            ok + b"Content-Length: -1\r\n\r\nok",
            ok + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ok + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n" * 21 + ok + b"Content-Length: 2\r\n\r\nok",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
            ok + b"X: x\r\n" * 301 + b"Content-Length: 2\r\n\r\nok",
            ok + b"X: " + b"x" * 70_000 + b"\r\nContent-Length: 2\r\n\r\nok",
            ok + b"Content-Le",
            b"",
        ):

            def script(seen: Seen, answer: bytes = answer) -> None:
                seen.write(answer)
                seen.close()

            self.server.script = script
            for data in (
                get(PATH, "Connection: close"),
                asking(CHAT, "own", "Connection: close"),
                asking(MESSAGES, "own", "Connection: close"),
            ):
                self.assertRefused(await self.ended(data), (502,), answer[:200])

    async def test_aCutLooksCutForEveryFramingOnEveryRoute(self) -> None:
        await self.begin("streaming: {hold: 0}\n")
        kind = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        chats, messages = list(chat_events("own"))[:2], list(anthropic_events("far"))[:4]
        for route, data, events in (
            ("passthrough", get(), chats),
            ("native", asking(CHAT, "own"), chats),
            ("edited", asking(MESSAGES, "near"), messages),
            ("translated", asking(CHAT, "far"), messages),
        ):
            text = b"".join(events)
            chunk = b"%x\r\n%b\r\n" % (len(text), text)
            for how, answer, end in (
                ("chunked", kind + b"Transfer-Encoding: chunked\r\n\r\n" + chunk, "close"),
                ("half a chunk", kind + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"ff\r\ndata", "close"),
                ("chunk junk", kind + b"Transfer-Encoding: chunked\r\n\r\n" + chunk, "junk"),
                ("length", kind + b"Content-Length: 99999\r\n\r\n" + text, "close"),
                ("until close", kind + b"\r\n" + text, "cut"),
            ):

                def script(seen: Seen, answer: bytes = answer) -> None:
                    seen.write(answer)
                    self.answered = seen

                self.server.script = script
                client = await self.send(data)
                await client.until(b"data:")
                self.answered.write(b"zz\r\n") if end == "junk" else getattr(self.answered, end)()
                await self.over(client, f"the cut of {route}, {how}")
                head, _, body = client.data.partition(b"\r\n\r\n")
                if b"Content-Length: 99999" in head:
                    self.assertLess(len(body), 99999, f"{route}, {how}")
                else:
                    self.assertIn(b"Transfer-Encoding: chunked", head, f"{route}, {how}")
                    self.assertFalse(body.endswith(b"0\r\n\r\n"), f"{route}, {how}: {body[-100:]!r}")

    async def test_aCutLooksCutForOldClientsToo(self) -> None:
        await self.begin()
        for end, expected in (("end_stream", ConnectionDone), ("close", ConnectionLost)):

            def script(seen: Seen) -> None:
                seen.begin_stream()
                seen.chunk(b"data: x\n\n")
                self.answered = seen

            self.server.script = script
            client = await self.send(get(version="1.0"))
            await client.until(b"data: x\n\n")
            getattr(self.answered, end)()
            await self.over(client, "the end")
            assert client.ended is not None
            self.assertIsInstance(client.ended.value, expected)
            self.assertNotIn(b"chunked", client.data)

    async def test_aStreamThatEndsBeforeItsFormatSaysSoIsReportedAsCut(self) -> None:
        await self.begin()
        self.server.script = lambda seen: seen.stream(list(chat_events("own"))[:2])
        await self.ended(asking(CHAT, "own", "Connection: close"))
        await eventually(lambda: "last words" in self.log, what="a line about the stream's end")

    async def test_answersWithoutABodyEndAtTheirHeads(self) -> None:
        await self.begin()
        answers = {
            "HEAD": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n",
            "204": b"HTTP/1.1 204 No Content\r\n\r\n",
            "304": b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 50\r\n\r\n',
            "204 with more": b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
            "304 with more": b"HTTP/1.1 304 Not Modified\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
            "HEAD with more": b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
        }
        client = await self.send(b"")
        for name, answer in answers.items():

            def script(seen: Seen, answer: bytes = answer) -> None:
                seen.write(answer) if seen.target != "/api/next" else seen.reply(200, b"the next answer")

            self.server.script = script
            client.data = b""
            client.wire.write(get(method="HEAD" if "HEAD" in name else "GET") + get("/api/next"))
            await client.until(b"the next answer")
            self.assertEqual(client.data.count(b"HTTP/1.1 "), 2, f"{name}: {client.data!r}")
            self.assertNotIn(b"poison", client.data, name)

    async def test_moreThanTheAnswerIsDroppedWithItsConnection(self) -> None:
        await self.begin()
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
        self.server.script = lambda seen: seen.write(answer + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
        client = await self.send(get() + get() + get(PATH, "Connection: close"))
        await eventually(lambda: client.ended is not None, what="the last answer")
        self.assertEqual(client.data.count(b"\r\n\r\nok"), 3)
        self.assertNotIn(b"poison", client.data)

    async def test_upgradesAreTheUpstreamsToGrantAndNeverHTTP2(self) -> None:
        await self.begin()
        plain = get(PATH, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ")
        await (await self.send(plain)).until(b"HTTP/1.1 200 ")
        seen = self.server.requests[-1]
        self.assertEqual([seen.header(name) for name in ("upgrade", "http2-settings", "connection")], [None] * 3)
        refusing = await self.send(get(PATH, "Connection: Upgrade", "Upgrade: websocket") + get("/api/next"))
        await eventually(lambda: refusing.data.count(b"HTTP/1.1 200 ") == 2, what="an answer without an upgrade")
        self.assertRefused(
            await self.ended(get(CHAT, "Connection: Upgrade, close", "Upgrade: websocket")), (426,), "a model route"
        )

    async def test_redirectsAreTheClientsToFollow(self) -> None:
        await self.begin()
        self.server.script = lambda seen: seen.reply(307, b"", headers=[("Location", f"{self.server.url}/elsewhere")])
        for data in (get(PATH, "Connection: close"), asking(CHAT, "own", "Connection: close")):
            self.assertIn(b"HTTP/1.1 307 ", (await self.ended(data)).data)
        self.assertEqual(len(self.server.requests), 2)


class Secrets(HostileCase):
    """Whose credentials go where, and which paths lead anywhere."""

    async def test_clientsCredentialsStopAtTheDaemon(self) -> None:
        await self.begin()
        twins = [f"{name}: {KEY}" for name in ("X-Api-Key", "x-goog-api-key", "api_key", "X_API_KEY", "Api-Key")]
        query = f"?key={KEY}&a=1&auth_token={KEY}&%6bey={KEY}&b=%2F"
        await self.ended(get(PATH + query, *twins, "Proxy-Authorization: Basic eA==", "Connection: close"))
        await self.ended(asking(CHAT + query, "own", *twins, "Cookie: session=1", "Connection: close"))
        await self.ended(asking(MESSAGES + query, "own", *twins, "Connection: close"))
        upstream, native, translated = self.server.requests
        for seen in self.server.requests:
            text = repr((seen.target, seen.headers, seen.body))
            self.assertNotIn(KEY, text)
            self.assertNotIn("proxy-authorization", text.lower())
        self.assertEqual(upstream.target, PATH + "?a=1&b=%2F")
        self.assertEqual(upstream.all("authorization"), [f"Bearer {UPSTREAM_KEY}"])
        for seen in (native, translated):
            self.assertEqual(seen.all("authorization"), [f"Bearer {PROVIDER_KEY}"])
            self.assertIsNone(seen.header("cookie"))
        self.assertNotIn(KEY, self.log)

    async def test_keysThatAnErrorEchoesAreHidden(self) -> None:
        await self.begin()

        def script(seen: Seen) -> None:
            key = (seen.header("authorization") or seen.header("x-api-key") or "").removeprefix("Bearer ")
            body = json.dumps({"error": {"message": f"Incorrect API key provided: {key}", "type": "x"}}).encode()
            at = body.find(key.encode()) + 5
            seen.write(f"HTTP/1.1 403 Forbidden\r\nX-Echo: {key}\r\n".encode())
            if seen.target == PATH:
                seen.write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
                return
            seen.write(b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
            seen.chunk(body[:at])
            seen.chunk(body[at:])
            seen.end_stream()

        self.server.script = script
        for data in (
            get(PATH, "Connection: close"),
            asking(CHAT, "own", "Connection: close"),
            asking(MESSAGES, "near", "Connection: close"),
            asking(MESSAGES, "own", "Connection: close"),
        ):
            client = await self.ended(data)
            head, _, body = client.data.partition(b"\r\n\r\n")
            self.assertIn(head[9:12], (b"403", b"502"))
            for key in (UPSTREAM_KEY, PROVIDER_KEY):
                self.assertNotIn(key.encode(), client.data)
                self.assertNotIn(key, self.log)
            self.assertTrue(b"*****" in body or b"credentials were rejected" in body, client.data)
            if b"Content-Length: " in head:
                self.assertIn(b"Content-Length: %d\r\n" % len(body), head + b"\r\n")

    async def test_hopByHopFieldsGoNoFurtherInEitherDirection(self) -> None:
        await self.begin()
        hops = ("Keep-Alive: 1", "TE: trailers", "Trailer: X", "Proxy-Connection: x", "X-Hop: 1", "x-HOP-two: 1")
        answer = [(name, value) for name, value in (hop.split(": ") for hop in hops) if name != "Trailer"]
        self.server.script = lambda seen: seen.reply(
            200, b"{}", headers=[*answer, ("Connection", "x-hop"), ("Connection", "close, X-Hop-Two"), ("X-End", "1")]
        )
        connection = ("Connection: X-Hop", "Connection: close,x-hop-two , authorization, x-api-key")
        client = await self.ended(get(PATH, *hops, *connection, "X-Forwarded-For: 1.2.3.4", "X-End: 1"))
        seen = self.server.requests[0]
        there = {name.lower() for name, _ in seen.headers}
        back = {line.partition(b":")[0].lower() for line in client.data.split(b"\r\n\r\n")[0].split(b"\r\n")}
        for name in ("keep-alive", "te", "trailer", "proxy-connection", "x-hop", "x-hop-two", "x-forwarded-for"):
            self.assertNotIn(name, there)
            self.assertNotIn(name.encode(), back)
        self.assertEqual((seen.header("x-end"), seen.header("authorization")), ("1", f"Bearer {UPSTREAM_KEY}"))
        self.assertIn(b"x-end", back)

    async def test_pathsThatClimbAreRefusedAndAllOthersKeepTheirBytes(self) -> None:
        await self.begin()
        for tail in ("/../x", "/..", "/%2e%2e/x", "/%2E./x", "/..;a/x", "/%252e%252e/x", "/..%2fx", "/..%5cx", "/./x"):
            self.assertRefused(await self.ended(get(PATH + tail, "Connection: close")), (400, 403, 404), tail)
        self.assertEqual(self.server.requests, [])
        for tail in (
            "/a%2fb",
            "/a%2Fb",
            "//a",
            "/a?",
            "/a?b=..%2f..&c=%zz",
            "/...",
            "/a..b",
            "/%41;p=1",
            "/:@!$&'()*+,=",
        ):
            client = await self.ended(get(PATH + tail, "Connection: close"))
            self.assertIn(b"HTTP/1.1 200 ", client.data, tail)
            self.assertEqual(self.server.requests[-1].target, PATH + tail)

    async def test_clientsCannotSayWhereAKeyGoes(self) -> None:
        await self.begin()
        elsewhere = self.serve()
        url = elsewhere.url
        message = {"model": "own", "api_base": url, "base_url": url, "messages": [{"role": "user", "content": "x"}]}
        body = json.dumps(message).encode()
        for data in (
            request_bytes(
                CHAT, body, (AUTHORIZED, f"X-Base-Url: {url}", f"X-Forwarded-Host: {url[7:]}", "Connection: close")
            ),
            hosted(url[7:].encode(), get(f"{PATH}?base_url={url}", f"X-Original-Url: {url}/x", "Connection: close")),
            get(f"//{url[7:]}/x", "Connection: close"),
            get(f"/@{url[7:]}/x", "Connection: close"),
        ):
            await self.ended(data)
        self.assertEqual((elsewhere.requests, elsewhere.connections), ([], []))
        for seen in self.server.requests:
            self.assertEqual(seen.header("host"), self.server.url[7:])
