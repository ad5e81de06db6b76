"""Who an upstream proves to be: TLS with verification that refuses when it cannot decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from OpenSSL.crypto import X509
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, ServiceID
from service_identity.hazmat import verify_service_identity as verify
from service_identity.pyopenssl import extract_patterns
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

ALPN = b"http/1.1"

TrustRoots = Any  # what twisted.internet.ssl takes as trustRoot: trustRootFromCertificates, a Certificate, or None


class NotVerified(Exception):
    """The certificate does not prove the name; the text is fit for a log."""


@implementer(IOpenSSLClientConnectionCreator)
class VerifyingCreator:
    """Makes TLS client connections to one host, as `optionsForClientTLS` does, with a verification of our own.

    Twisted's accepts, for every host name, a certificate from a trusted root that has no subjectAltName: the error
    for it is none that its callback catches (DESIGN 4). Here nothing but success is success.
    """

    def __init__(self, host: str, trust_roots: TrustRoots) -> None:
        self._options = optionsForClientTLS(host, trust_roots, acceptableProtocols=[ALPN])
        literal = isIPAddress(host) or isIPv6Address(host)
        self._identity: ServiceID = IPAddress_ID(host) if literal else DNS_ID(host)

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection: SSL.Connection = self._options.clientConnectionForTLS(tlsProtocol)
        connection.set_verify(
            SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
            verification(self._identity, tlsProtocol.failVerification),
        )
        return connection


def verification(
    identity: ServiceID, fail: Callable[[Failure], None]
) -> Callable[[SSL.Connection, X509, int, int, int], bool]:
    """Return a callback for OpenSSL that says no unless the leaf certificate names `identity`."""

    def callback(connection: SSL.Connection, certificate: X509, error: int, depth: int, trusted: int) -> bool:
        if depth or not trusted:
            return bool(trusted)
        try:
            verify(extract_patterns(certificate), [identity], [])
        except VerificationError:
            fail(Failure(NotVerified("the certificate is for another name")))
        except Exception:
            fail(Failure(NotVerified("the certificate names no host in a subjectAltName")))
        else:
            return True
        return False

    return callback


class ClientTLS:
    """TLS towards upstreams: one creator per host, kept, since making one reads all trust roots.

    `trust_roots` None means the platform's, which the environment's SSL_CERT_FILE replaces.
    """

    def __init__(self, clock: IReactorTime, trust_roots: TrustRoots = None) -> None:
        self._clock = clock
        self._trust_roots = trust_roots
        self._factories: dict[str, TLSMemoryBIOFactory] = {}

    def factory(self, host: str) -> TLSMemoryBIOFactory:
        """Return what wraps protocols for connections to `host`; raises ValueError for an impossible name."""
        factory = self._factories.get(host)
        if factory is None:
            try:
                creator = VerifyingCreator(host, self._trust_roots)
            except Exception as error:
                raise ValueError(f"no TLS to this host: {type(error).__name__}") from None
            factory = TLSMemoryBIOFactory(creator, True, Factory(), clock=self._clock)
            factory.protocol = TLSMemoryBIOProtocol  # what buffers writes for a turn would delay each of them
            self._factories[host] = factory
        return factory


def describe(reason: Failure) -> str:
    """Say in a few words, fit for a log, why a handshake failed."""
    error = reason.value
    if isinstance(error, NotVerified):
        return str(error)
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list) and error.args[0]:
        return str(error.args[0][-1][-1])
    return type(error).__name__
