"""The running daemon: every object is built here, by hand and once; start, reload, drain (SPEC 17, HOSTILE 2)."""

from __future__ import annotations

import atexit
import hashlib
import os
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from llmux.config import Config, load_bytes
from llmux.daemon.handover import Handover, family_of, inherited, say_ready
from llmux.daemon.notify import Notifier
from llmux.daemon.observers import LEVELS, LevelledObserver, observer
from llmux.daemon.reload import LOOK_SECONDS, Reloader, WatchedFile
from llmux.peers.capture import Captures
from llmux.peers.credentials import Credentials
from llmux.peers.credits import DailyCredits
from llmux.peers.demo.exchange import Demo
from llmux.peers.executor import Executor
from llmux.peers.generation import Lasting, build
from llmux.peers.ledger import Ledger
from llmux.peers.secrets import UpstreamKeys, read_secrets_file, secrets_path
from llmux.peers.sessions import Sessions
from llmux.peers.store import Store, StoredCredits, state_file
from llmux.peers.vault import Vault
from llmux.routing.decision import one_line
from llmux.web.face import Face
from llmux.wire.listening import ListeningService, adopted_endpoint, listening_endpoint
from llmux.wire.pool import Pool
from llmux.wire.server import HTTPServer, ServerSettings

DRAIN_LOOK = 0.05
IDLE_GRACE = 5.0
LOG_BYTES = 100 * 1024 * 1024
LOG_FILES = 9


def server_settings(config: Config) -> ServerSettings:
    """The listening side of a configuration."""
    limits, timeouts = config.limits, config.timeouts
    return ServerSettings(
        header_bytes=limits.header_bytes,
        header_fields=limits.header_fields,
        target=limits.target,
        connections=limits.connections,
        connections_per_address=limits.connections_per_address,
        header_timeout=timeouts.header,
        keep_alive=timeouts.keep_alive,
        send_timeout=timeouts.send,
        body_idle_timeout=timeouts.idle,
        buffered=limits.buffered,
    )


class CannotListen(Exception):
    """An address of the configuration cannot be had; the text is one line for people."""

    def __init__(self, description: str, problem: Exception) -> None:
        at = description
        if isinstance(problem, CannotListenError):
            at, problem = f"{problem.interface or '*'}:{problem.port}", problem.socketError
        reason = problem.strerror if isinstance(problem, OSError) else None
        named = f": {problem.filename}" if isinstance(problem, OSError) and problem.filename else ""
        super().__init__(one_line(f"cannot listen on {at}: {reason or problem or type(problem).__name__}{named}"))


class DaemonService(MultiService):
    """Listens, reloads and drains; `listen` comes before twistd starts the rest. Making one may raise CannotListen."""

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: Config,
        content: bytes | None,
        log_format: str = "text",
        log_level: str = "info",
        logfile: str | None = None,
        forget_pidfile: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._log_format = log_format
        self._log_level = log_level
        self._logfile = logfile
        self.pool = Pool(reactor)
        credentials = Credentials(time.time)
        self._store = Store(state_file(config.path, os.environ), reactor.callFromThread)
        in_thread = partial(deferToThreadPool, reactor, reactor.getThreadPool())
        self._lasting = Lasting(
            credentials,
            DailyCredits(time.time, StoredCredits(self._store)),
            UpstreamKeys(time.time, lambda: read_secrets_file(secrets_path()), os.environ),
            Vault(),
            Captures(in_thread),
            Ledger(self._store, reactor),
        )
        sessions = Sessions(credentials, time.time)
        executor = Executor(
            self.pool.send, Demo(reactor), credentials, self._lasting.vault, sessions, reactor, in_thread
        )
        generation = build(config, 1, self._lasting)
        self._warnings = generation.warnings
        self.face = Face(generation, self.pool, executor, self._lasting, reactor, in_thread)
        self.face.models.records.least = executor.records.least = LEVELS[log_level]
        self.server = HTTPServer(self.face.site, self.face.refuse, reactor, server_settings(config))
        self.face.server = self.server
        self._descriptions = config.listen
        sockets = inherited(os.environ)
        self.listeners = [
            ListeningService(self._endpoint(description, sockets.get(description)), self.server)
            for description in config.listen
        ]
        self._notifier = Notifier(os.environ, reactor)
        self._forget_pidfile = forget_pidfile
        self._handover: Handover | None = None
        self._replaced = False
        self._observer: LevelledObserver | None = None
        self.reloader: Reloader | None = None
        if config.path is not None and content is not None:
            file = WatchedFile(config.path, hashlib.sha256(content).hexdigest())
            self.reloader = Reloader(file, config, lambda data, path: load_bytes(data, path, os.environ), self._apply)
        self._looking: LoopingCall | None = None
        self._terminations = 0

    def _endpoint(self, description: str, inherited_socket: int | None) -> IStreamServerEndpoint:
        if inherited_socket is None:
            try:
                return listening_endpoint(self._reactor, description)
            except Exception as problem:  # whatever an endpoint's parser raises, as for a file that is no certificate
                raise CannotListen(description, problem) from problem
        return adopted_endpoint(self._reactor, inherited_socket, family_of(inherited_socket))

    def listen(self) -> None:
        """Open the listening sockets; raises CannotListen."""
        for description, listener in zip(self._descriptions, self.listeners, strict=True):
            try:
                listener.startService()
            except Exception as problem:
                raise CannotListen(description, problem) from problem

    def setServiceParent(self, parent: Any) -> None:
        """Take the log observer along to the application that twistd makes around the service."""
        if isinstance(parent, Componentized):
            out = None
            if self._logfile and self._logfile != "-":
                out = LogFile.fromFullPath(self._logfile, rotateLength=LOG_BYTES, maxRotatedFiles=LOG_FILES)
            self._observer = observer(self._log_format, self._log_level, out)
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Begin to look at the configuration file and take over the signals."""
        super().startService()
        config = self.face.current.config
        for warning in self._warnings:
            self.log.warn("{problem}", problem=warning)
        self.log.info(
            "llmux listens on {listen} with {providers}; configuration: {path}",
            listen=", ".join(config.listen),
            providers=", ".join(self.face.current.providers) or "no provider",
            path=config.path or "built-in defaults",
        )
        if self.reloader is not None:
            self._looking = LoopingCall(self.reloader.poll)
            self._looking.clock = self._reactor
            self._looking.start(LOOK_SECONDS)
        self._reactor.callWhenRunning(self._begun)

    def _begun(self) -> None:
        """The reactor runs: take over the signals, and say that the daemon serves."""
        self._take_signals()
        if self._observer is not None:
            self._observer.begin(self._reactor)
            self._reactor.addSystemEventTrigger("after", "shutdown", self._observer.end)
        self._notifier.ready()
        say_ready(os.environ)

    def _take_signals(self) -> None:
        try:
            signal.signal(signal.SIGTERM, self._terminate)
            signal.signal(signal.SIGINT, self._terminate)
            signal.signal(signal.SIGUSR2, lambda *_: self._reactor.callFromThread(self._hand_over))
            if self.reloader is not None:
                reload = self.reloader.reload_now
                signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(reload))
        except ValueError:
            self.log.warn("not the main thread: signals are left to the reactor")

    def _terminate(self, number: int, frame: object) -> None:
        """Drain on the first signal, cut on the second; the exit status is 0 when everything drained."""
        self._terminations += 1
        if self._terminations > 1:
            self._reactor.callFromThread(self._cut, "by a second signal")
        elif not self._replaced:
            self._reactor.callFromThread(self._reactor.stop)

    def _hand_over(self) -> None:
        """Start a new process that takes the sockets; this one drains once the new one serves."""
        if self._handover is None:
            self._handover = Handover(self._sockets(), self._reactor, self._give_way)
        self._forget_pidfile()
        self._handover.begin()

    def _give_way(self) -> None:
        self._replaced = True
        self._reactor.stop()

    def _sockets(self) -> dict[str, int]:
        """Description to descriptor of every TCP socket; a Unix socket is a file, which its next owner makes anew."""
        found = {}
        for description, listener in zip(self._descriptions, self.listeners, strict=True):
            port: Any = listener.port
            if port is not None and port.socket.family in (socket.AF_INET, socket.AF_INET6):
                found[description] = port.fileno()
        return found

    def _apply(self, config: Config) -> None:
        self._notifier.reloading()
        generation = build(config, self.face.current.number + 1, self._lasting)
        self.server.settings = server_settings(config)
        self.face.switch(generation)
        for warning in generation.warnings[len(config.warnings) :]:
            self.log.warn("{problem}", problem=warning)
        self._notifier.reloaded()

    def stopService(self) -> Deferred[None]:
        """Stop listening, let requests end for at most `timeouts.drain`, then cut what is left."""
        return Deferred.fromCoroutine(self._stop())

    async def _answer_idle_clients(self, deadline: float) -> None:
        """Answer what clients still send on kept connections, and end each with its answer: nobody meets a reset."""
        self.server.drain(close_idle=False)
        await self._closed(deadline)

    async def _closed(self, deadline: float) -> None:
        """Wait until every client has taken what was written for it and its connection is closed."""
        while self.server.connections and self._reactor.seconds() < deadline:
            await deferLater(self._reactor, DRAIN_LOOK, lambda: None)

    async def _stop(self) -> None:
        if self._looking is not None and self._looking.running:
            self._looking.stop()
        self.face.draining = True
        self._notifier.stopping()
        for listener in self.listeners:
            await maybeDeferred(listener.stopService)
        deadline = self._reactor.seconds() + self.face.current.config.timeouts.drain
        if self._replaced:
            await self._answer_idle_clients(min(deadline, self._reactor.seconds() + IDLE_GRACE))
        self.server.drain()
        while self.server.busy and self._reactor.seconds() < deadline:
            await deferLater(self._reactor, DRAIN_LOOK, lambda: None)
        # The end of an answer may still wait for a slow client: an abort would throw it away.
        await self._closed(min(deadline, self._reactor.seconds() + IDLE_GRACE))
        self._cut("after the drain time")
        self.pool.abort()
        if self._lasting.ledger is not None:
            self._lasting.ledger.close()
        await self._store.close()
        await maybeDeferred(super().stopService)

    def _cut(self, why: str) -> None:
        """Break off what is under way, and have the exit status tell that something was."""
        cut = self.server.busy
        if cut:
            self.log.warn("{cut} requests were cut {why}", cut=cut, why=why)
            atexit.register(_die_by_signal)
        self.server.abort()


def _die_by_signal() -> None:
    """End with the signal's own status, since not everything drained."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
