"""The assembled daemon in this process: real objects, a real file, real sockets towards upstreams and providers.

Clients speak from any address in memory, or over a real socket. Nothing here starts `DaemonService`'s timers and signal
handlers: a test looks at the file by hand with `look`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import TestCase

from llmux.config import load_bytes
from llmux.daemon.reload import HALF_WRITTEN_LOOKS
from llmux.daemon.service import DaemonService
from tests.authority import Authority, TLSPorts, trusted
from tests.conversation import Answer, Conversation, Headers, in_memory
from tests.network import Network
from tests.scripted import ScriptedServer, Seen

reactor: Any = installed
CLIENT_KEY = "ck-1"
LOOKS = HALF_WRITTEN_LOOKS + 3
_KEYS_OF_PEOPLE = ("AMP_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "LLMUX_CONFIG")
_PLACES = ("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")
_AMPCODE = frozenset(
    (
        "upstream-url",
        "upstream-api-key",
        "upstream-api-keys",
        "restrict-management-to-localhost",
        "force-model-mappings",
        "model-mappings",
        "credits",
        "strip-features",
    )
)
_PROBLEM = (LogLevel.warn, LogLevel.error, LogLevel.critical)


def configuration(given: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration from flat keys: those of the upstream go into their section, a client key is there by default."""
    config: dict[str, Any] = {"listen": "tcp:0:interface=127.0.0.1", "api-keys": [CLIENT_KEY]}
    section: dict[str, Any] = {}
    for key, value in given.items():
        if key == "ampcode":
            section |= value
        else:
            (section if key in _AMPCODE else config)[key] = value
    if section:
        config["ampcode"] = section
    return config


def provider(server: ScriptedServer | str, *models: Any, kind: str = "openai", **more: Any) -> dict[str, Any]:
    """One provider of a configuration."""
    url = server if isinstance(server, str) else server.url
    entry = {"name": "local", "kind": kind, "base-url": url, "api-keys": ["pk-local-0001"], "models": list(models)}
    return entry | {name.replace("_", "-"): value for name, value in more.items()}


class Harness:
    """One daemon of one test, with its servers, its log and its file; everything is gone when the test is over."""

    def __init__(self, case: TestCase) -> None:
        self.network = Network(reactor)
        self.events: list[LogEvent] = []
        self.servers: dict[str, ScriptedServer] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="llmux-test-"))
        self.path = self.folder / "llmux.yaml"
        self.config: dict[str, Any] = {}
        self.service: DaemonService | None = None
        self._saved = 0
        environment = mock.patch.dict(os.environ, dict.fromkeys(_PLACES, str(self.folder)))
        environment.start()
        for name in _KEYS_OF_PEOPLE:
            os.environ.pop(name, None)
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        case.addCleanup(shutil.rmtree, self.folder, True)
        case.addCleanup(environment.stop)
        case.addCleanup(globalLogPublisher.removeObserver, observer)
        case.addCleanup(lambda: Deferred.fromCoroutine(self.stop()))

    # the world around the daemon

    def server(self, name: str, script: Callable[[Seen], None] | None = None) -> ScriptedServer:
        """A scripted server that `http://NAME` leads to; the same one for the same name."""
        if name not in self.servers:
            self.servers[name] = ScriptedServer(script)
            self.network.name(name, self.servers[name])
        return self.servers[name]

    def impostor(self, name: str) -> None:
        """Let `https://NAME` lead to a server whose certificate nobody trusts."""
        self.tls_server(name, authority=Authority())

    def tls_server(
        self, name: str, script: Callable[[Seen], None] | None = None, authority: Authority | None = None
    ) -> ScriptedServer:
        """A scripted server that `https://NAME` leads to; the daemon trusts its certificate unless told otherwise."""
        os.environ["SSL_CERT_FILE"] = str(trusted().path)
        certificate = (authority or trusted()).server(name)
        ports: Any = TLSPorts(reactor, certificate)
        self.servers[name] = ScriptedServer(script, ports)
        self.network.name(name, self.servers[name])
        return self.servers[name]

    def contacted(self, name: str) -> bool:
        """Whether a whole request came to one of the servers."""
        return name in self.servers and bool(self.servers[name].requests)

    # the daemon

    def start(self, given: Mapping[str, Any], log_level: str = "debug") -> DaemonService:
        """Build the daemon from flat configuration keys and let it listen."""
        self.config = dict(given)
        self.write(yaml.safe_dump(configuration(given), sort_keys=False).encode())
        content = self.path.read_bytes()
        config = load_bytes(content, str(self.path), os.environ)
        self.service = DaemonService(self.network, config, content, log_level=log_level)
        self.service.listen()
        return self.service

    @property
    def daemon(self) -> DaemonService:
        """The running daemon."""
        assert self.service is not None
        return self.service

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: Any = self.daemon.listeners[0].port
        return int(port.getHost().port)

    async def stop(self) -> None:
        """Cut what is left and wait until every socket is closed."""
        if self.service is not None:
            service, self.service = self.service, None
            service.server.abort()
            await self.settled(lambda: not service.server.busy)
            await service.stopService()
            await self.settled(lambda: not service.server.connections and not service.pool.open)
        for server in self.servers.values():
            await server.stop()
        self.network.close()
        await self.settled(lambda: not any(server.connections for server in self.servers.values()))

    async def settled(self, over: Callable[[], bool], seconds: float = 5.0) -> None:
        """Wait until something holds; raises when it does not come to that."""
        deadline = reactor.seconds() + seconds
        while not over():
            if reactor.seconds() > deadline:
                raise AssertionError("the daemon did not settle")
            await deferLater(reactor, 0.002, lambda: None)

    # its file

    def write(self, content: bytes, by_rename: bool = False) -> None:
        """Save the file, in place or by rename; each save is a second younger than the one before."""
        target = self.folder / "llmux.yaml.new" if by_rename else self.path
        target.write_bytes(content)
        self._saved += 1
        os.utime(target, (1_700_000_000 + self._saved, 1_700_000_000 + self._saved))
        if by_rename:
            target.rename(self.path)

    def save(self, changed: Mapping[str, Any], by_rename: bool = False) -> None:
        """Save the configuration with these flat keys replaced."""
        self.config |= changed
        self.write(yaml.safe_dump(configuration(self.config), sort_keys=False).encode(), by_rename)

    def look(self, times: int = LOOKS) -> None:
        """Let the daemon look at its file as often as it would in the time that a change may take."""
        assert self.daemon.reloader is not None
        for _ in range(times):
            self.daemon.reloader.poll()

    @property
    def reloads(self) -> int:
        """How often a new configuration was put in force."""
        return self.daemon.face.current.number - 1

    # its clients

    def client(self, peer: str = "127.0.0.1", port: int = 5000) -> Conversation:
        """A client in memory, from any address."""
        return in_memory(self.daemon.server, peer, port)

    async def connect(self) -> Conversation:
        """A client on a real socket."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        connected: Conversation = await connectProtocol(endpoint, Conversation())
        return connected

    async def ask(
        self,
        method: str,
        target: str,
        headers: Headers | None = None,
        body: bytes | None = None,
        peer: str = "127.0.0.1",
    ) -> Answer:
        """One request on a connection of its own, with the client key unless headers are given; the whole answer."""
        client = self.client(peer)
        client.ask(method, target, [("X-Api-Key", CLIENT_KEY)] if headers is None else headers, body)
        answer = await client.answer()
        client.leave()
        return answer

    # its log

    def records(self) -> list[LogEvent]:
        """The routing decisions that were logged."""
        return [event for event in self.events if event.get("component") == "amp-routing"]

    def problems(self) -> list[LogEvent]:
        """What was logged at warning or above, decisions apart."""
        return [event for event in self.events if event["log_level"] in _PROBLEM and event.get("component") is None]
