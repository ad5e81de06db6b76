"""Two connections joined after an upgrade."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.headers import RawHeaders
from llmux.wire.tunnel import Tunnel, TunnelEnded, join
from tests.upstreams import Peer, Sent, Upstream

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Client:
    """The server's side of an upgrade."""

    def __init__(self, sent_early: bytes = b"") -> None:
        self.peer = Peer()
        self.early = sent_early
        self.head: tuple[int, RawHeaders] | None = None

    def take_over(self, status: int, headers: RawHeaders) -> tuple[Any, bytes]:
        self.head = (status, headers)
        return self.peer, self.early

    def set_tunnel(self, tunnel: Any) -> None:
        self.peer.protocol = tunnel


class TunnelTests(SynchronousTestCase):
    def upgraded(self, behind: bytes = b"") -> tuple[Sent, Peer, Upstream]:
        upstream = Upstream()
        sent, peer = upstream.exchange(upgrade=b"websocket", relay=False)
        peer.says(SWITCH + behind)
        peer.take()
        return sent, peer, upstream

    def joined(self, early: bytes = b"", behind: bytes = b"", idle: float = 0) -> tuple[Tunnel, Peer, Peer, Clock]:
        sent, peer, _ = self.upgraded(behind)
        client, clock = Client(early), Clock()
        assert sent.head is not None
        tunnel = join(client, sent.exchange, sent.head.headers, clock, idle)
        self.assertEqual(client.head, (101, [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]))
        return tunnel, client.peer, peer, clock

    def test_bytesGoBothWays(self) -> None:
        _, client, upstream, _ = self.joined()
        client.says(b"GET / HTTP/1.1\r\n\r\n")
        upstream.says(b"\x81\x02hi")
        self.assertEqual((upstream.take(), client.take()), (b"GET / HTTP/1.1\r\n\r\n", b"\x81\x02hi"))

    def test_whatCameWithTheHeadsIsDelivered(self) -> None:
        _, client, upstream, _ = self.joined(b"early", b"HI")
        self.assertEqual((upstream.take(), client.take()), (b"early", b"HI"))

    def test_whatHappensBeforeTheTunnelIsKept(self) -> None:
        sent, peer, _ = self.upgraded(b"a")
        peer.says(b"b")
        transport, received = sent.exchange.take_over()
        self.assertEqual(received, b"ab")
        peer.says(b"c")
        peer.protocol.readConnectionLost()
        end = Peer()
        tunnel = Tunnel(end, transport, Clock())  # type: ignore[arg-type]  # a transport as far as needed
        sent.exchange.set_tunnel(tunnel.upstream)
        self.assertEqual((end.take(), end.half_closed), (b"c", True))

    def test_aConnectionLostBeforeTheTunnelEndsIt(self) -> None:
        sent, peer, _ = self.upgraded()
        transport, _ = sent.exchange.take_over()
        peer.rst()
        end = Peer()
        tunnel = Tunnel(end, transport, Clock())  # type: ignore[arg-type]  # a transport as far as needed
        sent.exchange.set_tunnel(tunnel.upstream)
        self.assertTrue(end.closed)

    def test_anUnclaimedUpgradeIsBounded(self) -> None:
        sent, peer, _ = self.upgraded()
        peer.says(b"x" * 70000)
        self.assertTrue(peer.paused)
        transport, received = sent.exchange.take_over()
        self.assertEqual(len(received), 70000)
        sent.exchange.set_tunnel(Tunnel(Peer(), transport, Clock()).upstream)  # type: ignore[arg-type]  # as above
        self.assertFalse(peer.paused)

    def test_anUnclaimedUpgradeCanBeAborted(self) -> None:
        sent, peer, upstream = self.upgraded()
        sent.exchange.abort()
        self.assertEqual((peer.aborted, upstream.pool.open), (True, 0))

    def test_noClockOfTheExchangeRunsInATunnel(self) -> None:
        _, peer, upstream = self.upgraded()
        upstream.reactor.wait(100)
        self.assertFalse(peer.down)
        self.assertEqual(upstream.reactor.getDelayedCalls(), [])

    def test_onlyAnUpgradedConnectionIsHandedOver(self) -> None:
        sent, peer = Upstream().exchange(upgrade=b"websocket")
        with self.assertRaises(RuntimeError):
            sent.exchange.take_over()
        peer.says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual(sent.taker.content, b"ok")
        with self.assertRaises(RuntimeError):
            sent.exchange.take_over()

    def test_aClientThatCannotBeTakenOverAbortsTheUpstream(self) -> None:
        class Refusing(Client):
            def take_over(self, status: int, headers: RawHeaders) -> tuple[Any, bytes]:
                raise RuntimeError

        sent, peer, _ = self.upgraded()
        with self.assertRaises(RuntimeError):
            join(Refusing(), sent.exchange, [], Clock())
        self.assertTrue(peer.aborted)
        with self.assertRaises(RuntimeError):
            sent.exchange.set_tunnel(Tunnel(Peer(), Peer(), Clock()).upstream)  # type: ignore[arg-type]  # as above

    def test_aFullSidePausesTheOther(self) -> None:
        _, client, upstream, _ = self.joined()
        assert client.producer is not None and upstream.producer is not None
        client.producer.pauseProducing()
        self.assertEqual((upstream.paused, client.paused), (True, False))
        client.producer.resumeProducing()
        upstream.producer.pauseProducing()
        self.assertEqual((upstream.paused, client.paused), (False, True))

    def test_aHalfCloseTravels(self) -> None:
        tunnel, client, upstream, _ = self.joined()
        client.says(b"last")
        client.protocol.readConnectionLost()
        self.assertEqual((upstream.take(), upstream.half_closed, upstream.closed), (b"last", True, False))
        upstream.says(b"answer")
        self.assertEqual((client.take(), client.closed), (b"answer", False))
        upstream.protocol.readConnectionLost()
        self.assertTrue(client.closed and upstream.closed)
        client.lost(ConnectionDone())
        upstream.lost(ConnectionDone())
        self.assertEqual(self.successResultOf(tunnel.done), TunnelEnded(4, 6))

    def test_aHalfClosedSideIsNotHeldUpByItsProducer(self) -> None:
        _, client, upstream, _ = self.joined()
        client.protocol.readConnectionLost()
        self.assertIsNone(upstream.producer)

    def test_aLostSideClosesTheOther(self) -> None:
        for first, second in ((0, 1), (1, 0)):
            tunnel, *ends, clock = self.joined()
            ends[first].rst()
            self.assertTrue(ends[second].closed)
            self.assertNoResult(tunnel.done)
            ends[second].lost()
            self.successResultOf(tunnel.done)
            self.assertEqual(clock.getDelayedCalls(), [])

    def test_aSideThatTakesNothingMoreIsCutInTheEnd(self) -> None:
        _, client, upstream, clock = self.joined()
        upstream.rst()
        clock.advance(31)
        self.assertTrue(client.aborted)

    def test_anIdleTunnelEndsIfThatIsWanted(self) -> None:
        _, client, upstream, clock = self.joined(idle=10)
        clock.advance(8)
        client.says(b"x")
        clock.advance(8)
        self.assertFalse(client.down)
        clock.advance(12)
        self.assertTrue(client.aborted and upstream.aborted)

    def test_withoutALimitItStaysForEver(self) -> None:
        _, client, upstream, clock = self.joined()
        clock.advance(100_000)
        self.assertFalse(client.down or upstream.down)

    def test_abortingThePoolEndsItsTunnels(self) -> None:
        sent, peer, upstream = self.upgraded()
        client = Client()
        tunnel = join(client, sent.exchange, [], Clock())
        upstream.pool.abort()
        self.assertTrue(peer.aborted)
        peer.lost()
        self.assertTrue(client.peer.closed)
        client.peer.lost()
        self.successResultOf(tunnel.done)

    def test_cancellingCutsBoth(self) -> None:
        tunnel, client, upstream, _ = self.joined()
        tunnel.abort()
        self.assertTrue(client.aborted and upstream.aborted)
