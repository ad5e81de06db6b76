"""A provider's answer on its way into the client's format, without sockets: long ones leave the reactor's turn."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.client import ClientCtx
from llmux.formats.jsontext import LONG_BODY
from llmux.formats.neutral import Request
from llmux.headers import RawHeaders
from llmux.peers.translation import Translation
from llmux.web.translated import MOST_NAMED, TranslatedAnswer, warned
from llmux.wire.relay import Outcome
from llmux.wire.response_head import ResponseHead
from tests import native_answers
from tests.calling import EVENTS, PlayedExchange
from tests.serving import Serving, post

JSON: RawHeaders = [(b"Content-Type", b"application/json")]
LONG = "long " * LONG_BODY


def whole(text: str) -> bytes:
    """A Chat answer that says `text`."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"id": "chatcmpl-1", "model": "m", "choices": [choice]}).encode()


class TranslatedAnswerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads: list[tuple[Deferred[Any], Callable[[], Any]]] = []
        self.outcomes: list[Outcome] = []

    def in_thread(self, work: Callable[[], Any]) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.threads.append((done, work))
        return done

    def begin(self, headers: RawHeaders, stream: bool = False) -> None:
        ctx = ClientCtx.of(Request("anthropic"), "alias", "chat", "m", 0, "f" * 24)
        translation = Translation("chat", "anthropic", ctx, stream, array=False, warnings=())
        self.serving = Serving()
        request = self.serving.receive(post(b"{}"))
        self.exchange = PlayedExchange()
        head = ResponseHead(200, b"", headers)
        limit = 64 * 1024 * 1024
        answer = TranslatedAnswer(request, self.exchange, head, translation, headers, [], limit, self.in_thread)
        answer.done.addCallback(self.outcomes.append)
        self.answer = answer

    def finish(self) -> None:
        """Let the threads do their work."""
        for done, work in self.threads:
            done.callback(work())

    def test_aShortAnswerIsTranslatedAtOnce(self) -> None:
        self.begin(JSON)
        self.exchange.data(whole("short"))
        self.exchange.end()
        self.assertIn(b'"text":"short"', self.serving.sent())
        self.assertEqual(self.threads, [])

    def test_aLongAnswerIsTranslatedInAThread(self) -> None:
        for headers, stream in ((JSON, False), (JSON, True), (EVENTS, False)):
            self.setUp()
            self.begin(headers, stream)
            streamed = b'data: %s\n\ndata: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
            data = whole(LONG)
            self.exchange.data(streamed % data.replace(b'"message"', b'"delta"') if headers is EVENTS else data)
            self.exchange.end()
            self.assertEqual((len(self.threads), self.outcomes, self.serving.sent()), (1, [], b""))
            self.finish()
            self.assertIn(LONG.encode(), self.serving.sent())
            self.assertTrue(self.outcomes[0].complete)

    def test_aLongStreamThatWasTranslatedAsItCameNeedsNone(self) -> None:
        self.begin(EVENTS, stream=True)
        first, last = [*native_answers.chat_events("m")][1], [*native_answers.chat_events("m")][-2:]
        for event in [*[first] * (1 + LONG_BODY // len(first)), *last]:
            self.exchange.data(event)
        self.exchange.end()
        self.assertEqual(self.threads, [])
        self.assertTrue(self.outcomes[0].complete)

    def test_whatTheAnswerLostIsLogged(self) -> None:
        reason = b'{"index":0,"delta":{"content":"x"},"finish_reason":"weird"}'
        for headers, stream, body in (
            (EVENTS, True, b'data: {"choices":[%s]}\n\ndata: [DONE]\n\n' % reason),
            (JSON, True, b'{"choices":[%s]}' % reason.replace(b"delta", b"message")),
            (JSON, False, b'{"choices":[%s]}' % reason.replace(b"delta", b"message")),
        ):
            events: list[Any] = []
            observer: Any = events.append
            globalLogPublisher.addObserver(observer)
            self.addCleanup(globalLogPublisher.removeObserver, observer)
            self.begin(headers, stream)
            self.exchange.data(body)
            self.exchange.end()
            told = [event["codes"] for event in events if "codes" in event]
            self.assertEqual(told, ["changed:stop_reason"], (stream, body))

    def test_aHeaderNamesNoMoreLossesThanClientsTake(self) -> None:
        codes = tuple(f"dropped:tools.{number}" for number in range(1000))
        (_, value), *others = warned(codes)
        self.assertEqual((len(value.split(b", ")), others), (MOST_NAMED, []))
        self.assertEqual(warned(()), [])

    def test_aClientThatLeavesMeanwhileEndsIt(self) -> None:
        self.begin(JSON)
        self.exchange.data(whole(LONG))
        self.exchange.end()
        self.serving.leave()
        self.assertTrue(self.outcomes[0].client_gone)
        self.finish()
        self.assertEqual(len(self.outcomes), 1)

    def test_aThreadThatFailsIsAnError(self) -> None:
        self.begin(JSON)
        self.exchange.data(whole(LONG))
        self.exchange.end()
        self.threads[0][0].errback(MemoryError())
        self.assertIn(b" 502 ", self.serving.sent())
        self.assertFalse(self.outcomes[0].complete)
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)

    def test_whatFailsAfterTheThreadIsAnErrorAsWell(self) -> None:
        def failing(method: Callable[..., object]) -> Callable[..., object]:
            left = [MemoryError()]

            def instead(*args: object) -> object:
                if left:
                    raise left.pop()
                return method(*args)

            return instead

        self.begin(JSON)
        self.exchange.data(whole(LONG))
        self.exchange.end()
        self.patch(self.answer, "_keep", failing(self.answer._keep))
        self.finish()
        self.assertIn(b" 502 ", self.serving.sent())
        self.assertEqual([outcome.complete for outcome in self.outcomes], [False])
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)
        # A stream that was made of one document has begun by then, and is cut.
        self.setUp()
        self.begin(JSON, stream=True)
        self.exchange.data(whole(LONG))
        self.exchange.end()
        self.patch(self.answer, "_tell", failing(self.answer._tell))
        self.finish()
        sent = self.serving.sent()
        self.assertEqual((b" 200 " in sent, sent.endswith(b"0\r\n\r\n")), (True, False))
        self.assertEqual([outcome.complete for outcome in self.outcomes], [False])
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)
