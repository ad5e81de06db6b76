"""An answer on its way to the client: whole, transformed, cut, abandoned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.headers import RawHeaders
from llmux.wire.client import UpstreamFailure
from llmux.wire.relay import Outcome, Relay
from tests.upstreams import Peer, Upstream

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Client:
    """The server's side of a request whose head is out."""

    def __init__(self) -> None:
        self.gone = False
        self.sent = b""
        self.finished: RawHeaders | None = None
        self.broken = 0
        self.source: Any = None
        self._callbacks: list[Callable[[], None]] = []

    def write(self, data: bytes) -> None:
        assert data and self.finished is None and not self.broken
        self.sent += data

    def finish(self, trailers: RawHeaders = ()) -> None:  # type: ignore[assignment]  # as the request has it
        assert self.finished is None and not self.broken
        self.finished = list(trailers)

    def break_off(self) -> None:
        self.broken += 1

    def when_gone(self, callback: Callable[[], None]) -> None:
        if self.gone:
            callback()
        else:
            self._callbacks.append(callback)

    def flow(self, source: Any) -> None:
        self.source = source

    def leave(self) -> None:
        self.gone = True
        for callback in self._callbacks:
            callback()


class Upper:
    def __init__(self) -> None:
        self.closed = False

    def feed(self, data: bytes) -> bytes:
        if b"!" in data:
            raise ZeroDivisionError
        return data.upper().replace(b"NOTHING", b"")

    def close(self) -> bytes:
        self.closed = True
        return b".END"


class RelayTests(SynchronousTestCase):
    def begin(self, client: Client | None = None, **more: Any) -> tuple[Relay, Client, Peer]:
        sent, peer = Upstream().exchange(relay=False)
        peer.says(CHUNKED)
        client = client or Client()
        return Relay(sent.exchange, client, **more), client, peer

    def outcome(self, relay: Relay) -> Outcome:
        return self.successResultOf(relay.done)

    def test_anEndThatNobodyBelievesIsACut(self) -> None:
        for whole in (True, False):
            relay, client, peer = self.begin(whole=lambda whole=whole: whole)
            peer.says(b"5\r\nhello\r\n0\r\n\r\n")
            outcome = self.outcome(relay)
            self.assertEqual(client.sent, b"hello")
            self.assertEqual(
                (outcome.complete, client.finished, client.broken), (True, [], 0) if whole else (False, None, 1)
            )
            self.assertEqual(outcome.failure is None, whole)

    def test_aWholeAnswerIsFinished(self) -> None:
        relay, client, peer = self.begin()
        peer.says(b"5\r\nhello\r\n")
        self.assertEqual(client.sent, b"hello")
        self.assertNoResult(relay.done)
        peer.says(b"0\r\n\r\n")
        self.assertEqual((client.sent, client.finished, client.broken), (b"hello", [], 0))
        self.assertEqual(self.outcome(relay), Outcome(True, False, None, 5))
        self.assertIsNone(client.source)

    def test_trailersArePassedOnUnlessTheyCouldBeMistaken(self) -> None:
        _, client, peer = self.begin()
        peer.says(b"0\r\nX-T: v\r\nSet-Cookie: evil=1\r\nContent-Length: 99\r\n\r\n")
        self.assertEqual(client.finished, [(b"X-T", b"v")])

    def test_aTransformSeesAllAndHasTheLastWord(self) -> None:
        relay, client, peer = self.begin(transform=Upper())
        peer.says(b"5\r\nhello\r\n7\r\nnothing\r\n")
        peer.says(b"7\r\nnothing\r\n0\r\n\r\n")
        self.assertEqual((client.sent, client.finished), (b"HELLO.END", []))
        self.assertEqual(self.outcome(relay).bytes, 19)

    def test_aCutAnswerIsCutForTheClient(self) -> None:
        transform = Upper()
        relay, client, peer = self.begin(transform=transform)
        peer.says(b"5\r\nhello\r\n")
        peer.fin()
        self.assertEqual((client.sent, client.finished, client.broken), (b"HELLO", None, 1))
        outcome = self.outcome(relay)
        assert outcome.failure is not None
        self.assertEqual((outcome.complete, outcome.client_gone, outcome.failure.kind), (False, False, "cut"))
        self.assertFalse(transform.closed)

    def test_lastWordsComeBeforeTheCut(self) -> None:
        relay, client, peer = self.begin(last_words=lambda failure: b"event: " + failure.kind.encode())
        peer.says(b"zz")
        self.assertEqual((client.sent, client.broken), (b"event: protocol", 1))
        self.assertFalse(self.outcome(relay).complete)

    def test_aClientThatLeavesAbortsTheUpstreamAtOnce(self) -> None:
        relay, client, peer = self.begin()
        peer.says(b"5\r\nhello\r\n")
        client.leave()
        self.assertTrue(peer.aborted)
        self.assertEqual(self.outcome(relay), Outcome(False, True, None, 5))
        peer.lost()
        self.assertEqual((client.finished, client.broken), (None, 0))

    def test_aClientThatHasLeftIsNotServed(self) -> None:
        client = Client()
        client.gone = True
        relay, client, peer = self.begin(client)
        self.assertTrue(peer.aborted)
        self.assertTrue(self.outcome(relay).client_gone)

    def test_aClientThatLeavesAfterTheEndChangesNothing(self) -> None:
        relay, client, peer = self.begin()
        peer.says(b"0\r\n\r\n")
        client.leave()
        self.assertFalse(peer.down)
        self.assertTrue(self.outcome(relay).complete)

    def test_aLostUploadIsTheClientsDoing(self) -> None:
        relay, client, _ = self.begin()
        relay.failed(UpstreamFailure("aborted"))
        self.assertEqual(self.outcome(relay), Outcome(False, True, None, 0))
        self.assertEqual(client.broken, 1)

    def test_aBrokenTransformBreaksTheAnswer(self) -> None:
        relay, client, peer = self.begin(transform=Upper())
        peer.says(b"5\r\nhello\r\n")
        peer.says(b"1\r\n!\r\n0\r\n\r\n")
        self.assertEqual((client.sent, client.finished, client.broken, peer.aborted), (b"HELLO", None, 1, True))
        outcome = self.outcome(relay)
        assert outcome.failure is not None
        self.assertFalse(outcome.complete)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_aBrokenWatchIsNotNoticed(self) -> None:
        seen: list[bytes] = []

        def watch(data: bytes) -> None:
            seen.append(data)
            raise ZeroDivisionError

        relay, client, peer = self.begin(watch=watch, transform=Upper())
        peer.says(b"5\r\nhello\r\n")
        peer.says(b"5\r\nworld\r\n0\r\n\r\n")
        self.assertEqual((seen, client.sent), ([b"hello"], b"HELLOWORLD.END"))
        self.assertTrue(self.outcome(relay).complete)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_anAnswerThatDoesNotFitItsAnnouncedLengthIsNotComplete(self) -> None:
        class Counting(Client):
            """Cuts the answer itself, as the server's request does."""

            def write(self, data: bytes) -> None:
                if b"END" in data or b"WORDS" in data:
                    self.leave()
                else:
                    super().write(data)

            def finish(self, trailers: RawHeaders = ()) -> None:  # type: ignore[assignment]  # as the request has it
                self.leave()

        cases: list[tuple[dict[str, Any], bytes]] = [
            ({"transform": Upper()}, b"0\r\n\r\n"),
            ({}, b"0\r\n\r\n"),
            ({"last_words": lambda failure: b"WORDS"}, b"zz"),
        ]
        for more, said in cases:
            relay, client, peer = self.begin(Counting(), **more)
            peer.says(b"5\r\nhello\r\n")
            peer.says(said)
            self.assertEqual(self.outcome(relay), Outcome(False, True, None, 5))
            self.assertEqual((client.finished, client.broken), (None, 0))

    def test_aTransformThatCannotCloseBreaksTheAnswer(self) -> None:
        class Unclosable(Upper):
            def close(self) -> bytes:
                raise ZeroDivisionError

        relay, client, peer = self.begin(transform=Unclosable())
        peer.says(b"5\r\nhello\r\n0\r\n\r\n")
        self.assertEqual((client.finished, client.broken, self.outcome(relay).complete), (None, 1, False))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_brokenLastWordsAreLeftOut(self) -> None:
        def last_words(failure: UpstreamFailure) -> bytes:
            raise ZeroDivisionError

        relay, client, peer = self.begin(last_words=last_words)
        peer.rst()
        self.assertEqual((client.sent, client.broken, self.outcome(relay).complete), (b"", 1, False))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_aSlowClientPausesTheUpstream(self) -> None:
        _, client, peer = self.begin()
        client.source.pause()
        self.assertTrue(peer.paused)
        client.source.resume()
        self.assertFalse(peer.paused)
