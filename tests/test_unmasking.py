"""Errors with a status of success get the head and the body that they should have had."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.headers import RawHeaders
from llmux.peers.disguise import disguised
from llmux.peers.tries import Answer
from llmux.peers.unmasking import unmasked
from llmux.wire.response_head import ResponseHead
from tests.calling import EVENTS, MODEL, Calling, PlayedExchange, Reading, providers

ERROR = b'{"error":{"message":"busy, pk-a-1234567890 said","code":529}}'
MASKED = b"pk-a-"


class Unmasking(SynchronousTestCase):
    """One answer of a provider."""

    def begin(self, headers: RawHeaders, length: int | None = None) -> Deferred[bytes]:
        """An answer with these headers, of which the beginning is known to be an error."""
        self.clock, self.played = Clock(), PlayedExchange()
        entry = {**providers("a")[0], "api-keys": ["pk-a-1234567890"]}
        calling = Calling({"providers": [entry]})
        credential = calling.credentials.take("a", MODEL)
        assert credential is not None
        provider, attempt = calling.generation.providers["a"], calling.call().decision.attempts[0]
        head = ResponseHead(200, b"OK", headers, length)
        self.answer = Answer(self.played, head, provider, credential, attempt, False)
        return Deferred.fromCoroutine(unmasked(self.answer, disguised(ERROR), self.clock))

    def relayed(self) -> Reading:
        """What the client reads."""
        reader = Reading()
        self.answer.exchange.relay(reader)
        return reader

    def test_aStreamsErrorBecomesAnAnswerOfItsOwn(self) -> None:
        body = self.successResultOf(self.begin([*EVENTS, (b"Cache-Control", b"no-cache"), (b"X-Request-Id", b"r")]))
        reader = self.relayed()
        self.assertEqual((reader.body, reader.outcome), (body, "end"))
        self.assertEqual(json.loads(body)["error"]["code"], 529)
        self.assertNotIn(MASKED, body)
        head = self.answer.head
        length = b"%d" % len(body)
        wanted = [(b"Content-Type", b"application/json"), (b"Content-Length", length), (b"X-Request-Id", b"r")]
        self.assertEqual((head.status, head.reason, head.headers, head.length), (529, b"", wanted, len(body)))
        self.assertTrue(self.answer.changed)
        self.assertEqual((self.played.events, self.clock.getDelayedCalls()), (["abort"], []))

    def test_aWholeBodyStaysAndItsStatusIsThatOfAllOfIt(self) -> None:
        headers = [(b"Content-Type", b"application/json")]
        reading = self.begin(headers, 99)
        self.played.data(ERROR[:20])
        self.assertNoResult(reading)
        self.played.data(ERROR[20:].replace(b"529", b"503"))
        self.played.end()
        body = self.successResultOf(reading)
        self.assertEqual((self.answer.head.status, self.answer.head.headers), (503, headers))
        self.assertEqual((self.relayed().body, len(body)), (body, len(ERROR)))
        self.assertNotIn(MASKED, body)
        self.assertTrue(self.answer.changed, "the key was masked")
        self.assertEqual(self.clock.getDelayedCalls(), [])
