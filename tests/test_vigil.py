"""What a stream's end tells, and how long it was silent."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.web.vigil import Vigil, Watch, over_stream
from llmux.wire.request import Request


class FakeRequest:
    """As much of a request as a vigil touches."""

    def __init__(self) -> None:
        self.status, self.ended, self.gone = 200, False, False
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


def vigil(protocol: str, *pieces: bytes) -> Vigil:
    watching = Vigil(protocol, cast(Request, FakeRequest()))
    for piece in pieces:
        watching.see(piece)
    return watching


class EndTests(SynchronousTestCase):
    def test_aStreamThatSaysItFailedEndedInError(self) -> None:
        for protocol, last in (
            ("anthropic", b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'),
            ("chat", b'data: {"error":{"message":"x"}}\n\n'),
            ("responses", b'event: response.failed\ndata: {"type": "response.failed","response":{}}\n\n'),
            ("responses", b'event: error\ndata: {"type":"error","code":"server_error"}\n\n'),
            ("gemini", b'data: {"error":{"code":500}}\r\n\r\n'),
        ):
            watching = vigil(protocol, b"data: {}\n\n", last)
            self.assertTrue(watching.ended_in_error, protocol)
            self.assertEqual(watching.error, last.partition(b"data: ")[2].strip())
        self.assertEqual(vigil("chat", b'data: {"error":{}}\n\n', b"data: [DONE]\n\n").error, b"")

    def test_lastWordsAreFoundInPiecesOfAnySize(self) -> None:
        for protocol, last in (
            ("anthropic", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
            ("chat", b"data: [DONE]\n\n"),
            ("responses", b'data: {"type":"response.completed","response":{"output":"' + b"x" * 900 + b'"}}\n\n'),
            ("gemini", b'data: {"candidates":[{"finishReason":"STOP"}],"x":"' + b"x" * 900 + b'"}\r\n\r\n'),
        ):
            stream = b'data: {"text":"' + b"y" * 700 + b'"}\n\n'
            for size in (1, 2, 7, 60, 255, 256, 257, 5000):
                for text, whole in ((stream + last, True), (stream * 9, False)):
                    watching = vigil(protocol, *(text[at : at + size] for at in range(0, len(text), size)))
                    self.assertEqual(watching.ended_well, whole, f"{protocol}, {size}")

    def test_textAboutFailuresIsNone(self) -> None:
        text = b'"\\"type\\":\\"response.failed\\" error"'
        for protocol, last in (
            ("anthropic", b'event: message_stop\ndata: {"type":"message_stop"}\n\n'),
            ("chat", b"data: [DONE]\n\n"),
            ("responses", b'data: {"type":"response.completed"}\n\n'),
            ("gemini", b'data: {"candidates":[{"finishReason":"STOP"}]}\r\n\r\n'),
        ):
            watching = vigil(protocol, b'data: {"text":' + text + b"}\n\n", last)
            self.assertEqual((watching.ended_in_error, watching.ended_well), (False, True), protocol)


class StreamTests(SynchronousTestCase):
    def over(self, protocol: str, *headers: tuple[bytes, bytes], status: int = 200, **more: Any) -> bool:
        request = cast(Request, FakeRequest())
        return (
            over_stream(protocol, request, status, [(b"content-type", b"text/event-stream"), *headers], **more)
            is not None
        )

    def test_everyStreamOfAKnownFormatHasAVigil(self) -> None:
        self.assertTrue(self.over("anthropic"))
        self.assertFalse(self.over(""))
        self.assertFalse(self.over("chat", status=500))
        self.assertIsNone(
            over_stream("chat", cast(Request, FakeRequest()), 200, [(b"Content-Type", b"application/json")])
        )

    def test_aCompressedOneOnlyWhenItIsTranslated(self) -> None:
        gzip = (b"Content-Encoding", b"gzip")
        self.assertFalse(self.over("chat", gzip))
        self.assertTrue(self.over("chat", gzip, translated=True))


class SilenceTests(SynchronousTestCase):
    def watched(self, keepalive: float) -> tuple[Clock, Vigil, FakeRequest]:
        clock = Clock()
        request: Any = FakeRequest()
        watching = Vigil("chat", request)
        Watch(clock, lambda: keepalive).begin(watching)
        return clock, watching, request

    def test_theLongestSilenceIsRemembered(self) -> None:
        clock, watching, _ = self.watched(0)
        for silence in (3, 7, 2):
            watching.see(b"data: {}\n\n")
            clock.pump([1.0] * (silence + 1))
        self.assertEqual(watching.longest, 7)

    def test_signsOfLifeDoNotBreakASilence(self) -> None:
        clock, watching, request = self.watched(2)
        clock.pump([1.0] * 8)
        self.assertEqual(watching.longest, 7)
        self.assertEqual(len(request.written), 3)
