"""A reactor with names of its own: `http://up-a` and `https://up.example:8443` lead to servers on loopback ports."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IReactorPluggableNameResolver
from zope.interface import implementer

from llmux.wire.connect import Client
from tests.scripted import ScriptedServer


class _Nowhere:
    """The connector of an attempt that is never answered."""

    def stopConnecting(self) -> None:
        """Nothing was begun."""


@implementer(IReactorPluggableNameResolver)
class Network:
    """The real reactor, but names lead where a test says; any other name has no address, addresses are real."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._addresses: dict[str, str] = {}
        self._servers: dict[str, ScriptedServer | None] = {}
        self._refused: dict[str, int] = {}
        self._reserved: list[socket.socket] = []
        self.attempts: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def name(self, host: str, server: ScriptedServer | None) -> None:
        """Let a name lead to a server, whatever the port; to nowhere, as behind a dropping firewall, for None."""
        address = f"192.0.2.{len(self._addresses) + 1}"
        self._addresses[host] = address
        self._servers[address] = server

    def refuse(self, host: str) -> None:
        """Let a name lead to a port on which nobody listens, and nobody will."""
        reserved = socket.socket()
        reserved.bind(("127.0.0.1", 0))
        self._reserved.append(reserved)
        self.name(host, None)
        self._refused[self._addresses[host]] = reserved.getsockname()[1]

    def close(self) -> None:
        """Give back the reserved ports."""
        for reserved in self._reserved:
            reserved.close()

    @property
    def nameResolver(self) -> Network:
        """The resolver is this object itself."""
        return self

    def resolveHostName(self, receiver: Any, hostName: str, portNumber: int = 0, *rest: Any) -> Any:
        """Answer at once, as Twisted's resolver may."""
        receiver.resolutionBegan(None)
        if hostName in self._addresses:
            receiver.addressResolved(IPv4Address("TCP", self._addresses[hostName], portNumber))
        receiver.resolutionComplete()

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None) -> Any:
        """Connect with the transport that the daemon uses on the real reactor."""
        self.attempts.append((host, port))
        if host in self._servers:
            server = self._servers[host]
            number = self._refused.get(host) if server is None else server.number
            if number is None:
                factory.startedConnecting(_Nowhere())
                return
            host, port = "127.0.0.1", number
        transport = Client(host, port, bindAddress, factory, self._reactor)
        factory.startedConnecting(transport)
