"""A certificate authority for the length of a test run, and servers that speak TLS with what it signs."""

from __future__ import annotations

import atexit
import datetime
import shutil
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.protocols.tls import TLSMemoryBIOFactory

_LIFE = datetime.timedelta(days=2)


class Authority:
    """Signs certificates for names; `path` is a PEM file with its own certificate, as SSL_CERT_FILE wants it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.certificate = self._sign(self._name, self._key.public_key(), x509.BasicConstraints(True, None))
        folder = tempfile.mkdtemp(prefix="llmux-test-")
        atexit.register(shutil.rmtree, folder, True)
        self.path = Path(folder, "authority.pem")
        self.path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, *names: str) -> PrivateCertificate:
        """A certificate with its key for a server of these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        certificate = self._sign(subject, key.public_key(), alternatives)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        loaded: PrivateCertificate = PrivateCertificate.loadPEM(
            certificate.public_bytes(serialization.Encoding.PEM) + pem
        )
        return loaded

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _LIFE)
            .not_valid_after(now + _LIFE)
            .add_extension(extension, critical=False)
            .sign(self._key, hashes.SHA256())
        )


@lru_cache(maxsize=1)
def trusted() -> Authority:
    """The authority that the daemon under test trusts."""
    return Authority()


class TLSPorts:
    """A reactor for `ScriptedServer` whose ports speak TLS with one certificate."""

    def __init__(self, reactor: Any, certificate: PrivateCertificate) -> None:
        self._reactor = reactor
        self._certificate = certificate

    def listenTCP(self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        options = CertificateOptions(
            privateKey=self._certificate.privateKey.original,
            certificate=self._certificate.original,
            acceptableProtocols=[b"http/1.1"],  # without any, Twisted refuses every client that offers some
        )
        wrapped = TLSMemoryBIOFactory(options, False, factory)
        listening: IListeningPort = self._reactor.listenTCP(port, wrapped, backlog, interface)
        return listening
