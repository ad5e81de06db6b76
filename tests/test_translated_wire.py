"""What a translated answer looks like on the wire, where no SDK looks: heads, arrays, JSON for streams and back."""

from __future__ import annotations

import json
import zlib
from functools import partial
from typing import Any

from tests import native_answers
from tests.end_to_end import Answer, EndToEndCase, Paused, RawClient, eventually, request_bytes
from tests.native_answers import TEXT
from tests.running import Daemon
from tests.scripted import Seen

KINDS = {"anthropic": "anthropic", "chat": "openai", "responses": "openai-responses", "gemini": "gemini"}
PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/{}:{}",
}
WHOLE = {
    "anthropic": native_answers.anthropic,
    "chat": native_answers.chat,
    "responses": native_answers.responses,
    "gemini": native_answers.gemini,
}
EVENTS = {
    "anthropic": native_answers.anthropic_events,
    "chat": native_answers.chat_events,
    "responses": native_answers.responses_events,
    "gemini": native_answers.gemini_events,
}
LAST_WORDS = {
    "anthropic": b'{"type":"message_stop"}\n\n',
    "chat": b"data: [DONE]\n\n",
    "responses": b"\n\n",
    "gemini": b"\n\n",
}


def configuration(url: str) -> str:
    """A provider of each kind, each with one model called like its format."""
    entries = (
        f"  - {{name: {name}, kind: {kind}, base-url: {url}{'/v1' if 'openai' in kind else ''}, api-keys: [k],"
        f" models: [m-{name}]}}"
        for name, kind in KINDS.items()
    )
    return "\n".join(["streaming: {keepalive: 1}", "providers:", *entries]) + "\n"


def asked(client: str, vendor: str, stream: bool, **members: Any) -> tuple[str, bytes]:
    """The target and the body of a plain request."""
    model = f"m-{vendor}"
    body: dict[str, Any] = {"model": model, **({"stream": True} if stream else {}), **members}
    path = PATHS[client]
    if client == "gemini":
        body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **members}
        path = path.format(model, "streamGenerateContent" if stream else "generateContent")
    elif client == "responses":
        body["input"] = "hi"
    else:
        body["messages"] = [{"role": "user", "content": "hi"}]
    if client == "anthropic":
        body.setdefault("max_tokens", 100)
    return path, json.dumps(body).encode()


def text_of(client: str, value: Any) -> str:
    """The text of a whole answer in a client's format."""
    if client == "chat":
        return str(value["choices"][0]["message"]["content"])
    if client == "responses":
        return str(value["output"][0]["content"][0]["text"])
    if client == "anthropic":
        return str(value["content"][0]["text"])
    return "".join(part["text"] for part in value["candidates"][0]["content"]["parts"])


class WireTests(EndToEndCase):
    async def begin(self, script: Any) -> Daemon:
        self.provider = self.serve(script)
        return await self.run_daemon(configuration(self.provider.url))

    async def pairs(self, daemon: Daemon, stream: bool) -> list[tuple[str, str, Answer]]:
        """Every crossing once."""
        found = []
        for client in PATHS:
            for vendor in PATHS:
                if client != vendor:
                    path, body = asked(client, vendor, stream)
                    sse = "?alt=sse" if client == "gemini" and stream else ""
                    found.append((client, vendor, await self.ask(daemon.port, path + sse, body)))
        return found

    async def test_aStreamForAClientThatWantsNoneIsFolded(self) -> None:
        def script(seen: Seen) -> None:
            vendor = next(name for name in EVENTS if seen.target.startswith(PATHS[name].partition("{")[0]))
            seen.stream(list(EVENTS[vendor](f"m-{vendor}")))

        daemon = await self.begin(script)
        for client, vendor, answer in await self.pairs(daemon, stream=False):
            self.assertEqual(
                (answer.status, answer.headers["content-type"]), (200, "application/json"), (client, vendor)
            )
            self.assertEqual(text_of(client, json.loads(answer.body)), TEXT, (client, vendor))
            self.assertEqual(answer.headers["x-llmux-body"], "translated")

    async def test_aWholeAnswerForAClientThatStreamsIsUnfolded(self) -> None:
        def script(seen: Seen) -> None:
            vendor = next(name for name in WHOLE if seen.target.startswith(PATHS[name].partition("{")[0]))
            seen.reply(200, WHOLE[vendor](f"m-{vendor}"))

        daemon = await self.begin(script)
        for client, vendor, answer in await self.pairs(daemon, stream=True):
            self.assertEqual(
                (answer.status, answer.headers["content-type"]), (200, "text/event-stream"), (client, vendor)
            )
            self.assertIn(TEXT.encode(), answer.body, (client, vendor))
            self.assertTrue(answer.body.endswith(LAST_WORDS[client]), (client, vendor))

    async def test_geminiWithoutAltSSEGetsOneArrayThatGrowsAsItComes(self) -> None:
        paused = Paused()
        daemon = await self.begin(paused)
        path, body = asked("gemini", "chat", stream=True)
        client = await self.connect(daemon.port, request_bytes(path, body))
        seen = await paused.next()
        self.assertEqual(seen.json()["stream_options"], {"include_usage": True})
        events = list(native_answers.chat_events("m-chat"))
        seen.begin_stream()
        for event in events[:2]:
            seen.chunk(event)
        data = await client.until("Héllo".encode())
        self.assertIn(b"content-type: application/json\r\n", data.lower())
        for event in events[2:]:
            seen.chunk(event)
        seen.end_stream()
        data = await client.until(b"0\r\n\r\n")
        chunks = json.loads(unchunked(data))
        self.assertEqual("".join(text_of("gemini", chunk) for chunk in chunks), TEXT)
        self.assertEqual(chunks[-1]["candidates"][0]["finishReason"], "STOP")
        whole = await self.ask_array(daemon, paused)
        self.assertEqual("".join(text_of("gemini", chunk) for chunk in whole), TEXT)

    async def ask_array(self, daemon: Daemon, paused: Paused) -> Any:
        """The array for a provider that did not stream."""
        path, body = asked("gemini", "anthropic", stream=True)
        client = await self.connect(daemon.port, request_bytes(path, body))
        (await paused.next()).reply(200, native_answers.anthropic("m-anthropic"))
        return json.loads(unchunked(await client.until(b"0\r\n\r\n")))

    async def test_theHeadWaitsForTheFirstEventAndAnErrorGetsItsStatus(self) -> None:
        paused = Paused()
        daemon = await self.begin(paused)
        for client, status in (("chat", 503), ("responses", 503), ("gemini", 503)):
            path, body = asked(client, "anthropic", stream=True)
            wire = await self.connect(daemon.port, request_bytes(path, body))
            seen = await paused.next()
            seen.begin_stream()
            ping = b'event: ping\ndata: {"type": "ping"}\n\n'
            seen.chunk(ping)
            again = await self.ask(daemon.port, "/health")
            self.assertEqual((again.status, wire.data), (200, b""))
            error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
            seen.chunk(b"event: error\ndata: " + json.dumps(error).encode() + b"\n\n")
            data = await wire.until(b"Overloaded")
            self.assertTrue(data.startswith(b"HTTP/1.1 %d " % status), (client, data))
            self.assertIn(b"x-llmux-body: translated", data)

    async def test_aClientOfASilentStreamGetsASignOfLifeInItsOwnFormat(self) -> None:
        paused = Paused()
        daemon = await self.begin(paused)
        events = list(native_answers.anthropic_events("m-anthropic"))
        wires = []
        for client, sign in (("chat", b"\n\n: ping\n\n"), ("responses", b"\n\n: ping\n\n"), ("gemini", b"\n\n\n")):
            path, body = asked(client, "anthropic", stream=True)
            wire = await self.connect(
                daemon.port, request_bytes(path + ("?alt=sse" if client == "gemini" else ""), body)
            )
            seen = await paused.next()
            seen.begin_stream()
            for event in events[:4]:
                seen.chunk(event)
            wires.append((wire, sign))
        for wire, sign in wires:
            await eventually(partial(contains, wire, sign), 5, "a sign of life")

    async def test_aCompressedStreamIsTranslated(self) -> None:
        def script(seen: Seen) -> None:
            packer = zlib.compressobj(wbits=31)
            seen.begin_stream(headers=[("Content-Encoding", "gzip")])
            for event in native_answers.responses_events("m-responses"):
                seen.chunk(packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH))
            seen.chunk(packer.flush())
            seen.end_stream()

        daemon = await self.begin(script)
        path, body = asked("anthropic", "responses", stream=True)
        answer = await self.ask(daemon.port, path, body, headers={"Accept-Encoding": "gzip"})
        self.assertNotIn("content-encoding", answer.headers)
        self.assertTrue(answer.body.endswith(LAST_WORDS["anthropic"]), answer.body)

    async def test_aRequestThatIsNotTranslatedTellsWhatItLostAsWell(self) -> None:
        daemon = await self.begin(lambda seen: seen.reply(200, native_answers.anthropic("m-anthropic")))
        for model, warning in (("m-anthropic(high)", "dropped:reasoning_effort"), ("m-anthropic", None)):
            path, body = asked("anthropic", "anthropic", stream=False, model=model)
            answer = await self.ask(daemon.port, path, body)
            self.assertEqual((answer.status, answer.headers.get("x-llmux-warning")), (200, warning))

    async def test_whatIsNoRequestOfItsFormatIsRefusedInItsShape(self) -> None:
        daemon = await self.begin(lambda seen: seen.reply(500))
        for client, vendor in (("chat", "anthropic"), ("responses", "chat"), ("anthropic", "chat"), ("gemini", "chat")):
            path, _ = asked(client, vendor, stream=False)
            for body in (b'{"model": "m-%b", "messages": 3, "input": 3, "contents": 3}' % vendor.encode(),):
                answer = await self.ask(daemon.port, path, body)
                self.assertEqual(answer.status, 400, (client, answer.body))
                self.assertIn("message", json.loads(answer.body)["error"], client)
        self.assertEqual(self.provider.requests, [])

    async def test_whatCannotBeCarriedIsRefusedWithoutAskingTheProvider(self) -> None:
        daemon = await self.begin(lambda seen: seen.reply(500))
        cases: list[tuple[str, str, dict[str, Any], str]] = [
            ("chat", "anthropic", {"n": 2}, "n"),
            ("responses", "chat", {"previous_response_id": "resp_1"}, "previous_response_id"),
            ("gemini", "anthropic", {"cachedContent": "cachedContents/1"}, "cachedContent"),
            ("gemini", "responses", {"generationConfig": {"candidateCount": 2}}, "candidateCount"),
        ]
        for client, vendor, members, name in cases:
            path, body = asked(client, vendor, stream=False, **members)
            answer = await self.ask(daemon.port, path, body)
            self.assertEqual(answer.status, 400, (client, answer.body))
            self.assertIn(name, json.loads(answer.body)["error"]["message"])
        path, body = asked("anthropic", "gemini", stream=False)
        refused = json.loads(body)
        file = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
        refused["messages"][0]["content"] = [file]
        for path in ("/v1/messages", "/v1/messages/count_tokens"):
            answer = await self.ask(daemon.port, path, json.dumps(refused).encode())
            self.assertEqual((answer.status, json.loads(answer.body)["type"]), (400, "error"), answer.body)
        self.assertEqual(self.provider.requests, [])


def contains(wire: RawClient, text: bytes) -> bool:
    """Whether a text has come."""
    return text in unchunked(wire.data)


def unchunked(data: bytes) -> bytes:
    """The body of a chunked answer, as far as it has come."""
    rest = data.partition(b"\r\n\r\n")[2]
    out = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size or b"0", 16)
        out += rest[:length]
        rest = rest[length + 2 :]
    return out
