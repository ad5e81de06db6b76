"""Private names of Twisted that llmux reads or overrides: an upgrade that moves one of them fails here first.

`LISTED` is the one place that names them. What each must be is tested below, and that there are no others.
"""

from __future__ import annotations

import ast
import inspect
import re
import select
import socket
from pathlib import Path
from typing import Any

from klein import Klein
from twisted.internet import abstract, epollreactor, posixbase, tcp
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.protocols import tls
from twisted.trial.unittest import SynchronousTestCase

import llmux
from llmux.wire.listening import ListeningPort, ServerConnection

LISTED = {
    "_aborting",
    "_disconnectSelectable",
    "_doReadOrWrite",
    "_fromListeningDescriptor",
    "_maybePauseProducer",
    "_poller",
    "_selectables",
    "_shouldShutdown",
    "_tempDataBuffer",
    "_tempDataLen",
    "_writeDisconnected",
}
TWISTED = "\n".join(
    inspect.getsource(module) for module in (abstract, epollreactor.EPollReactor, posixbase.PosixReactorBase, tcp, tls)
)
_NEAR_TWISTED = re.compile(r"from twisted\.internet\.(?:tcp|epollreactor) import")
WIRE = Path(llmux.__file__).parent / "wire"


def private_names(path: Path) -> set[str]:
    """The private attributes that a module uses or defines, as far as Twisted's transports have them as well."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    found = {name for name in names - own if name.startswith("_") and not name.startswith("__")}
    return {name for name in found if f".{name}" in TWISTED or f"def {name}(" in TWISTED or f"    {name} = " in TWISTED}


def still_reactor() -> Any:
    """A reactor that never reads or writes by itself."""
    clock: Any = Clock()
    clock.addReader = clock.addWriter = clock.removeReader = clock.removeWriter = lambda descriptor: None
    return clock


class Listed(SynchronousTestCase):
    def test_noOtherPrivateNameOfItsTransportsIsRead(self) -> None:
        modules = [path for path in WIRE.glob("*.py") if _NEAR_TWISTED.search(path.read_text(encoding="utf-8"))]
        self.assertGreater(len(modules), 2)
        self.assertEqual({name for path in modules for name in private_names(path)} - LISTED, set())

    def test_nothingIsImportedFromAPrivateModule(self) -> None:
        private = []
        for path in WIRE.parent.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("twisted", "klein"):
                    names = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                    private += [f"{path.name}: {name}" for name in names if name.startswith("_")]
        self.assertEqual(private, [])


class ConnectionTests(SynchronousTestCase):
    """The queue of `twisted.internet.tcp.Connection`, which SendNow goes around."""

    def setUp(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)
        self.connection: Any = tcp.Connection(self.near, Protocol(), still_reactor())
        self.connection.connected = True

    def test_aNewConnectionHasNothingQueued(self) -> None:
        connection = self.connection
        self.assertEqual((connection._tempDataBuffer, connection._tempDataLen), ([], 0))
        self.assertEqual((bytes(connection.dataBuffer), connection.offset), (b"", 0))
        self.assertEqual((connection._writeDisconnected, connection._aborting), (False, False))
        self.assertEqual((connection.TLS, connection.producer, connection.streamingProducer), (False, None, False))

    def test_whatIsWrittenWaitsInTheTemporaryBuffer(self) -> None:
        self.connection.write(b"abc")
        self.connection.write(b"de")
        self.assertEqual((self.connection._tempDataBuffer, self.connection._tempDataLen), ([b"abc", b"de"], 5))
        self.assertEqual(bytes(self.connection.dataBuffer), b"")

    def test_whatIsPutIntoItByHandIsSentInOrder(self) -> None:
        self.connection._tempDataBuffer.append(b"first ")
        self.connection._tempDataLen += 6
        self.connection.write(b"second")
        self.connection.doWrite()
        self.assertEqual(self.far.recv(100), b"first second")
        self.assertEqual((self.connection._tempDataLen, len(self.connection.dataBuffer)), (0, self.connection.offset))

    def test_theProducerIsPausedWhenTheQueueIsLong(self) -> None:
        paused: list[bool] = []

        class Producer:
            def pauseProducing(self) -> None:
                paused.append(True)

            def resumeProducing(self) -> None:
                """Nothing to go on with."""

            def stopProducing(self) -> None:
                """Nothing to stop."""

        self.connection.registerProducer(Producer(), True)
        self.connection._tempDataLen = self.connection.bufferSize + 1
        self.connection._maybePauseProducer()
        self.assertEqual(paused, [True])

    def test_aHalfClosedOrAbortedConnectionSaysSo(self) -> None:
        self.connection.loseWriteConnection()
        self.connection.doWrite()
        self.assertTrue(self.connection._writeDisconnected or self.connection._writeDisconnecting)
        self.connection.abortConnection()
        self.assertTrue(self.connection._aborting)

    def test_readingIsOneMethod(self) -> None:
        self.assertIsNone(self.connection.doRead())
        self.far.close()
        self.assertIsInstance(self.connection.doRead(), Exception)


class ReactorTests(SynchronousTestCase):
    """The loop of `twisted.internet.epollreactor`, which StreamReactor shortens."""

    def test_aDescriptorIsKnownByItsNumberAndPolledForAsLongAsItReads(self) -> None:
        reactor: Any = epollreactor.EPollReactor()
        self.addCleanup(reactor._poller.close)
        for waker in reactor._internalReaders:
            self.addCleanup(waker.connectionLost, None)
        near, far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        connection = tcp.Connection(near, Protocol(), reactor)
        connection.startReading()
        self.assertIs(reactor._selectables[near.fileno()], connection)
        far.send(b"x")
        self.assertEqual(reactor._poller.poll(0, 1), [(near.fileno(), select.EPOLLIN)])
        connection.stopReading()
        self.assertNotIn(near.fileno(), reactor._selectables)

    def test_itReadsAndEndsConnectionsInTwoMethods(self) -> None:
        for method, names in (
            (epollreactor.EPollReactor._doReadOrWrite, ["self", "selectable", "fd", "event"]),
            (epollreactor.EPollReactor._disconnectSelectable, ["self", "selectable", "why", "isRead", "faildict"]),
        ):
            self.assertEqual(list(inspect.signature(method).parameters), names)


class PortTests(SynchronousTestCase):
    def test_aPortIsMadeFromADescriptorAndMakesOurTransports(self) -> None:
        made = ListeningPort._fromListeningDescriptor
        self.assertEqual(list(inspect.signature(made).parameters), ["reactor", "fd", "addressFamily", "factory"])
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            port = made(still_reactor(), listening.fileno(), socket.AF_INET, Factory())
            port.startListening()
            self.addCleanup(port.socket.close)
            self.assertIsInstance(port, ListeningPort)
            self.assertIs(port.transport, ServerConnection)
            self.assertEqual(port.socket.getsockname(), listening.getsockname())

    def test_aPortMayBeToldNotToShutItsSocketDown(self) -> None:
        self.assertIs(tcp.Port._shouldShutdown, True)
        self.assertIs(ListeningPort._shouldShutdown, False)

    def test_aClientTransportIsMadeOfFiveThings(self) -> None:
        parameters = list(inspect.signature(tcp.Client.__init__).parameters)
        self.assertEqual(parameters[:6], ["self", "host", "port", "bindAddress", "connector", "reactor"])
        for needed in ("buildProtocol", "connectionFailed"):
            self.assertIn(f"connector.{needed}(", TWISTED)


class TLSTests(SynchronousTestCase):
    def test_aVerificationFailsByItsOwnReason(self) -> None:
        self.assertEqual(
            list(inspect.signature(tls.TLSMemoryBIOProtocol.failVerification).parameters), ["self", "reason"]
        )


class KleinTests(SynchronousTestCase):
    def test_anEndpointIsRunWithTheArgumentsGiven(self) -> None:
        app = Klein()
        asked: list[Any] = []

        @app.route("/x", endpoint="x")
        async def handler(request: Any, match: Any) -> None:
            asked.append((request, match))

        self.assertEqual(list(app.endpoints), ["x"])
        running: Any = app.execute_endpoint("x", "request", "match")  # type: ignore[arg-type]  # what a request is, is ours
        self.assertIsNone(self.successResultOf(running))
        self.assertEqual(asked, [("request", "match")])
