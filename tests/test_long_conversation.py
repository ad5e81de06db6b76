"""A million tokens are translated, or answered, while another stream is under way, and that stream goes on."""

from __future__ import annotations

import json
import socket
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from tests import native_answers
from tests.end_to_end import EndToEndCase, Paused, ask, request_bytes
from tests.running import pause

TURNS = 2400
BYTES = 5_000_000
PACE = 0.01
LONGEST_GAP = 0.25
"""Seconds. It stays below 0.05 on a machine that has nothing else to do, and test machines have."""
_WORDS = 'A file — with "quotes", a backslash \\ and lines.\n'


def conversation() -> bytes:
    """A Messages body of more than `BYTES` with tools all over it."""
    text = _WORDS * (1 + BYTES // TURNS // len(_WORDS.encode()))
    messages: list[dict[str, Any]] = []
    for number in range(TURNS // 4):
        identity = f"toolu_{number}"
        call = {"type": "tool_use", "id": identity, "name": "read", "input": {"path": f"/{number}", "text": text}}
        thought = {"type": "thinking", "thinking": text[:200], "signature": "c2lnbmVk" * 20}
        result = {"type": "tool_result", "tool_use_id": identity, "content": [{"type": "text", "text": text}]}
        messages += [
            {"role": "user", "content": text},
            {"role": "assistant", "content": [thought, {"type": "text", "text": "I look."}, call]},
            {"role": "user", "content": [result]},
            {"role": "assistant", "content": text},
        ]
    messages.append({"role": "user", "content": "Go on."})
    tool = {"name": "read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
    body = {"model": "big", "max_tokens": 1000, "messages": messages, "tools": [tool]}
    return json.dumps(body, ensure_ascii=False).encode()


class Sink:
    """Takes one large request at a time in a thread of its own, so that the tests' reactor is not disturbed."""

    def __init__(self, answer: bytes) -> None:
        self.sizes: list[int] = []
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(65536)
                head, _, rest = head.partition(b"\r\n\r\n")
                lines = head.decode("latin-1").lower().split("\r\n")
                size = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
                left, buffer = size - len(rest), bytearray(1 << 20)
                while left:
                    left -= connection.recv_into(buffer, min(left, len(buffer)))
                self.sizes.append(size)
                answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n"
                connection.sendall(answer + b"Content-Length: %d\r\n\r\n" % len(self._answer) + self._answer)

    def stop(self) -> None:
        """Stop listening."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


class LongConversationTests(EndToEndCase):
    async def gap(self, kind: str, answer: bytes, path: str = "/v1/messages") -> float:
        """The longest time between two events of the paced stream while the conversation is translated."""
        sink = Sink(answer)
        self.addCleanup(sink.stop)
        paused = Paused()
        pacer = self.serve(paused)
        version = "/v1" if kind.startswith("openai") else ""
        daemon = await self.run_daemon(
            "providers:\n"
            f"  - {{name: sink, kind: {kind}, base-url: {sink.url}{version}, api-keys: [k], models: [big]}}\n"
            f"  - {{name: pacer, kind: openai, base-url: {pacer.url}/v1, api-keys: [k], models: [paced]}}\n"
        )
        body = conversation()
        self.assertGreater(len(body), BYTES)
        asked = json.dumps({"model": "paced", "stream": True, "messages": [{"role": "user", "content": "x"}]}).encode()
        client = await self.connect(daemon.port, request_bytes("/v1/chat/completions", asked))
        seen = await paused.next()
        seen.begin_stream()
        event = list(native_answers.chat_events("paced"))[1]
        arrivals: list[float] = []
        take = client.dataReceived

        def arrived(data: bytes) -> None:
            arrivals.append(time.monotonic())
            take(data)

        client.dataReceived = arrived  # type: ignore[method-assign]  # every piece gets its time
        beat = LoopingCall(seen.chunk, event)
        beat.clock = IReactorTime(reactor)
        beat.start(PACE)
        await pause(0.2)
        arrivals.clear()
        for _ in range(2):
            found = await deferToThread(ask, daemon.port, path, body, seconds=60.0)
            self.assertEqual(found.status, 200, found.body[:300])
        beat.stop()
        self.assertGreater(min(sink.sizes), BYTES // 2)
        return max(after - before for before, after in pairwise(arrivals))

    async def test_aMillionTokensDoNotStopAnotherStream(self) -> None:
        self.assertLess(await self.gap("openai", native_answers.chat("big")), LONGEST_GAP)

    async def test_norDoTheyWhenTheirTokensAreCounted(self) -> None:
        answer = b'{"totalTokens": 1000000}'
        self.assertLess(await self.gap("gemini", answer, "/v1/messages/count_tokens"), LONGEST_GAP)

    async def test_norDoesAnAnswerOfThatSize(self) -> None:
        rows = [{"number": number, "text": _WORDS} for number in range(BYTES // 2 // len(_WORDS.encode()))]
        function = {"name": "write", "arguments": json.dumps({"rows": rows}, ensure_ascii=False)}
        message = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        answer = json.dumps({"id": "chatcmpl-1", "model": "big", "choices": [choice]}, ensure_ascii=False).encode()
        self.assertLess(await self.gap("openai", answer), LONGEST_GAP)

    async def test_aStreamKeepsNothingOfTheConversationThatItAnswers(self) -> None:
        paused = Paused()
        server = self.serve(paused)
        daemon = await self.run_daemon(
            f"providers:\n  - {{name: chat, kind: openai, base-url: {server.url}/v1, api-keys: [k], models: [big]}}\n"
        )
        asked = request_bytes("/v1/messages", conversation()[:-1] + b',"stream":true}')
        first = list(native_answers.chat_events("big"))[1]
        resident: list[int] = []
        for _ in range(7):
            client = await self.connect(daemon.port, asked)
            seen = await paused.next()
            seen.begin_stream()
            seen.chunk(first)
            await client.until("Héllo".encode())
            server.requests.clear()
            pages = Path(f"/proc/{daemon.process.pid}/statm").read_text(encoding="ascii").split()[1]
            resident.append(int(pages) * 4096)
        # The first two show what one translation takes while it runs; a kept body alone would be 6 MB each.
        self.assertLess(resident[-1] - resident[1], 15_000_000)
