"""TLS to upstreams: who is believed, what is said when nobody is, and the clock of the handshake."""

from __future__ import annotations

import datetime
import ipaddress
import os
import tempfile
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate as TwistedCertificate
from twisted.internet.ssl import CertificateOptions, PrivateCertificate, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from llmux.wire.client import Clocks, OutgoingRequest, UpstreamFailure
from llmux.wire.origin import Origin
from llmux.wire.pool import Pool, is_quiet
from llmux.wire.tls import ClientTLS, describe
from tests.upstreams import Taker

NOW = datetime.datetime.now(datetime.UTC)


class Authority:
    """A certificate authority that lives as long as the test."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Authority")])
        self.certificate = (
            self._builder(self.name, self.key, NOW + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        self.pem = self.certificate.public_bytes(Encoding.PEM)
        self.roots = trustRootFromCertificates([TwistedCertificate.loadPEM(self.pem)])

    def _builder(self, subject: x509.Name, key: Any, until: datetime.datetime) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - datetime.timedelta(days=2))
            .not_valid_after(until)
        )

    def issue(self, *names: str, common: str = "localhost", days: int = 1) -> PrivateCertificate:
        """A certificate for `names`; without any it has no subjectAltName at all."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        builder = self._builder(subject, key, NOW + datetime.timedelta(days=days))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), False)
        certificate = builder.sign(self.key, hashes.SHA256())
        leaf: PrivateCertificate = PrivateCertificate.loadPEM(
            certificate.public_bytes(Encoding.PEM)
            + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return leaf


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


AUTHORITY = Authority()


@implementer(IOpenSSLServerConnectionCreator)
class PlainCreator:
    """A server that knows nothing of protocol negotiation, as Twisted's own always does."""

    def __init__(self, key: Any, certificate: Any) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_privatekey(key)
        self._context.use_certificate(certificate)

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return SSL.Connection(self._context, None)


class Answering(Protocol):
    """Answers every request with how it was spoken to."""

    transport: Any

    def connectionMade(self) -> None:
        seen: list[Answering] = cast(Any, self.factory).seen
        seen.append(self)

    def dataReceived(self, data: bytes) -> None:
        if b"\r\n\r\n" in data:
            transport = self.transport
            spoken = getattr(transport, "negotiatedProtocol", None) or b"none"
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(spoken), spoken))


class TLSTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.factory = cast(Any, Factory.forProtocol(Answering))
        self.factory.seen = []

    def listen(self, certificate: PrivateCertificate | None, negotiating: bool = True) -> int:
        """Serve on loopback and return the port; None serves plain TCP that never shakes hands."""
        if certificate is None:
            port = self.reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        else:
            key, leaf = certificate.privateKey.original, certificate.original
            context: Any = CertificateOptions(privateKey=key, certificate=leaf, acceptableProtocols=[b"http/1.1"])
            if not negotiating:
                context = PlainCreator(key, leaf)
            port = self.reactor.listenSSL(0, self.factory, context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    def pool(self, roots: Any = AUTHORITY.roots) -> Pool:
        pool = Pool(self.reactor, trust_roots=roots)

        def close() -> Deferred[None]:
            pool.abort()
            for seen in self.factory.seen:
                if seen.transport.connected:
                    seen.transport.abortConnection()
            pause: Deferred[None] = Deferred()
            self.reactor.callLater(0.02, pause.callback, None)
            return pause

        self.addCleanup(close)
        return pool

    async def fetch(self, pool: Pool, host: str, port: int, clocks: Clocks | None = None) -> bytes:
        request = OutgoingRequest(Origin("https", host, port), b"POST", b"/", [], b"{}", clocks or Clocks(tls=5))
        exchange = pool.send(request)
        await exchange.head
        done: Deferred[None] = Deferred()

        class Waiting(Taker):
            def end(self, trailers: Any) -> None:
                done.callback(None)

        taker = Waiting()
        exchange.relay(taker)
        await done
        return taker.content

    async def refused(self, certificate: PrivateCertificate, host: str = "localhost", roots: Any = None) -> str:
        port = self.listen(certificate)
        try:
            await self.fetch(self.pool(roots or AUTHORITY.roots), host, port)
        except UpstreamFailure as failure:
            self.assertEqual((failure.kind, failure.sent), ("tls", False))
            return str(failure)
        raise AssertionError("the certificate was accepted")

    async def test_aCertificateForTheNameIsAccepted(self) -> None:
        port = self.listen(AUTHORITY.issue("localhost"))
        pool = self.pool()
        self.assertEqual(await self.fetch(pool, "localhost", port), b"http/1.1")
        self.assertEqual(await self.fetch(pool, "localhost", port), b"http/1.1")
        self.assertEqual((len(self.factory.seen), pool.idle), (1, 1))
        (connection,) = pool._connections
        self.assertIs(type(connection.transport), TLSMemoryBIOProtocol)
        self.assertTrue(connection.transport.transport.getTcpNoDelay())
        self.assertTrue(is_quiet(connection.transport))

    async def test_aCertificateForTheAddressIsAccepted(self) -> None:
        port = self.listen(AUTHORITY.issue("127.0.0.1"))
        self.assertEqual(await self.fetch(self.pool(), "127.0.0.1", port), b"http/1.1")

    async def test_aServerWithoutProtocolNegotiationIsAccepted(self) -> None:
        port = self.listen(AUTHORITY.issue("localhost"), negotiating=False)
        self.assertEqual(await self.fetch(self.pool(), "localhost", port), b"none")

    async def test_aCertificateForAnotherNameIsRefused(self) -> None:
        text = await self.refused(AUTHORITY.issue("other.test", common="localhost"))
        self.assertEqual(text, "tls: the certificate is for another name")

    async def test_aNameDoesNotStandForAnAddress(self) -> None:
        await self.refused(AUTHORITY.issue("localhost"), "127.0.0.1")

    async def test_aCertificateWithoutSubjectAltNameIsRefused(self) -> None:
        text = await self.refused(AUTHORITY.issue(common="localhost"))
        self.assertEqual(text, "tls: the certificate names no host in a subjectAltName")

    async def test_anUnknownAuthorityIsRefused(self) -> None:
        text = await self.refused(Authority().issue("localhost"))
        self.assertIn("certificate verify failed", text)

    async def test_anExpiredCertificateIsRefused(self) -> None:
        await self.refused(AUTHORITY.issue("localhost", days=-1))

    async def test_theEnvironmentCanNameTheRoots(self) -> None:
        file = tempfile.NamedTemporaryFile(suffix=".pem")  # noqa: SIM115  # closed by the clean-up
        self.addCleanup(file.close)
        file.write(AUTHORITY.pem)
        file.flush()
        port = self.listen(AUTHORITY.issue("localhost"))
        with self.assertRaises(UpstreamFailure):
            await self.fetch(self.pool(None), "localhost", port)
        before = os.environ.get("SSL_CERT_FILE")
        if before is not None:
            self.addCleanup(os.environ.__setitem__, "SSL_CERT_FILE", before)
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = file.name
        self.assertEqual(await self.fetch(self.pool(None), "localhost", port), b"http/1.1")

    async def test_aHandshakeThatNeverEndsHasItsClock(self) -> None:
        port = self.listen(None)
        with self.assertRaises(UpstreamFailure) as caught:
            await self.fetch(self.pool(), "127.0.0.1", port, Clocks(tls=0.1))
        self.assertEqual((caught.exception.kind, caught.exception.sent), ("tls-timeout", False))

    async def test_aPeerThatLeavesInTheHandshakeIsAFailure(self) -> None:
        class Leaving(Answering):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.transport.abortConnection()

        self.factory.protocol = Leaving
        port = self.listen(None)
        with self.assertRaises(UpstreamFailure) as caught:
            await self.fetch(self.pool(), "127.0.0.1", port)
        self.assertEqual(caught.exception.kind, "tls")

    async def test_aCloseWithoutGoodbyeCutsABodyThatLastsUntilTheClose(self) -> None:
        class Cutting(Answering):
            def dataReceived(self, data: bytes) -> None:
                transport = self.transport
                transport.write(b"HTTP/1.1 200 OK\r\n\r\nhello")
                transport._aggregator.flush()
                transport.transport.loseConnection()

        self.factory.protocol = Cutting
        port = self.listen(AUTHORITY.issue("localhost"))
        exchange = self.pool().send(
            OutgoingRequest(Origin("https", "localhost", port), b"GET", b"/", [], clocks=Clocks(tls=5))
        )
        await exchange.head
        done: Deferred[UpstreamFailure | None] = Deferred()

        class Waiting(Taker):
            def end(self, trailers: Any) -> None:
                done.callback(None)

            def failed(self, failure: UpstreamFailure) -> None:
                done.callback(failure)

        exchange.relay(Waiting())
        failure = await done
        assert failure is not None
        self.assertEqual(failure.kind, "cut")


class CreatorTests(SynchronousTestCase):
    def test_thereIsOneCreatorForEachHost(self) -> None:
        tls = ClientTLS(None, AUTHORITY.roots)  # type: ignore[arg-type]  # no write is delayed, so no clock is used
        self.assertIs(tls.factory("a.test"), tls.factory("a.test"))
        self.assertIsNot(tls.factory("a.test"), tls.factory("b.test"))

    def test_reasonsAreShort(self) -> None:
        self.assertEqual(describe(Failure(SSL.Error([("SSL routines", "", "no shared cipher")]))), "no shared cipher")
        self.assertEqual(describe(Failure(SSL.Error())), "Error")
