"""Writes leave at once when nothing is before them, and together when one delivery made them."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.trial.unittest import SynchronousTestCase

from llmux.wire.sending import LARGE, TURN
from tests.sockets import Listener, Reactor, Socket, Transport


class Echo(Protocol):
    """Calls `received` for each delivery."""

    received: Callable[[bytes], None] = staticmethod(lambda data: None)

    def dataReceived(self, data: bytes) -> None:
        self.received(data)


class Producer:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class SendingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.protocol, self.transport, self.socket = self.connect()
        self.addCleanup(lambda: self.assertEqual((TURN.active, TURN.corked, TURN.calls), (False, [], [])))

    def connect(self) -> tuple[Echo, Transport, Socket]:
        protocol, skt = Echo(), Socket()
        transport = Transport(skt, protocol, ("127.0.0.1", 1), Listener(), 1, self.reactor)  # type: ignore[arg-type]  # doubles
        protocol.makeConnection(transport)
        return protocol, transport, skt

    def deliver(self, received: Callable[[bytes], None], data: bytes = b"x") -> Any:
        self.protocol.received = received
        self.socket.incoming.append(data)
        return self.transport.doRead()

    def write_then(self, end: Callable[[], None]) -> None:
        self.transport.write(b"a")
        end()

    def test_aProducerCanAskForAnotherTurn(self) -> None:
        producer = Producer()
        self.transport.registerProducer(producer, True)
        self.transport.resume_later()
        self.assertEqual((producer.told, self.reactor.writers), ([], {self.transport}))
        self.transport.doWrite()
        self.assertEqual((producer.told, self.reactor.writers), (["resume"], set()))

    def test_readsAreLargeOnlyWhileMuchIsWaiting(self) -> None:
        self.transport.longest_read = 4 * LARGE
        sizes: list[int] = []
        for size in (1, LARGE, LARGE, 4 * LARGE, LARGE - 1, 1):
            sizes.append(self.transport.bufferSize)
            self.deliver(lambda data: None, b"x" * size)
        self.assertEqual(sizes, [LARGE, LARGE, 4 * LARGE, 4 * LARGE, 4 * LARGE, LARGE])

    def test_aWriteLeavesAtOnce(self) -> None:
        self.transport.write(b"a")
        self.transport.writeSequence([b"b", b"c"])
        self.assertEqual((self.socket.sent, self.reactor.writers), ([b"a", b"bc"], set()))

    def test_whatTheKernelDoesNotTakeIsQueued(self) -> None:
        self.socket.room = 3
        self.transport.write(b"abcdef")
        self.transport.write(bytearray(b"gh"))  # type: ignore[arg-type]  # any buffer
        self.assertEqual((self.transport.queued(), self.reactor.writers), (5, {self.transport}))
        self.socket.room = 100
        self.transport.doWrite()
        self.assertEqual((self.socket.sent, self.transport.queued()), ([b"abc", b"defgh"], 0))
        self.assertEqual(self.reactor.writers, set())
        self.transport.write(b"i")
        self.assertEqual(self.socket.sent[-1], b"i")

    def test_aMutableBufferMayChangeAfterTheWrite(self) -> None:
        self.socket.room = 1
        data = bytearray(b"abc")
        self.transport.write(data)  # type: ignore[arg-type]  # any buffer
        data[:] = b"xyz"
        self.socket.room = 100
        self.transport.doWrite()
        self.assertEqual(b"".join(self.socket.sent), b"abc")

    def test_aBrokenSocketIsReportedByTheQueue(self) -> None:
        self.socket.broken = True
        self.transport.write(b"a")
        self.assertEqual(self.reactor.writers, {self.transport})
        self.assertIsInstance(self.transport.doWrite(), ConnectionLost)

    def test_oneDeliveryIsOneSend(self) -> None:
        def received(data: bytes) -> None:
            for piece in (b"a", b"b", b"c"):
                self.transport.write(piece)
            self.assertEqual(self.socket.sent, [])

        self.deliver(received)
        self.assertEqual(self.socket.sent, [b"abc"])
        self.transport.write(b"d")
        self.assertEqual(self.socket.sent, [b"abc", b"d"])

    def test_writesToOtherTransportsAreJoinedToo(self) -> None:
        _, other, skt = self.connect()

        def received(data: bytes) -> None:
            other.write(b"a")
            other.write(b"b")

        self.deliver(received)
        self.assertEqual(skt.sent, [b"ab"])

    def test_muchIsNotHeld(self) -> None:
        def received(data: bytes) -> None:
            self.transport.write(b"a")
            self.transport.write(b"b" * LARGE)
            self.assertEqual(len(b"".join(self.socket.sent)), LARGE + 1)
            self.transport.write(b"c" * LARGE)
            self.assertEqual(len(self.socket.sent), 2)

        self.deliver(received)
        self.assertEqual(len(self.socket.sent), 2)

    def test_aFullSocketPausesTheProducerAtTheEndOfTheTurn(self) -> None:
        producer = Producer()
        self.transport.registerProducer(producer, True)
        self.socket.room = 0
        self.deliver(lambda data: self.transport.write(b"a" * (LARGE + 1)))
        self.assertEqual(producer.told, ["pause"])
        self.socket.room = 1 << 20
        self.transport.doWrite()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_aPullProducerIsAskedAsEver(self) -> None:
        test = self

        class Pull(Producer):
            def resumeProducing(self) -> None:
                if len(self.told) < 3:
                    self.told.append("resume")
                    test.transport.write(b"%d" % len(self.told))
                else:
                    test.transport.unregisterProducer()

        producer = Pull()
        self.transport.registerProducer(producer, False)
        while self.reactor.writers:
            self.transport.doWrite()
        self.assertEqual((self.socket.sent, producer.told), ([b"1", b"2", b"3"], ["resume"] * 3))

    def test_callsAtTheEndOfTheTurnPrecedeTheSend(self) -> None:
        def received(data: bytes) -> None:
            TURN.at_end(self.reactor, lambda: self.transport.write(b"b"))
            TURN.at_end(self.reactor, lambda: TURN.at_end(self.reactor, lambda: self.transport.write(b"c")))
            self.transport.write(b"a")

        self.deliver(received)
        self.assertEqual((self.socket.sent, self.reactor.getDelayedCalls()), ([b"abc"], []))

    def test_aFailingCallDoesNotKeepTheOthersFromBeingCalled(self) -> None:
        def received(data: bytes) -> None:
            TURN.at_end(self.reactor, lambda: 1 // 0)  # type: ignore[arg-type]  # raises
            TURN.at_end(self.reactor, lambda: self.transport.write(b"b"))

        self.deliver(received)
        self.assertEqual(self.socket.sent, [b"b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_outsideATurnTheReactorCalls(self) -> None:
        TURN.at_end(self.reactor, lambda: self.transport.write(b"a"))
        self.assertEqual(self.socket.sent, [])
        self.reactor.advance(0)
        self.assertEqual(self.socket.sent, [b"a"])

    def test_aFailingDeliveryStillEndsItsTurn(self) -> None:
        def received(data: bytes) -> None:
            self.transport.write(b"a")
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.deliver, received)
        self.assertEqual(self.socket.sent, [b"a"])

    def test_theEndsOfAConnectionAreReported(self) -> None:
        self.assertIsNone(self.transport.doRead())
        self.assertIsInstance(self.deliver(lambda data: None, b""), ConnectionDone)
        self.assertIsInstance(self.deliver(lambda data: None, b"RST"), ConnectionLost)

    def test_closingInATurnSendsWhatWasWritten(self) -> None:
        self.deliver(lambda data: self.write_then(self.transport.loseConnection))
        self.assertEqual((self.socket.sent, self.reactor.writers), ([b"a"], {self.transport}))
        self.assertIsInstance(self.transport.doWrite(), ConnectionDone)

    def test_halfClosingInATurnSendsWhatWasWritten(self) -> None:
        self.deliver(lambda data: self.write_then(self.transport.loseWriteConnection))
        self.transport.doWrite()
        self.assertEqual(self.socket.sent, [b"a", b"<FIN>"])
        self.transport.write(b"b")
        self.assertEqual(self.socket.sent, [b"a", b"<FIN>"])

    def test_abortingInATurnSendsNothing(self) -> None:
        self.deliver(lambda data: self.write_then(self.transport.abortConnection))
        self.transport.write(b"b")
        self.reactor.advance(0)
        self.transport.write(b"c")
        self.assertEqual((self.socket.sent, self.transport.peer_closed()), ([], True))
        self.assertEqual(self.transport.unacknowledged(), 0)

    def test_uncorkSendsBeforeTheTurnEnds(self) -> None:
        def received(data: bytes) -> None:
            self.transport.write(b"a")
            self.transport.uncork()
            self.assertEqual(self.socket.sent, [b"a"])
            self.transport.write(b"b")

        self.deliver(received)
        self.transport.uncork()
        self.assertEqual(self.socket.sent, [b"a", b"b"])

    def test_peersThatSentFinOrRstAreKnown(self) -> None:
        self.assertFalse(self.transport.peer_closed())
        for state in (7, 8):
            self.socket.state = state
            self.assertTrue(self.transport.peer_closed())
        self.socket.broken = True
        self.assertFalse(self.transport.peer_closed())

    def test_bytesInTheKernelAreNotAcknowledged(self) -> None:
        self.patch(fcntl, "ioctl", lambda *args: (5).to_bytes(4, "little"))
        self.socket.room = 2
        self.transport.write(b"abc")
        self.assertEqual(self.transport.unacknowledged(), 6)

        def fail(*args: object) -> bytes:
            raise OSError

        self.patch(fcntl, "ioctl", fail)
        self.assertEqual(self.transport.unacknowledged(), 1)

    def test_theNamesOfTwistedThatAreReadExist(self) -> None:
        for name in ("_tempDataBuffer", "_tempDataLen", "dataBuffer", "offset", "_writeDisconnected", "_aborting"):
            self.assertTrue(hasattr(self.transport, name), name)
        self.assertTrue(callable(self.transport._maybePauseProducer))
