"""Listening ports of every kind, over loopback."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint, _SystemdParser, wrapClientTLS
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.tcp import Port
from twisted.internet.unix import Port as UnixPort
from twisted.python.systemd import ListenFDs
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from llmux.wire.listening import ListeningPort, ListeningService, ServerConnection, adopted_endpoint, listening_endpoint
from llmux.wire.server import HTTPServer
from tests.serving import refuse

LOCAL = "tcp:0:interface=127.0.0.1"


class Greeter(Protocol):
    """Greets, and tells the factory who did."""

    def connectionMade(self) -> None:
        assert isinstance(self.factory, Greeters)
        assert self.transport is not None
        self.transport.write(b"hello")
        self.factory.made.callback(self.transport)
        self.transport.loseConnection()


class Asking(Protocol):
    """Asks once and keeps the answer."""

    def connectionMade(self) -> None:
        self.received = b""
        self.answer: Deferred[bytes] = Deferred()
        assert self.transport is not None
        self.transport.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: object = None) -> None:
        self.answer.callback(self.received)


def _certificate() -> tuple[bytes, bytes]:
    """Return a key and a certificate for localhost, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, certificate.public_bytes(pem)


class Greeters(Factory[Greeter]):
    """Makes one greeter."""

    protocol = Greeter
    noisy = False

    def __init__(self) -> None:
        self.made: Deferred[object] = Deferred()


class ListeningTests(TestCase):
    def setUp(self) -> None:
        self.factory = Greeters()

    async def greet(self, port: Any) -> object:
        verifyObject(IListeningPort, port)
        address = port.getHost()
        with socket.create_connection((address.host, address.port)) as client:
            transport = await self.factory.made
            client.settimeout(5)
            self.assertEqual(client.recv(100), b"hello")
        return transport

    async def test_aTcpDescriptionGetsOurTransports(self) -> None:
        port: Any = await listening_endpoint(reactor, LOCAL).listen(self.factory)
        self.addCleanup(port.stopListening)
        self.assertIsInstance(port, ListeningPort)
        self.assertIsInstance(await self.greet(port), ServerConnection)

    async def test_anAdoptedDescriptorGetsOurTransports(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        port: Any = await adopted_endpoint(reactor, listening.detach(), socket.AF_INET).listen(self.factory)
        self.addCleanup(port.stopListening)
        self.assertIsInstance(port, ListeningPort)
        self.assertIsInstance(await self.greet(port), ServerConnection)

    def test_whatSystemdPassesIsAdopted(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            descriptor = os.dup(listening.fileno())
        self.patch(_SystemdParser, "_sddaemon", ListenFDs([descriptor]))
        endpoint = listening_endpoint(reactor, "systemd:domain=INET:index=0")
        port: Any = self.successResultOf(endpoint.listen(self.factory))
        self.addCleanup(port.stopListening)
        self.assertIsInstance(port, ListeningPort)

    def test_whatSystemdDidNotPassIsSaid(self) -> None:
        self.patch(_SystemdParser, "_sddaemon", ListenFDs([]))
        for description in ("systemd:domain=INET:index=0", "systemd:domain=INET:name=web"):
            problem = self.assertRaises(ValueError, listening_endpoint, reactor, description)
            self.assertIn("systemd has handed over no such socket", str(problem))

    async def test_unixSocketsAreTwistedsOwn(self) -> None:
        path = self.mktemp()
        port: Any = await listening_endpoint(reactor, "unix:" + path).listen(self.factory)
        self.addCleanup(port.stopListening)
        self.assertIsInstance(port, UnixPort)

    def test_adoptedUnixSocketsAreTwistedsOwn(self) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(self.mktemp())
            listening.listen()
            listening.setblocking(False)
            endpoint = adopted_endpoint(reactor, os.dup(listening.fileno()), socket.AF_UNIX)
            port: Any = self.successResultOf(endpoint.listen(self.factory))
        self.addCleanup(port.stopListening)
        self.assertIsInstance(port, UnixPort)

    def test_descriptionsThatMeanNothingAreErrors(self) -> None:
        for description in ("nonsense:1", "tcp:port", "tcp", ""):
            with self.assertRaises((ValueError, TypeError, IndexError), msg=description):
                listening_endpoint(reactor, description)

    async def test_tlsClientsMayOfferHttp11(self) -> None:
        server = HTTPServer(lambda request: request.respond(200, [], b"%d" % request.isSecure()), refuse, reactor)
        key, certificate = _certificate()
        path = self.mktemp()
        os.mkdir(path)
        with open(os.path.join(path, "localhost.pem"), "wb") as file:
            file.write(key + certificate)
        port: Any = await listening_endpoint(reactor, f"tls:{path}:port=0:interface=127.0.0.1").listen(server)
        self.addCleanup(port.stopListening)
        options = optionsForClientTLS(
            "localhost", trustRoot=Certificate.loadPEM(certificate), acceptableProtocols=[b"h2", b"http/1.1"]
        )
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        client: Any = await wrapClientTLS(options, endpoint).connect(Factory.forProtocol(Asking))
        answer = await client.answer
        self.assertTrue(answer.endswith(b"\r\nConnection: close\r\n\r\n1"), answer)

    def test_twistedStillAdoptsByThatName(self) -> None:
        self.assertTrue(callable(Port._fromListeningDescriptor))


class ServiceTests(TestCase):
    def setUp(self) -> None:
        self.factory = Greeters()

    def service(self, description: str = LOCAL) -> ListeningService:
        return ListeningService(listening_endpoint(reactor, description), self.factory)

    async def test_itListensWhileItRuns(self) -> None:
        service = self.service()
        service.privilegedStartService()
        port: Any = service.port
        service.startService()
        self.assertIs(service.port, port)
        number = port.getHost().port
        socket.create_connection(("127.0.0.1", number)).close()
        await self.factory.made
        await service.stopService()
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", number))

    async def test_aBusyPortIsAnErrorAtTheStart(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as busy:
            service = self.service(f"tcp:{busy.getsockname()[1]}:interface=127.0.0.1")
            self.assertRaises(CannotListenError, service.startService)
            self.assertIsNone(service.port)
        await service.stopService()

    def test_aLaterFailureIsTheDeferreds(self) -> None:
        later: Deferred[IListeningPort] = Deferred()
        service = ListeningService(_Endpoint(later), self.factory)
        service.startService()
        self.assertIsNone(service.port)
        assert service.listening is not None
        later.errback(CannotListenError("x", 1, OSError()))
        self.failureResultOf(service.listening, CannotListenError)

    def test_stoppingGivesUpAListenThatWaits(self) -> None:
        later: Deferred[IListeningPort] = Deferred()
        service = ListeningService(_Endpoint(later), self.factory)
        service.startService()
        self.successResultOf(service.stopService())

    def test_anEndpointThatFailsAtOnceRaises(self) -> None:
        service = ListeningService(_Endpoint(fail(CannotListenError("x", 1, OSError()))), self.factory)
        self.assertRaises(CannotListenError, service.startService)


@implementer(IStreamServerEndpoint)
class _Endpoint:
    """An endpoint that listens in its own time."""

    def __init__(self, result: Deferred[IListeningPort]) -> None:
        self.result = result

    def listen(self, factory: object) -> Deferred[IListeningPort]:
        return self.result
