"""Every stream vector, event by event and as bytes in any cut."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.answer import StreamFolder
from llmux.formats.client import ClientCtx
from llmux.formats.codecs import ANSWERS
from llmux.formats.events import Error
from llmux.formats.framing import ArrayReader, ArrayWriter
from llmux.formats.neutral import Request
from llmux.formats.stream import StreamTranslator
from tests.translation_adapter import CREATED, FRESH_ID, client_ctx, judge, run_stream
from tests.vectors import translation

VECTORS = translation("stream")
JUDGE = judge()
FORMATS = tuple(ANSWERS)


def sse(vector: dict[str, Any], line_end: bytes = b"\n", space: bytes = b" ") -> bytes:
    """The input of a vector as the bytes of an event stream."""
    out = bytearray()
    for message in vector["input"]:
        if message.get("event"):
            out += b"event:" + space + message["event"].encode() + line_end
        data = message["data"]
        text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
        out += b"data:" + space + text.encode() + line_end + line_end
    return bytes(out)


def read_sse(data: bytes) -> list[dict[str, Any]]:
    """The messages in what a translator wrote, read as a strict SDK does."""
    out = []
    for block in data.decode().split("\n\n"):
        if not block.strip("\n") or block.startswith(":"):
            continue
        lines = block.strip("\n").split("\n")
        name = None
        if lines[0].startswith("event: "):
            name = lines.pop(0).removeprefix("event: ")
        assert len(lines) == 1 and lines[0].startswith("data: "), block
        text = lines[0].removeprefix("data: ")
        out.append({"event": name, "data": text if text == "[DONE]" else json.loads(text)})
    return out


def at_end(messages: list[dict[str, Any]], vector: dict[str, Any]) -> list[str]:
    """Complaints about what was written, whenever it was: every `by` mark is put at the end."""
    relaxed = {**vector, "expected": [{**event, "by": "eof"} for event in vector["expected"]]}
    complaints: list[str] = JUDGE.compare(relaxed, [[] for _ in vector["input"]] + [messages])
    return complaints


class StreamVectors(SynchronousTestCase):
    """Each event leaves in the turn in which the vector says so."""

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)


class CutStreams(SynchronousTestCase):
    """The same bytes leave however the provider's bytes are cut."""


def _event_test(vector: dict[str, Any]) -> Callable[[StreamVectors], None]:
    def test(self: StreamVectors) -> None:
        self.assertEqual(JUDGE.compare(vector, run_stream(vector)), [], vector["id"])

    return test


def _cut_test(vector: dict[str, Any]) -> Callable[[CutStreams], None]:
    def test(self: CutStreams) -> None:
        dice = random.Random(vector["id"])
        failed = (vector.get("context") or {}).get("outcome") == "error"
        whole = None
        for data in (sse(vector), sse(vector, b"\r\n"), b"\xef\xbb\xbf" + sse(vector, b"\n", b"")):
            for pieces in (1, 2, 40, len(data)):
                translator = StreamTranslator(vector["from"], vector["to"], client_ctx(vector))
                cuts = sorted(dice.sample(range(len(data)), min(pieces, len(data)) - 1))
                out = b""
                for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                    out += translator.feed(data[start:end])
                out += translator.close()
                self.assertEqual(at_end(read_sse(out), vector), [], vector["id"])
                self.assertEqual(translator.failed, failed, vector["id"])
                whole = whole or out
                self.assertEqual(out, whole, vector["id"])

    return test


for _vector in VECTORS:
    _name = "test_" + _vector["id"].replace("-", "_")
    setattr(StreamVectors, _name, _event_test(_vector))
    setattr(CutStreams, _name, _cut_test(_vector))


def ctx(client: Any, **members: Any) -> ClientCtx:
    """The context of a minimal request."""
    return ClientCtx(client, "my-alias", Request(client, **members), None, CREATED, FRESH_ID)


CHAT_TEXT = (
    b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
    b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
    b"data: [DONE]\n\n"
)


class Translators(SynchronousTestCase):
    """What a caller asks a translator besides bytes."""

    def test_theHeadWaitsForTheFirstEvent(self) -> None:
        translator = StreamTranslator("chat", "anthropic", ctx("anthropic"))
        self.assertEqual(translator.feed(b': hello\n\ndata: {"choices":[]}\n\n'), b"")
        self.assertFalse(translator.first_event_known)
        translator.feed(CHAT_TEXT)
        self.assertTrue(translator.first_event_known)

    def test_theUsageSoFarIsKnown(self) -> None:
        translator = StreamTranslator("chat", "anthropic", ctx("anthropic"))
        translator.feed(CHAT_TEXT)
        self.assertEqual((translator.usage.input, translator.usage.output), (7, 2))
        self.assertTrue(translator.ended)

    def test_anErrorThatComesFirstLeavesTheHeadUnsent(self) -> None:
        translator = StreamTranslator("chat", "anthropic", ctx("anthropic"))
        translator.feed(b'data: {"error":{"message":"slow","code":"rate_limit_exceeded"}}\n\n')
        self.assertTrue(translator.failed and translator.first_event_known)
        self.assertFalse(translator.started)
        assert translator.error is not None
        self.assertEqual(translator.error.kind, "rate")

    def test_nothingFollowsAnError(self) -> None:
        for client in FORMATS:
            translator = StreamTranslator("anthropic", client, ctx(client))
            translator.feed(b'data: {"type":"message_start","message":{"id":"msg_1"}}\n\n')
            out = translator.abort(Error("timeout", "the provider took too long"))
            self.assertTrue(out)
            self.assertEqual(translator.feed(b'data: {"type":"message_stop"}\n\n') + translator.close(), b"")
            self.assertEqual(translator.ping(), b"")

    def test_aGeminiClientGetsBlankLinesForPings(self) -> None:
        self.assertEqual(StreamTranslator("chat", "gemini", ctx("gemini")).ping(), b"\n")
        self.assertEqual(StreamTranslator("chat", "responses", ctx("responses")).ping(), b": ping\n\n")
        ping = StreamTranslator("chat", "anthropic", ctx("anthropic")).ping()
        self.assertEqual(read_sse(ping), [{"event": "ping", "data": {"type": "ping"}}])

    def test_twoLinesThatAreNotJsonAreTooMany(self) -> None:
        translator = StreamTranslator("chat", "anthropic", ctx("anthropic"))
        self.assertEqual(translator.feed(b"data: oops\n\n"), b"")
        self.assertFalse(translator.failed)
        translator.feed(b"data: <html>\n\n")
        self.assertTrue(translator.failed)

    def test_argumentsBeyondTheBoundFail(self) -> None:
        start = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": ""}}
        translator = StreamTranslator("chat", "gemini", ctx("gemini"))
        translator.feed(_chunk({"tool_calls": [start]}))
        piece = _chunk({"tool_calls": [{"index": 0, "function": {"arguments": "x" * (1 << 20)}}]})
        for _ in range(8):
            translator.feed(piece)
        self.assertFalse(translator.failed)
        translator.feed(piece)
        self.assertTrue(translator.failed)

    def test_aJsonAnswerIsUnfoldedForAStreamingClient(self) -> None:
        body = {
            "id": "chatcmpl-1",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2},
        }
        translator = StreamTranslator("chat", "anthropic", ctx("anthropic"), source="json")
        data = json.dumps(body).encode()
        self.assertEqual(translator.feed(data[:9]) + translator.feed(data[9:]), b"")
        names = [message["event"] for message in read_sse(translator.close())]
        self.assertEqual(
            names,
            [
                "message_start",
                "content_block_start",
                "content_block_delta",
                "content_block_stop",
                "message_delta",
                "message_stop",
            ],
        )
        self.assertEqual(translator.usage.input, 7)

    def test_aStreamIsFoldedForAClientThatWantsOneAnswer(self) -> None:
        folder = StreamFolder("chat", "anthropic", ctx("anthropic"))
        for start in range(0, len(CHAT_TEXT), 11):
            folder.feed(CHAT_TEXT[start : start + 11])
        answer = folder.close()
        body = json.loads(answer.body)
        self.assertEqual((answer.status, body["content"]), (200, [{"type": "text", "text": "Hi"}]))
        self.assertEqual(body["usage"]["input_tokens"], 7)

    def test_aStreamThatBreaksIsAnErrorForAClientThatWantsOneAnswer(self) -> None:
        folder = StreamFolder("chat", "gemini", ctx("gemini"))
        folder.feed(CHAT_TEXT[:90])
        answer = folder.close()
        self.assertEqual((answer.status, json.loads(answer.body)["error"]["status"]), (500, "INTERNAL"))

    def test_theVaultKnowsWhatPrecededACall(self) -> None:
        vector = next(vector for vector in VECTORS if (vector["from"], vector["to"]) == ("anthropic", "chat"))
        translator = StreamTranslator("anthropic", "chat", client_ctx(vector))
        for event in (
            {"type": "message_start", "message": {"id": "msg_1"}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "Eq"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "a", "name": "f"}},
            {"type": "content_block_stop", "index": 1},
            {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "b", "name": "f"}},
        ):
            translator.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.assertEqual(list(translator.vault_entries), ["a"])
        (part,) = translator.vault_entries["a"]
        assert part.signature is not None
        self.assertEqual(part.signature.raw, "Eq")


def _chunk(delta: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps({"id": "x", "choices": [{"index": 0, "delta": delta}]}).encode() + b"\n\n"


class Arrays(SynchronousTestCase):
    """Gemini's stream without `alt=sse`."""

    def test_anArrayIsReadInAnyCut(self) -> None:
        objects = [{"a": '}"\\', "b": {"c": [1, {}]}}, {"ü": "\u2028"}, {}]
        data = ("[" + ",\r\n".join(json.dumps(item, ensure_ascii=False) for item in objects) + "]").encode()
        for size in (1, 2, 3, 7, len(data)):
            reader = ArrayReader()
            read = [
                json.loads(message)
                for start in range(0, len(data), size)
                for _, message in reader.feed(data[start : start + size])
            ]
            self.assertEqual(read, objects, size)

    def test_anArrayIsWrittenWhole(self) -> None:
        translator = StreamTranslator("chat", "gemini", ctx("gemini"), sink="array")
        out = translator.feed(CHAT_TEXT) + translator.close()
        chunks = json.loads(out)
        self.assertEqual(chunks[0]["candidates"][0]["content"]["parts"], [{"text": "Hi"}])
        self.assertEqual(chunks[-1]["usageMetadata"]["promptTokenCount"], 7)

    def test_anEmptyArrayIsOne(self) -> None:
        self.assertEqual(ArrayWriter().end(), b"[]")
