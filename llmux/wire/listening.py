"""Listening sockets whose connections send at once, for every endpoint string that Twisted knows."""

from __future__ import annotations

import socket
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.tcp import Port, Server
from twisted.python.failure import Failure

from llmux.wire.sending import LARGE, SendNow

BACKLOG = 1024  # connections that wait for accept; the kernel has its own maximum


class ServerConnection(SendNow, Server):
    """An accepted connection that sends at once; long requests are read in large pieces."""

    longest_read = 4 * LARGE


class ListeningPort(Port):
    """A TCP port that makes `ServerConnection`s."""

    transport = ServerConnection
    # Closing is enough to stop; a shutdown would also stop the process that took the socket over.
    _shouldShutdown = False


class _Listener:
    """A reactor whose TCP ports are `ListeningPort`s, made or adopted (systemd); the rest is the real reactor's."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = BACKLOG, interface: str = ""
    ) -> IListeningPort:
        listening = ListeningPort(port, factory, max(backlog, BACKLOG), interface, self._reactor)
        listening.startListening()
        return listening

    def adoptStreamPort(self, descriptor: int, family: socket.AddressFamily, factory: IProtocolFactory) -> Any:
        if family not in (socket.AF_INET, socket.AF_INET6):
            return self._reactor.adoptStreamPort(descriptor, family, factory)
        listening = ListeningPort._fromListeningDescriptor(self._reactor, descriptor, family, factory)
        listening.startListening()
        return listening


def listening_endpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    """Return the endpoint of a description such as `tcp:8317:interface=127.0.0.1` or `systemd:domain=INET:index=0`.

    Plain TCP gets our own transports, `tls:` has them below its own, other kinds are Twisted's. Raises ValueError or
    TypeError, as `serverFromString` does, for a description that means nothing.
    """
    try:
        endpoint: IStreamServerEndpoint = serverFromString(_Listener(reactor), description)
    except LookupError:
        if not description.startswith("systemd:"):
            raise
        raise ValueError("systemd has handed over no such socket") from None
    return endpoint


def adopted_endpoint(reactor: Any, descriptor: int, family: socket.AddressFamily) -> IStreamServerEndpoint:
    """Return the endpoint of a listening, non-blocking socket that another process made; it is closed once adopted."""
    endpoint: IStreamServerEndpoint = AdoptedStreamServerEndpoint(_Listener(reactor), descriptor, family)
    return endpoint


class ListeningService(Service):
    """Listens while it runs.

    A port that cannot be had raises CannotListenError from `startService` (a `strports` service does it too, a bare
    endpoint service only logs); a failure that comes later is the one of `listening`, which fires with the port.
    """

    def __init__(self, endpoint: IStreamServerEndpoint, factory: IProtocolFactory) -> None:
        self._endpoint = endpoint
        self._factory = factory
        self.port: IListeningPort | None = None
        self.listening: Deferred[IListeningPort] | None = None

    def privilegedStartService(self) -> None:
        super().privilegedStartService()
        failures: list[Failure] = []
        self.listening = self._endpoint.listen(self._factory)
        self.listening.addCallback(self._opened)
        if isinstance(self.listening.result if self.listening.called else None, Failure):
            self.listening.addErrback(failures.append)
            self.listening = None
            failures[0].raiseException()

    def startService(self) -> None:
        super().startService()
        if self.listening is None:
            self.privilegedStartService()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        port, self.port = self.port, None
        listening, self.listening = self.listening, None
        if port is not None:
            stopped: Deferred[None] = succeed(None).addCallback(lambda _: port.stopListening())
            return stopped
        if listening is not None:
            listening.addErrback(lambda _: None)
            listening.cancel()
        return succeed(None)

    def _opened(self, port: IListeningPort) -> IListeningPort:
        self.port = port
        return port
