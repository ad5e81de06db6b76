"""`llmux.peers.redacted`: credentials that an error echoes, in whatever pieces."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial import unittest

from llmux.peers.redacted import Mask, RedactedExchange, redacted
from llmux.wire.outgoing import UpstreamFailure
from tests.upstreams import Taker

KEY = b"sk-sksecret"


class Fake:
    """An exchange that the test speaks for."""

    def __init__(self) -> None:
        self.head: Deferred[Any] = Deferred()
        self.receiver: Any = None
        self.calls: list[str] = []

    def relay(self, receiver: Any) -> None:
        self.receiver = receiver

    redirect = relay

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")

    def abort(self) -> None:
        self.calls.append("abort")


class RedactedTests(unittest.SynchronousTestCase):
    """Nothing of a key gets through, and nothing else is lost."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.sampled_from([KEY, b"other-key", b"s", b"sk-", b"k", b"sk-sksecre", b"x", b"t"]), max_size=12),
        st.data(),
    )
    def test_anyCutGivesTheSameMaskedText(self, parts: list[bytes], data: st.DataObject) -> None:
        text = b"".join(parts)
        expected = text.replace(KEY, b"*" * 11).replace(b"other-key", b"*" * 9)
        mask = Mask([KEY, b"other-key"])
        out, at = b"", 0
        while at < len(text):
            size = data.draw(st.integers(1, 15))
            out += mask.feed(text[at : at + size])
            at += size
        self.assertEqual(out + mask.close(), expected)

    def test_whatIsTooShortForAKeyIsNotLookedFor(self) -> None:
        exchange = Fake()
        self.assertIs(redacted(exchange, (None, "", "abc")), exchange)
        self.assertIsInstance(redacted(exchange, ("sk-secret",)), RedactedExchange)

    def test_whatWasHeldBackComesBeforeTheEnd(self) -> None:
        for end in ("end", "failed"):
            exchange, taker = Fake(), Taker()
            masked = RedactedExchange(exchange, [KEY])
            masked.relay(taker)
            exchange.receiver.data(b'{"key":"sk-')
            exchange.receiver.data(b"sksecret sk-sk")
            self.assertEqual(taker.content, b'{"key":"*********** ')
            exchange.receiver.end([]) if end == "end" else exchange.receiver.failed(UpstreamFailure("cut"))
            self.assertEqual(taker.content, b'{"key":"*********** sk-sk')
            self.assertEqual((taker.ends, taker.failure is None), (1, end == "end"))

    def test_theRestIsTheExchangesOwn(self) -> None:
        exchange, taker = Fake(), Taker()
        masked = RedactedExchange(exchange, [KEY])
        masked.relay(taker)
        masked.pause()
        masked.resume()
        masked.abort()
        masked.data(b"late")
        masked.end([])
        self.assertIs(masked.head, exchange.head)
        self.assertEqual((exchange.calls, taker.ends, taker.content), (["pause", "resume", "abort"], 0, b""))
