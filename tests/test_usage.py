"""Token counts taken from answers in passing, however their bytes are cut."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.events import Usage
from llmux.usage import HELD, Watcher
from tests import native_answers

FORMATS = ("anthropic", "chat", "completions", "responses", "gemini")
WHOLE = {
    "anthropic": native_answers.anthropic,
    "chat": native_answers.chat,
    "completions": native_answers.chat,
    "responses": native_answers.responses,
    "gemini": native_answers.gemini,
}
EVENTS = {
    "anthropic": native_answers.anthropic_events,
    "responses": native_answers.responses_events,
    "gemini": native_answers.gemini_events,
}
CHAT_USAGE: dict[str, Any] = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "prompt_tokens_details": {"cached_tokens": 5},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def counts(usage: Usage) -> tuple[int | None, int | None, int | None, int | None]:
    return usage.input, usage.cache_read, usage.output, usage.reasoning


def chat_stream(**more: Any) -> bytes:
    events = [
        *native_answers.chat_events("m"),
    ]
    last = {"object": "chat.completion.chunk", "choices": [], "usage": CHAT_USAGE, **more}
    return b"".join([*events[:-1], b"data: " + json.dumps(last).encode() + b"\n\n", events[-1]])


def sse(*documents: Any, end: bytes = b"\n\n") -> bytes:
    return b"".join(b"data: " + json.dumps(document).encode() + end for document in documents)


def shown(watching: Watcher, data: bytes, size: int) -> Usage:
    for start in range(0, len(data), size):
        watching.see(data[start : start + size])
    return watching.usage


class BodyTests(SynchronousTestCase):
    def test_everyFormatsCountsAreFoundHoweverTheBodyIsCut(self) -> None:
        for name in FORMATS:
            body = WHOLE[name]("m")
            for size in (1, 7, 64, len(body)):
                usage = shown(Watcher(name), body, size)
                self.assertEqual((usage.input, usage.output), (11, 7), f"{name} in pieces of {size}")

    def test_cachedAndReasoningTokensAreFound(self) -> None:
        body = json.dumps({"choices": [], "usage": CHAT_USAGE}).encode()
        self.assertEqual(counts(shown(Watcher("chat"), body, 99)), (11, 5, 7, 3))

    def test_whatLooksLikeCountsInsideAnAnswerIsNone(self) -> None:
        asked = {"usage": {"input_tokens": 999, "output_tokens": 999}}
        message = {
            "content": [{"type": "tool_use", "name": "usage", "input": asked}],
            "usage": {"input_tokens": 3, "output_tokens": 4},
        }
        for document in (message, dict(reversed(message.items()))):
            usage = shown(Watcher("anthropic"), json.dumps(document).encode(), 1000)
            self.assertEqual((usage.input, usage.output), (3, 4))

    def test_bodiesThatAreNoJsonOrSayNothingGiveNothing(self) -> None:
        for body in (
            b"",
            b"{",
            b"null",
            b"[]",
            b'"_tokens"',
            b'{"usage": 3, "x": {"_tokens": 1}}',
            b'{"usage": {"input_tokens": "many"}}',
            b'{"usage": {"input_tokens": -4}}',
            b'{"usage": {"input_tokens": 1e400}}',
            b'{"_tokens":' + b"[" * 100_000,
            b'\xff\xfe_tokens"',
        ):
            for name in FORMATS:
                self.assertEqual(shown(Watcher(name), body, 4096), Usage(), (name, body[:40]))

    def test_geminisStreamedArrayIsRead(self) -> None:
        first = {"usageMetadata": {"promptTokenCount": 9, "thoughtsTokenCount": 2}}
        last = {"usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4}}
        body = json.dumps([first, last]).encode()
        self.assertEqual(counts(shown(Watcher("gemini"), body, 10)), (9, None, 6, 2))

    def test_ofALongBodyTheTailIsEnough(self) -> None:
        document = {"content": [{"type": "text", "text": "x" * 3 * HELD}], "usage": {"input_tokens": 3}}
        body = json.dumps(document).encode()
        for size in (1000, 65536, len(body)):
            watching = Watcher("anthropic")
            self.assertEqual(shown(watching, body, size).input, 3, size)

    def test_whoeverAsksInTheMiddleChangesNothing(self) -> None:
        for name in FORMATS:
            body = WHOLE[name]("m")
            for cut in range(0, len(body), 7):
                watching = Watcher(name)
                watching.see(body[:cut])
                self.assertIn(watching.usage.input, (None, 11))
                watching.see(body[cut:])
                self.assertEqual((watching.usage.input, watching.usage.output), (11, 7), f"{name} cut at {cut}")


class StreamTests(SynchronousTestCase):
    def test_everyFormatsCountsAreFoundHoweverTheStreamIsCut(self) -> None:
        streams = {name: b"".join(events("m")) for name, events in EVENTS.items()}
        streams["chat"] = streams["completions"] = chat_stream()
        for name, data in streams.items():
            for form in (data, data.replace(b"\n", b"\r\n"), data.replace(b"\n", b"\r"), b"\xef\xbb\xbf" + data):
                for size in (1, 3, 50, 190, len(form)):
                    usage = shown(Watcher(name), form, size)
                    self.assertEqual((usage.input, usage.output), (11, 7), f"{name} in pieces of {size}")

    def test_theCountsOfAMessageAreMerged(self) -> None:
        start = {"input_tokens": 5, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 4, "output_tokens": 1}
        data = sse(
            {"type": "message_start", "message": {"usage": start}},
            {"type": "message_delta", "usage": {"output_tokens": 20}},
            {"type": "message_delta", "usage": {"output_tokens": 33, "input_tokens": None}},
        )
        usage = shown(Watcher("anthropic"), data, 100)
        self.assertEqual(counts(usage), (99, 90, 33, None))

    def test_theCountsAreKnownWhileTheStreamRuns(self) -> None:
        watching = Watcher("gemini")
        for output in (1, 2, 3):
            watching.see(sse({"usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": output}}))
            self.assertEqual(watching.usage.output, output)

    def test_chatChunksThatSayNullHideNothing(self) -> None:
        data = sse({"choices": [], "usage": None}, {"choices": [], "usage": CHAT_USAGE}, {"usage": None})
        self.assertEqual(counts(shown(Watcher("chat"), data, 1000)), (11, 5, 7, 3))

    def test_textAboutTokensIsNoCount(self) -> None:
        text = '{"usage": {"input_tokens": 999, "prompt_tokens": 9, "promptTokenCount": 9}}'
        data = sse({"type": "content_block_delta", "delta": {"partial_json": text}, "choices": [{"delta": text}]})
        for name in FORMATS:
            self.assertEqual(shown(Watcher(name), data, 1000), Usage())

    def test_anEventOfSeveralDataLinesIsRead(self) -> None:
        pretty = json.dumps({"usage": CHAT_USAGE}, indent=1).encode()
        data = b"id: 1\n" + b"".join(b"data: " + line + b"\n" for line in pretty.split(b"\n")) + b"\n"
        for form in (data, data.replace(b"\n", b"\r\n")):
            for size in (1, 40, 1000):
                self.assertEqual(counts(shown(Watcher("chat"), form, size)), (11, 5, 7, 3), size)

    def test_whatComesBeforeTheBeginningIsNothing(self) -> None:
        for before in (b"\n", b"\r\n\r\n", b"\xef\xbb\xbf", b"   "):
            for data in (WHOLE["gemini"]("m"), sse(*({"usageMetadata": {"promptTokenCount": 11}},))):
                watching = Watcher("gemini")
                watching.see(before)
                self.assertEqual(shown(watching, data, 9).input, 11)

    def test_theLastEventNeedsNoBlankLine(self) -> None:
        data = sse({"usage": CHAT_USAGE}).rstrip()
        self.assertEqual(shown(Watcher("chat"), data, 30).input, 11)

    def test_ofAnEventBeyondTheBoundTheTailIsEnough(self) -> None:
        response = {"output": "x" * 3 * HELD, "usage": {"input_tokens": 11, "output_tokens": 7}, "user": None}
        data = sse({"type": "response.completed", "response": response}) + sse({"type": "x"})
        for size in (1000, 65536, len(data)):
            usage = shown(Watcher("responses"), data, size)
            self.assertEqual((usage.input, usage.output), (11, 7), size)

    def test_gzipIsUnpackedAndABombIsNotFollowed(self) -> None:
        packed = gzip.compress(chat_stream())
        for size in (1, 50, len(packed)):
            self.assertEqual(shown(Watcher("chat"), packed, size).input, 11)
        bomb = zlib.compress(b"\n" * 64 * 1024 * 1024, wbits=31)
        self.assertEqual(shown(Watcher("chat"), bomb, len(bomb)), Usage())
        packed = chat_stream()
        for _ in range(2000):
            packed = gzip.compress(packed, 1)
        self.assertEqual(shown(Watcher("chat"), packed, len(packed)), Usage())
        self.assertEqual(shown(Watcher("chat"), b"no gzip", 3), Usage())

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=200), st.integers(1, 40), st.sampled_from(FORMATS), st.booleans())
    def test_noBytesMakeItRaise(self, data: bytes, size: int, name: str, stream: bool) -> None:
        shown(Watcher(name), b'data: {"a_tokens":1,"xTokenCount":2}\n' + data + b'"_tokens"\n\n' + data, size)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.integers(1, 60), max_size=40))
    def test_everyCutGivesTheSame(self, sizes: list[int]) -> None:
        data = chat_stream() + sse({"choices": [{"delta": {"content": "é"}}]}, end=b"\r\n\r\n")
        watching = Watcher("chat")
        at = 0
        for size in sizes:
            watching.see(data[at : at + size])
            at += size
        watching.see(data[at:])
        self.assertEqual(counts(watching.usage), (11, 5, 7, 3))
