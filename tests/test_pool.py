"""Which connections are used again, which requests are sent again, and how new connections come about."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from llmux.wire.client import OutgoingRequest, UpstreamFailure
from llmux.wire.origin import Origin
from llmux.wire.pool import Pool, is_quiet
from llmux.wire.sending import SendNow
from tests.upstreams import MemoryReactor, Sent, Taker, Upstream, request

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class ReuseTests(SynchronousTestCase):
    def test_aFinishedConnectionIsUsedAgain(self) -> None:
        upstream = Upstream()
        peer = upstream.pooled()
        self.assertEqual((upstream.pool.open, upstream.pool.idle), (1, 1))
        sent = upstream.send(b"POST", b"{}")
        self.assertEqual((upstream.pool.open, upstream.pool.idle, upstream.reactor.attempts), (1, 0, []))
        self.assertTrue(peer.take().endswith(b"{}"))
        peer.says(EMPTY)
        self.assertEqual((sent.taker.ends, upstream.pool.idle), (1, 1))

    def test_theYoungestIsUsedFirst(self) -> None:
        upstream = Upstream()
        _, one = upstream.exchange()
        _, two = upstream.exchange()
        one.says(EMPTY)
        two.says(EMPTY)
        one.take(), two.take()
        upstream.send()
        self.assertEqual((one.take(), two.take()[:3]), (b"", b"GET"))

    def test_originsDoNotShare(self) -> None:
        upstream = Upstream()
        upstream.pooled()
        other = OutgoingRequest(Origin("http", "other.test", 80), b"GET", b"/", [])
        upstream.pool.send(other)
        self.assertEqual([attempt[:2] for attempt in upstream.reactor.attempts], [("other.test", 80)])

    def test_aConnectionThatWasClosedIsNotUsed(self) -> None:
        for how in ("fin", "rst"):
            upstream = Upstream()
            peer = upstream.pooled()
            getattr(peer, how)()
            self.assertEqual((upstream.pool.open, upstream.pool.idle), (0, 0))
            upstream.send(b"POST", b"{}")
            self.assertEqual(len(upstream.reactor.attempts), 1)

    def test_aConnectionThatSpeaksUnaskedIsDropped(self) -> None:
        upstream = Upstream()
        peer = upstream.pooled()
        peer.says(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nPOISON")
        self.assertEqual((peer.aborted, upstream.pool.open, upstream.pool.idle), (True, 0, 0))

    def test_aConnectionThatWillCloseIsNotKept(self) -> None:
        for head in (b"HTTP/1.1 200 OK\r\nConnection: close", b"HTTP/1.0 200 OK"):
            upstream = Upstream()
            sent, peer = upstream.exchange()
            peer.says(head + b"\r\nContent-Length: 0\r\n\r\n")
            self.assertEqual((sent.taker.ends, peer.closed, upstream.pool.idle, upstream.pool.open), (1, True, 0, 0))

    def test_idleConnectionsAreClosedInTime(self) -> None:
        upstream = Upstream(idle_seconds=10)
        peer = upstream.pooled()
        upstream.reactor.wait(9)
        self.assertFalse(peer.closed)
        upstream.reactor.wait(2)
        self.assertEqual((peer.closed, upstream.pool.idle), (True, 0))
        self.assertEqual(upstream.reactor.getDelayedCalls(), [])

    def test_onlySoManyAreKept(self) -> None:
        upstream = Upstream(max_idle_per_origin=2)
        peers = [upstream.exchange()[1] for _ in range(3)]
        for peer in peers:
            peer.says(EMPTY)
        self.assertEqual([peer.closed for peer in peers], [True, False, False])
        self.assertEqual(upstream.pool.idle, 2)

    def test_closingTheIdleLeavesExchangesAlone(self) -> None:
        upstream = Upstream()
        idle = upstream.pooled()
        busy = upstream.send()
        self.assertFalse(idle.closed)
        _, other = upstream.exchange()
        other.says(EMPTY)
        upstream.pool.close_idle()
        self.assertTrue(other.closed)
        idle.says(EMPTY)
        self.assertEqual(busy.taker.ends, 1)

    def test_abortingTheRestLeavesNothing(self) -> None:
        upstream = Upstream()
        busy, peer = upstream.exchange()
        _, idle = upstream.exchange()
        waiting = upstream.send()
        idle.says(EMPTY)
        upstream.pool.abort()
        self.assertTrue(peer.aborted and idle.aborted)
        for sent in (busy, waiting):
            assert sent.failure is not None
            self.assertEqual(sent.failure.kind, "aborted")
        self.assertEqual((upstream.pool.open, upstream.pool.idle), (0, 0))
        self.assertEqual(upstream.reactor.getDelayedCalls(), [])


class ReplayTests(SynchronousTestCase):
    def die(self, method: bytes, body: Any = None, said: bytes = b"", fresh: bool = False) -> tuple[Upstream, Sent]:
        upstream = Upstream()
        if fresh:
            sent, peer = upstream.exchange(method, body)
        else:
            peer = upstream.pooled()
            sent = upstream.send(method, body)
        if said:
            peer.says(said)
        peer.rst()
        return upstream, sent

    def test_aGetThatDiesOnAPooledConnectionIsSentOnceMore(self) -> None:
        for method in (b"GET", b"HEAD", b"OPTIONS"):
            upstream, sent = self.die(method)
            self.assertIsNone(sent.failure)
            peer = upstream.reactor.accept()
            self.assertTrue(peer.take().startswith(method))
            peer.rst()
            assert sent.failure is not None
            self.assertEqual((sent.failure.kind, upstream.reactor.attempts), ("closed", []))

    def test_theSecondAttemptCanSucceed(self) -> None:
        upstream, sent = self.die(b"GET")
        upstream.reactor.accept().says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        self.assertEqual((sent.taker.content, sent.taker.ends), (b"ok", 1))

    def test_nothingElseIsSentAgain(self) -> None:
        for method, body, said, fresh in [
            (b"POST", b"{}", b"", False),
            (b"POST", None, b"", False),
            (b"DELETE", None, b"", False),
            (b"GET", b"{}", b"", False),
            (b"GET", None, b"H", False),
            (b"GET", None, b"HTTP/1.1 103 X\r\n\r\n", False),
            (b"GET", None, b"", True),
        ]:
            upstream, sent = self.die(method, body, said, fresh)
            assert sent.failure is not None, (method, said)
            self.assertEqual((sent.failure.kind, sent.failure.sent, upstream.reactor.attempts), ("closed", True, []))

    def test_anAbortedExchangeIsNotSentAgain(self) -> None:
        upstream = Upstream()
        peer = upstream.pooled()
        sent = upstream.send()
        sent.exchange.abort()
        peer.lost()
        self.assertEqual(upstream.reactor.attempts, [])


class ConnectTests(SynchronousTestCase):
    def test_refusalIsAFailureThatNamesNoHost(self) -> None:
        upstream = Upstream()
        sent = upstream.send()
        upstream.reactor.refuse(ConnectionRefusedError("upstream.test"))
        assert sent.failure is not None
        self.assertEqual(str(sent.failure), "connect: ConnectionRefusedError")
        self.assertEqual((sent.failure.sent, sent.failure.answered), (False, False))

    def test_anAttemptHasItsClock(self) -> None:
        upstream = Upstream()
        sent = upstream.send()
        upstream.reactor.wait(6)
        assert sent.failure is not None
        self.assertEqual((sent.failure.kind, len(upstream.reactor.stopped)), ("connect-timeout", 1))

    def test_theKernelsTimeoutIsOneToo(self) -> None:
        upstream = Upstream()
        sent = upstream.send()
        upstream.reactor.refuse(TimeoutError())
        assert sent.failure is not None
        self.assertEqual(sent.failure.kind, "connect-timeout")

    def test_abortingStopsTheAttempt(self) -> None:
        upstream = Upstream()
        sent = upstream.send()
        sent.exchange.abort()
        assert sent.failure is not None
        self.assertEqual((sent.failure.kind, len(upstream.reactor.stopped)), ("aborted", 1))


@implementer(IReactorPluggableNameResolver)
class NamingReactor(MemoryReactor):
    """A reactor whose resolver is the test."""

    def __init__(self) -> None:
        super().__init__()
        self.nameResolver = self
        self.asked: list[tuple[Any, str]] = []

    def installNameResolver(self, resolver: Any) -> Any:
        raise AssertionError

    def resolveHostName(self, receiver: Any, host: str, port: int = 0, *more: Any) -> None:
        self.asked.append((receiver, host))
        receiver.resolutionBegan(None)

    def answer(self, *hosts: str) -> None:
        receiver, _ = self.asked.pop(0)
        for host in hosts:
            kind = IPv6Address if ":" in host else IPv4Address
            receiver.addressResolved(kind("TCP", host, 80))
        receiver.resolutionComplete()

    @property
    def tried(self) -> list[str]:
        return [host for host, _, _ in self.attempts]


class NameTests(SynchronousTestCase):
    def begin(self, host: str = "upstream.test") -> tuple[NamingReactor, Sent]:
        reactor = NamingReactor()
        wanted = request()
        wanted.origin = Origin("http", host, 80)
        return reactor, Sent(Pool(reactor).send(wanted))

    def test_literalsAreNotLookedUp(self) -> None:
        for host in ("127.0.0.1", "::1"):
            reactor, _ = self.begin(host)
            self.assertEqual((reactor.asked, reactor.tried), ([], [host]))

    def test_aNameWithoutAddressIsAFailure(self) -> None:
        reactor, sent = self.begin()
        reactor.answer()
        assert sent.failure is not None
        self.assertEqual(str(sent.failure), "dns: the name has no address")

    def test_theNextAddressIsTriedWhenOneRefuses(self) -> None:
        reactor, sent = self.begin()
        reactor.answer("::1", "127.0.0.1")
        self.assertEqual(reactor.tried, ["::1"])
        reactor.refuse(ConnectionRefusedError())
        self.assertEqual(reactor.tried, ["127.0.0.1"])
        reactor.accept().says(EMPTY)
        self.assertEqual(sent.taker.ends, 1)

    def test_theNextAddressIsTriedBesideASlowOne(self) -> None:
        reactor, sent = self.begin()
        reactor.answer("::1", "127.0.0.1")
        reactor.advance(0.4)
        self.assertEqual(reactor.tried, ["::1", "127.0.0.1"])
        slow = reactor.attempts.pop(0)
        reactor.accept().says(EMPTY)
        self.assertEqual((sent.taker.ends, reactor.stopped), (1, [slow[2]]))
        self.assertIsNone(slow[2].buildProtocol(None))

    def test_allRefusingIsAFailure(self) -> None:
        reactor, sent = self.begin()
        reactor.answer("::1", "127.0.0.1")
        reactor.refuse(ConnectionRefusedError())
        self.assertIsNone(sent.failure)
        reactor.refuse(ConnectionRefusedError())
        assert sent.failure is not None
        self.assertEqual(sent.failure.kind, "connect")

    def test_theClockRunsDuringTheLookUp(self) -> None:
        reactor, sent = self.begin()
        reactor.wait(6)
        assert sent.failure is not None
        self.assertEqual(sent.failure.kind, "connect-timeout")
        reactor.answer("127.0.0.1")
        self.assertEqual(reactor.attempts, [])


class Scripted(Protocol):
    """Answers each request when its body is there with the number of bytes it had, and notes who is connected."""

    transport: Any

    def connectionMade(self) -> None:
        self.received = b""
        seen: list[Scripted] = cast(Any, self.factory).seen
        seen.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        head, blank, body = self.received.partition(b"\r\n\r\n")
        if blank and len(body) == int(head.rpartition(b"Content-Length: ")[2]):
            self.received = b""
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%08d" % len(body))


class LoopbackTests(TestCase):
    """Real sockets: our transports, the peek before reuse, and bodies that a socket does not take at once."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.factory = cast(Any, Factory.forProtocol(Scripted))
        self.factory.seen = []
        self.port = self.reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.origin = Origin("http", "127.0.0.1", cast(Any, self.port).getHost().port)
        self.pool = Pool(self.reactor)

    async def tearDown(self) -> None:  # type: ignore[override]  # trial waits for it
        self.pool.abort()
        for seen in self.factory.seen:
            seen.transport.abortConnection()
        await maybeDeferred(self.port.stopListening)
        await deferLater(self.reactor, 0.01)

    async def fetch(self, body: bytes | bytearray) -> bytes:
        exchange = self.pool.send(OutgoingRequest(self.origin, b"POST", b"/", [], body))
        await exchange.head
        done: Deferred[None] = Deferred()

        class Waiting(Taker):
            def end(self, trailers: Any) -> None:
                done.callback(None)

        taker = Waiting()
        exchange.relay(taker)
        await done
        return taker.content

    async def test_aRealConnectionIsKeptCheckedAndReplaced(self) -> None:
        self.assertEqual([await self.fetch(b"{}"), await self.fetch(b"[0]")], [b"00000002", b"00000003"])
        self.assertEqual((len(self.factory.seen), self.pool.open, self.pool.idle), (1, 1, 1))
        (connection,) = self.pool._connections
        self.assertIsInstance(connection.transport, SendNow)
        self.assertTrue(connection.transport.getTcpNoDelay())
        self.assertTrue(is_quiet(connection.transport))
        # The peer leaves, and the reactor has no chance to tell: the next request must not go there.
        self.factory.seen[0].transport.socket.shutdown(2)
        self.assertFalse(is_quiet(connection.transport))
        self.assertEqual(await self.fetch(b"{}"), b"00000002")
        self.assertEqual((len(self.factory.seen), self.pool.idle), (2, 1))

    async def test_unreadBytesAreNoticedBeforeReuse(self) -> None:
        await self.fetch(b"{}")
        self.factory.seen[0].transport.socket.send(b"POISON")
        self.assertEqual(await self.fetch(b"{}"), b"00000002")
        self.assertEqual((len(self.factory.seen), self.pool.open), (2, 1))

    async def test_aBodyOfMegabytesArrivesWhole(self) -> None:
        self.assertEqual(await self.fetch(bytearray(3_456_789)), b"03456789")
        self.assertEqual(self.pool.idle, 1)

    async def test_aRefusedConnectionIsAFailure(self) -> None:
        await maybeDeferred(self.port.stopListening)
        with self.assertRaises(UpstreamFailure) as caught:
            await self.pool.send(OutgoingRequest(self.origin, b"GET", b"/", [])).head
        self.assertEqual(str(caught.exception), "connect: ConnectionRefusedError")
