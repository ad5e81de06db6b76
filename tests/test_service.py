"""The daemon's service: it listens, drains within its time, cuts what is left, and obeys signals."""

from __future__ import annotations

import atexit
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.application.service import Application
from twisted.internet import reactor as installed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogLevel
from twisted.trial.unittest import TestCase

from llmux.config import load_bytes
from llmux.daemon import service as service_module
from llmux.daemon.service import LOG_FILES, CannotListen, DaemonService, server_settings
from tests.conversation import Conversation
from tests.harness import CLIENT_KEY, Harness
from tests.running import free_port
from tests.scripted import Seen

reactor: Any = installed
KEY = ("X-Api-Key", CLIENT_KEY)


class ServiceCase(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.harness = Harness(self)
        self.up = self.harness.server("up")
        self.registered: list[Any] = []
        self.patch(atexit, "register", self.registered.append)

    def start(self, **config: Any) -> DaemonService:
        return self.harness.start({"upstream-url": "http://up", **config})


class LogFileTests(ServiceCase):
    def test_aLogFileIsRotatedAndTheOldestGo(self) -> None:
        self.patch(service_module, "LOG_BYTES", 2000)
        path = Path(self.mktemp())
        config = load_bytes(b"listen: tcp:0:interface=127.0.0.1\n", "llmux.yaml", {})
        service = DaemonService(reactor, config, None, logfile=str(path))
        application = Application("llmux")
        service.setServiceParent(application)
        observe: Any = application.getComponent(ILogObserver)
        for number in range(400):
            event = {"log_time": 0.0, "log_level": LogLevel.info, "log_format": "{n} of many", "n": f"{number:040}"}
            observe(event)
        older = sorted(path.parent.glob(f"{path.name}.*"))
        self.assertEqual(len(older), LOG_FILES)
        self.assertTrue(all(1900 < file.stat().st_size < 2200 for file in older))
        self.assertIn(f"{399:040} of many", path.read_text())


class DrainTests(ServiceCase):
    async def streaming(self) -> tuple[Conversation, Seen]:
        """A stream that is open."""
        self.up.script = lambda seen: seen.begin_stream()
        client = await self.harness.connect()
        client.ask("GET", "/api/threads/x", [KEY])
        await client.head()
        return client, self.up.requests[-1]

    async def test_aStreamEndsWithinTheGrace(self) -> None:
        service = self.start(timeouts={"drain": 5})
        client, seen = await self.streaming()
        stopped = service.stopService()
        await deferLater(reactor, 0.02, lambda: None)
        self.assertFalse(stopped.called)
        seen.chunk(b"data: last\n\n")
        seen.end_stream()
        answer = await client.answer()
        self.assertEqual((answer.body, answer.complete), (b"data: last\n\n", True))
        self.assertEqual(await client.end(), "fin")
        await stopped
        self.assertEqual((self.registered, self.harness.problems()), ([], []))

    async def test_aStreamBeyondTheGraceIsCut(self) -> None:
        service = self.start(timeouts={"drain": 0.1})
        client, seen = await self.streaming()
        await service.stopService()
        answer = await client.answer()
        self.assertFalse(answer.complete)
        await seen.gone.addTimeout(2, reactor)
        (warning,) = self.harness.problems()
        self.assertEqual(warning["cut"], 1)
        self.assertEqual(len(self.registered), 1)  # the process ends by its signal, so that its status tells

    async def test_aSlowClientGetsTheEndOfItsAnswer(self) -> None:
        service = self.start(timeouts={"drain": 5})
        listening: Any = service.listeners[0].port
        listening.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # its connections inherit it
        body = b"x" * 60_000
        self.up.script = lambda seen: seen.reply(200, body)
        client = await self.harness.connect()
        client.wire.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.wire.pauseProducing()
        client.ask("GET", "/api/user", [KEY])
        await self.harness.settled(lambda: bool(self.up.requests) and not service.server.busy)
        stopped = service.stopService()
        # The request is over, but a good part of its answer still waits for the client.
        reactor.callLater(0.2, client.wire.resumeProducing)
        answer = await client.answer()
        self.assertEqual((len(answer.body), answer.complete), (len(body), True))
        await stopped

    async def test_newConnectionsAreRefusedWhileItDrains(self) -> None:
        service = self.start(timeouts={"drain": 5})
        _, seen = await self.streaming()
        port = self.harness.port
        stopped = service.stopService()
        await deferLater(reactor, 0.02, lambda: None)
        with socket.socket() as probe:
            self.assertNotEqual(probe.connect_ex(("127.0.0.1", port)), 0)
        seen.end_stream()
        await stopped

    async def test_idleConnectionsEndAtOnce(self) -> None:
        service = self.start()
        client = await self.harness.connect()
        client.ask("GET", "/healthz")
        await client.answer()
        await service.stopService()
        self.assertEqual(await client.end(), "fin")

    async def test_answersInTheDrainEndTheirConnections(self) -> None:
        service = self.start(timeouts={"drain": 5})
        self.up.script = lambda seen: None
        client = await self.harness.connect()
        client.ask("GET", "/api/user", [KEY])
        await self.harness.settled(lambda: bool(self.up.requests))
        stopped = service.stopService()
        self.assertTrue(service.face.draining)
        self.up.requests[0].reply(200, b"{}")
        answer = await client.answer()
        self.assertEqual((answer.status, answer.header("Connection")), (200, "close"))
        await stopped

    async def test_theUpstreamsConnectionsEndToo(self) -> None:
        service = self.start()
        await self.harness.ask("GET", "/api/user")
        self.assertEqual((service.pool.open, service.pool.idle), (1, 1))
        await service.stopService()
        await self.harness.settled(lambda: not self.up.connections)


class ListeningTests(ServiceCase):
    async def test_itListensOnEveryAddress(self) -> None:
        service = self.start(listen=["tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1"])
        numbers = {listener.port.getHost().port for listener in service.listeners}  # type: ignore[union-attr]  # they do listen
        self.assertEqual(len(numbers), 2)

    async def test_aBusyPortIsSaidAtOnce(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            number = taken.getsockname()[1]
            error = self.assertRaises(CannotListen, self.start, listen=f"tcp:{number}:interface=127.0.0.1")
            self.assertEqual(str(error), f"cannot listen on 127.0.0.1:{number}: Address already in use")

    async def test_aUnixSocketServesToo(self) -> None:
        path = self.harness.folder / "socket"
        self.start(listen=f"unix:{path}", **{"restrict-management-to-localhost": False})

        def ask() -> bytes:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                return client.recv(4096)

        self.assertTrue((await deferToThread(ask)).startswith(b"HTTP/1.1 200"))


class SignalTests(ServiceCase):
    """The service as twistd starts it; the reactor's end and the process's own handlers are stood in for."""

    async def begin(self, **config: Any) -> tuple[DaemonService, dict[int, Callable[..., None]], list[str]]:
        taken: dict[int, Callable[..., None]] = {}
        stops: list[str] = []
        self.stand_in(taken.__setitem__)
        service = self.start(**config)
        self.harness.network.stop = lambda: stops.append("stop")  # type: ignore[attr-defined]  # in the reactor's place
        service.startService()
        await self.turn()
        return service, taken, stops

    def stand_in(self, take: Callable[[int, Any], None]) -> None:
        """Keep the service's handlers away from the process, whose signals are the test runner's."""
        numbers = {name: getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2")}
        self.patch(service_module, "signal", SimpleNamespace(signal=take, **numbers))

    async def turn(self) -> None:
        await deferLater(reactor, 0.02, lambda: None)

    async def test_theFirstSignalDrainsAndTheSecondCuts(self) -> None:
        service, taken, stops = await self.begin()
        self.up.script = lambda seen: None
        client = await self.harness.connect()
        client.ask("GET", "/api/user", [KEY])
        await self.harness.settled(lambda: bool(self.up.requests))
        taken[signal.SIGTERM](signal.SIGTERM, None)
        await self.turn()
        self.assertEqual((stops, client.ended), (["stop"], None))
        taken[signal.SIGTERM](signal.SIGTERM, None)
        self.assertEqual(await client.end(), "rst")
        self.assertEqual(stops, ["stop"])
        self.assertEqual(service.server.busy, 0)

    async def test_aSignalReadsTheFileAtOnce(self) -> None:
        service, taken, _ = await self.begin()
        self.harness.save({"upstream-url": "http://elsewhere"})
        taken[signal.SIGHUP](signal.SIGHUP, None)
        await self.turn()
        self.assertEqual(self.harness.reloads, 1)
        self.assertEqual(service.face.current.config.ampcode.upstream_url, "http://elsewhere")

    async def test_theFileIsLookedAtByItself(self) -> None:
        self.patch(service_module, "LOOK_SECONDS", 0.01)
        await self.begin()
        self.harness.save({"upstream-url": "http://elsewhere"})
        await self.harness.settled(lambda: self.harness.reloads == 1)

    async def test_itSaysWhatItBeginsWith(self) -> None:
        await self.begin(**{"model-mappings": [{"from": "(", "to": "x", "regex": True}]})
        lines = [event["log_format"].format(**event) for event in self.harness.events if "log_format" in event]
        self.assertTrue(any("does not compile" in line for line in lines), lines)
        self.assertTrue(any(line.startswith("llmux listens on tcp:0") for line in lines), lines)

    async def test_anotherThreadLeavesSignalsAlone(self) -> None:
        def refuse(number: int, handler: object) -> None:
            raise ValueError("signal only works in main thread")

        self.stand_in(refuse)
        service = self.start()
        service.startService()
        await self.turn()
        self.assertEqual(len(self.harness.problems()), 1)


class SettingsTests(ServiceCase):
    def test_theListeningSideTakesItsLimitsFromTheConfiguration(self) -> None:
        text = b"""\
limits:
  {header-bytes: 2KiB, header-fields: 11, target: 300, connections: 7, connections-per-address: 6, buffered: 80MiB}
timeouts: {header: 1, keep-alive: 2, send: 3, idle: 4}
"""
        settings = server_settings(load_bytes(text, "x.yaml", {}))
        self.assertEqual((settings.header_bytes, settings.header_fields, settings.target), (2048, 11, 300))
        self.assertEqual((settings.connections, settings.connections_per_address), (7, 6))
        self.assertEqual((settings.header_timeout, settings.keep_alive), (1, 2))
        self.assertEqual((settings.send_timeout, settings.body_idle_timeout), (3, 4))
        self.assertEqual(settings.buffered, 80 * 1024 * 1024)

    async def test_aReloadReplacesThem(self) -> None:
        service = self.start()
        self.harness.save({"limits": {"target": 256}})
        self.harness.look()
        self.assertEqual(service.server.settings.target, 256)
        answer = await self.harness.ask("GET", "/api/user?" + "x" * 300)
        self.assertEqual(answer.status, 414)

    async def test_aChangedAddressWaitsForARestart(self) -> None:
        self.start()
        port = self.harness.port
        self.harness.save({"listen": f"tcp:{free_port()}:interface=127.0.0.1"})
        self.harness.look()
        self.assertEqual(self.harness.port, port)
        (warning,) = self.harness.problems()
        self.assertIn("restart", warning["log_format"])
