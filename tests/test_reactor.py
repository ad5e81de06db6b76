"""Our transports are read without detours, everything else as Twisted does it, and nobody's fault ends the loop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from llmux.wire.reactor import MOST_AT_ONCE, StreamReactor
from tests.sockets import Listener, Transport

_LOST = Failure(ConnectionLost())
_SERVED = """
import sys
{before}
from llmux.daemon.tap import Options, makeService
options = Options()
options.parseOptions(["--config", sys.argv[1]])
makeService(options)
from twisted.internet import reactor
print(type(reactor).__name__)
"""
_INSTALLED = """
import sys
{before}
from llmux.wire.reactor import install
install()
from twisted.internet import reactor
print(type(reactor).__name__)
"""


class Reader(Protocol):
    """Keeps what comes, and does something with it."""

    def __init__(self, act: Callable[[bytes], object]) -> None:
        self.act = act
        self.ends: list[Failure] = []

    def dataReceived(self, data: bytes) -> None:
        self.act(data)

    def connectionLost(self, reason: Failure = _LOST) -> None:
        self.ends.append(reason)


class ReactorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = StreamReactor()
        self.addCleanup(self.reactor._poller.close)
        for waker in self.reactor._internalReaders:
            self.addCleanup(waker.connectionLost, None)
        self.received: list[bytes] = []

    def connect(self, act: Callable[[bytes], object] | None = None) -> tuple[Transport, Reader, socket.socket]:
        """A transport that the reactor reads, its protocol, and the socket at the other end."""
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        near.setblocking(False)
        protocol = Reader(self.received.append if act is None else act)
        transport = Transport(near, protocol, ("127.0.0.1", 1), Listener(), 1, self.reactor)  # type: ignore[arg-type]  # doubles
        protocol.makeConnection(transport)
        transport.startReading()
        return transport, protocol, far

    def turn(self) -> None:
        """One iteration, and the calls that it left for the next one."""
        self.reactor.doIteration(0)
        self.reactor.runUntilCurrent()

    def test_whatComesIsRead(self) -> None:
        _, _, far = self.connect()
        far.send(b"hello")
        self.turn()
        self.assertEqual(self.received, [b"hello"])

    def test_itsLoggingContextIsNotSetUp(self) -> None:
        transport, _, far = self.connect()
        transport.logPrefix = lambda: self.fail("nobody needs it")  # type: ignore[method-assign]  # a double
        far.send(b"hello")
        self.turn()
        self.assertEqual(self.received, [b"hello"])

    def test_anEndIsAnEnd(self) -> None:
        _, protocol, far = self.connect()
        far.send(b"last")
        far.close()
        for _ in range(3):
            self.turn()
        self.assertEqual((self.received, len(protocol.ends)), ([b"last"], 1))
        self.assertEqual(self.reactor.getReaders(), list(self.reactor._internalReaders))

    def test_aFaultIsLoggedAndCostsOneConnection(self) -> None:
        def fail(data: bytes) -> None:
            raise ZeroDivisionError

        _, faulty, first = self.connect(fail)
        _, sound, second = self.connect()
        first.send(b"1")
        second.send(b"2")
        self.turn()
        self.assertEqual((self.received, len(faulty.ends), len(sound.ends)), ([b"2"], 1, 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_aConnectionClosedByTheEventBeforeIsLeftAlone(self) -> None:
        ends: list[Transport] = []

        def close_the_other(data: bytes) -> None:
            self.received.append(data)
            for transport in ends:
                self.reactor.removeAll()
                transport.socket.close()

        one, _, first = self.connect(close_the_other)
        other, _, second = self.connect(close_the_other)
        ends += [one, other]
        first.send(b"x")
        second.send(b"x")
        self.turn()
        self.assertEqual(self.received, [b"x"])

    def test_writingGoesTwistedsWay(self) -> None:
        transport, _, far = self.connect()
        sent = b"x" * 4_000_000
        transport.write(sent)
        self.assertGreater(transport.queued(), 0)
        taken = 0
        while taken < len(sent):
            taken += len(far.recv(1 << 20))
            self.turn()
        self.assertEqual((taken, transport.queued()), (len(sent), 0))

    def test_otherDescriptorsAreReadAsWell(self) -> None:
        self.reactor.callFromThread(self.received.append, b"from a thread")
        self.reactor.wakeUp()
        self.turn()
        self.assertEqual(self.received, [b"from a thread"])

    def test_aSignalWhileItWaitsIsNoFault(self) -> None:
        asked: list[int] = []

        class Interrupted:
            def poll(self, timeout: float, most: int) -> list[Any]:
                asked.append(most)
                raise InterruptedError

        poller, self.reactor._poller = self.reactor._poller, Interrupted()
        self.addCleanup(setattr, self.reactor, "_poller", poller)
        self.reactor.doIteration(None)
        self.assertLessEqual(asked, [MOST_AT_ONCE])


class InstallTests(SynchronousTestCase):
    def chosen(self, before: str = "", script: str = _INSTALLED) -> str:
        """What the reactor of a new process is."""
        folder = Path(self.mktemp())
        folder.mkdir()
        config = folder / "llmux.yaml"
        config.write_text("listen: tcp:0:interface=127.0.0.1\nproviders: [{name: demo, kind: demo}]\n")
        command = [sys.executable, "-c", script.format(before=before), str(config)]
        environ = {**os.environ, "XDG_STATE_HOME": str(folder.absolute())}
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environ, check=True)
        return done.stdout.strip()

    def test_theServiceChoosesItWhereThereIsEpoll(self) -> None:
        self.assertEqual(self.chosen(script=_SERVED), "StreamReactor")
        self.assertEqual(self.chosen("import select; del select.EPOLLIN, select.epoll", _SERVED), "PollReactor")

    def test_itIsTheReactorOfAProcessThatHasNone(self) -> None:
        self.assertEqual(self.chosen(), "StreamReactor")

    def test_whoeverChoseAnotherKeepsIt(self) -> None:
        self.assertEqual(self.chosen("from twisted.internet import pollreactor; pollreactor.install()"), "PollReactor")
