"""An unmodified WebSocket client and server talk through the daemon, which knows nothing of WebSockets.

`LLMUX_WEBSOCKET_SECONDS` makes the conversation longer than its two seconds.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import Any

from twisted.internet.threads import deferToThread
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve

from tests.end_to_end import EndToEndCase, request_bytes
from tests.running import Daemon

SECONDS = float(os.environ.get("LLMUX_WEBSOCKET_SECONDS", "2"))
FEWEST_FRAMES = 8
MEGABYTE = 1024 * 1024
KEY, UPSTREAM_KEY = "client-key-of-the-tests", "upstream-key-of-the-tests"
PATH = "/actors/gateway/threadActor/websocket/?rvt-namespace=default&rvt-method=get&rvt-key=T-1"
SUBPROTOCOLS: list[Any] = ["rivet", "rivet_encoding.bare", "rivet_conn_params.%7B%22wsToken%22%3A%221%22%7D"]


class EchoServer:
    """A WebSocket server in threads; it echoes, and remembers the heads of the upgrades it has seen."""

    def __init__(self) -> None:
        self.heads: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.closed: list[int | None] = []
        self.refuse = 0
        self.server: Server = serve(
            self._echo,
            "127.0.0.1",
            0,
            select_subprotocol=lambda _, offered: offered[0] if offered else None,
            max_size=None,
            process_request=self._request,
        )
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        """The address as an upstream URL."""
        return f"http://127.0.0.1:{self.server.socket.getsockname()[1]}"

    def stop(self) -> None:
        """Stop listening and wait for the thread; blocks."""
        self.server.shutdown()
        self.thread.join()

    def _request(self, connection: ServerConnection, request: Any) -> Any:
        self.paths.append(request.path)
        self.heads.append({name.lower(): value for name, value in request.headers.raw_items()})
        return connection.respond(self.refuse, "refused by the upstream\n") if self.refuse else None

    def _echo(self, connection: ServerConnection) -> None:
        try:
            while True:
                connection.send(connection.recv())
        except ConnectionClosed as end:
            self.closed.append(end.rcvd.code if end.rcvd else None)


def talk(url: str, seconds: float) -> tuple[int, int]:
    """Send 1 MB frames, binary and text in turn, and compare each echo while more is sent; gives frames and bytes."""
    noise = os.urandom(MEGABYTE)
    text = noise.hex()[:MEGABYTE]
    sent: list[str] = []
    frames = amount = 0
    with connect(url, max_size=None, additional_headers={"Authorization": f"Bearer {KEY}"}) as socket:

        def send() -> None:
            end = time.monotonic() + seconds
            number = 0
            while time.monotonic() < end or number < FEWEST_FRAMES:
                number += 1
                frame = noise[number % 1000 :] + noise[: number % 1000] if number % 2 else f"{number} {text}"[:MEGABYTE]
                sent.append(digest(frame))
                socket.send(frame)
            sent.append("")
            socket.send("that is all")

        sender = threading.Thread(target=send)
        sender.start()
        try:
            while (frame := socket.recv(timeout=30)) != "that is all":
                if digest(frame) != sent[frames]:
                    raise AssertionError(f"frame {frames} came back changed")
                frames += 1
                amount += len(frame)
        finally:
            sender.join()
    if sent.index("") != frames:
        raise AssertionError(f"{len(sent) - 1} frames were sent, {frames} came back")
    return frames, amount


def digest(frame: str | bytes) -> str:
    """Tells frames apart, text from binary too."""
    return hashlib.sha1(frame.encode() if isinstance(frame, str) else frame).hexdigest() + type(frame).__name__


class WebSocketTests(EndToEndCase):
    timeout = 100 + 2 * int(SECONDS)

    async def begin(self) -> tuple[Daemon, EchoServer, str]:
        echo = EchoServer()
        self.addCleanup(deferToThread, echo.stop)
        daemon = await self.run_daemon(
            f"api-keys: [{KEY}]\nproviders: [{{name: demo, kind: demo}}]\n"
            f"ampcode: {{upstream-url: '{echo.url}/', upstream-api-key: {UPSTREAM_KEY}, credits: deny}}\n"
        )
        return daemon, echo, daemon.url.replace("http:", "ws:")

    async def test_aMegabyteAFrameGoesBothWaysUnchanged(self) -> None:
        _, echo, url = await self.begin()
        frames, amount = await deferToThread(talk, url + PATH, SECONDS)
        self.assertGreaterEqual(frames, FEWEST_FRAMES)
        self.assertEqual(amount, frames * MEGABYTE)
        self.assertEqual(echo.paths, [PATH])

    async def test_theUpgradeArrivesAndIsAnsweredAsItWas(self) -> None:
        _, echo, url = await self.begin()

        def shake_hands() -> tuple[str | None, dict[str, str]]:
            with connect(
                url + PATH,
                subprotocols=SUBPROTOCOLS,
                additional_headers={"X-Api-Key": KEY, "Cookie": "a=b", "X-Forwarded-For": "10.0.0.1"},
            ) as socket:
                socket.send("ping")
                assert socket.recv(timeout=10) == "ping"
                assert socket.response is not None
                return socket.subprotocol, {name.lower(): value for name, value in socket.response.headers.raw_items()}

        subprotocol, answered = await deferToThread(shake_hands)
        self.assertEqual(subprotocol, "rivet")
        self.assertEqual(answered["upgrade"].lower(), "websocket")
        self.assertIn("permessage-deflate", answered["sec-websocket-extensions"])
        self.assertNotIn("x-llmux-route", answered)
        head = echo.heads[0]
        self.assertEqual(head["sec-websocket-protocol"], ", ".join(SUBPROTOCOLS))
        self.assertIn("permessage-deflate", head["sec-websocket-extensions"])
        self.assertEqual((head["x-api-key"], head["authorization"]), (UPSTREAM_KEY, f"Bearer {UPSTREAM_KEY}"))
        self.assertEqual((head["cookie"], head["host"]), ("a=b", echo.url.removeprefix("http://")))
        self.assertNotIn("x-forwarded-for", head)

    async def test_anEndOnEitherSideEndsTheOther(self) -> None:
        daemon, echo, url = await self.begin()

        def leave(how: str) -> None:
            socket = connect(url + PATH, additional_headers={"X-Api-Key": KEY}, close_timeout=5)
            socket.send("hello")
            assert socket.recv(timeout=10) == "hello"
            if how == "close":
                socket.close(4000, "Pong timeout")
            else:
                socket.socket.shutdown(2)
                socket.socket.close()
            deadline = time.monotonic() + 10
            while not echo.closed and time.monotonic() < deadline:
                time.sleep(0.01)

        for how, code in (("close", 4000), ("break", None)):
            await deferToThread(leave, how)
            self.assertEqual(echo.closed, [code], how)
            echo.closed.clear()
        self.assertNotIn("Traceback", daemon.log)

    async def test_anUpgradeIsRefusedByTheUpstreamOrBeforeIt(self) -> None:
        _, echo, url = await self.begin()

        async def refused(path: str, headers: dict[str, str]) -> Any:
            opening = deferToThread(connect, url + path, additional_headers=headers)
            problem: Any = await self.assertFailure(opening, InvalidStatus)
            return problem.response

        key = {"X-Api-Key": KEY}
        for status in (401, 404, 502, 503):
            echo.refuse = status
            answer = await refused(PATH, key)
            self.assertEqual((answer.status_code, answer.body), (status, b"refused by the upstream\n"))
        echo.heads.clear()
        self.assertEqual((await refused(PATH, {})).status_code, 401)
        for path in ("/v1/responses", "/v1/models", "/api/provider/openai/v1/responses"):
            self.assertEqual((await refused(path, key)).status_code, 426, path)
        self.assertEqual(echo.heads, [])

    async def test_bytesThatFollowTheUpgradeAtOnceAreNotLost(self) -> None:
        daemon, _, _ = await self.begin()
        upgrade = (
            "Connection: keep-alive, Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"X-Api-Key: {KEY}",
        )
        nonce = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
        masked = b"\x81\x82\x00\x00\x00\x00hi"
        client = await self.connect(daemon.port, request_bytes(PATH, b"", (*upgrade, nonce), "GET") + masked)
        await client.until(b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        await client.until(b"\x81\x02hi")
