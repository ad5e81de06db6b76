"""Where an upstream is: scheme, host and port, and the base path its URL adds to every target."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\.?")
_BASE_PATH = re.compile(r"(?:/[!$&'()*+,\-./0-9:;=@A-Z_a-z~%]*)?")


@dataclass(frozen=True, slots=True)
class Origin:
    """One HTTP server, as the pool tells them apart (RFC 9110 4.3.1).

    `host` is a name in its ASCII form or an address literal, without brackets; `authority` is the Host value, with the
    port only where it is not the scheme's own; `key` is the whole as text.
    """

    scheme: str
    host: str
    port: int
    authority: bytes = field(init=False, repr=False, compare=False)
    key: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        host = f"[{self.host}]" if ":" in self.host else self.host
        with_port = host if self.port == _DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"
        object.__setattr__(self, "authority", with_port.encode("ascii"))
        object.__setattr__(self, "key", f"{self.scheme}://{host}:{self.port}")

    @property
    def secure(self) -> bool:
        """Whether connections to it speak TLS."""
        return self.scheme == "https"

    @classmethod
    def parse(cls, url: str) -> tuple[Origin, bytes]:
        """Return the origin of `url` and its base path, without the slash at its end.

        Raises ValueError, without quoting the URL, when it is not http or https, has no valid host or port, or carries
        what a base URL must not: user name, password, query, fragment, or a character that needs escaping.
        """
        if not url.isascii():
            try:
                url = _to_ascii(url)
            except UnicodeError:
                raise ValueError("the host is not a valid name") from None
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS:
            raise ValueError("the URL must start with http:// or https://")
        if "@" in parts.netloc:
            raise ValueError("the URL must not contain a user name or password")
        if "?" in url or "#" in url:
            raise ValueError("the URL must not contain a query or a fragment")
        try:
            port = parts.port
        except ValueError:
            raise ValueError("the port must be a number between 1 and 65535") from None
        if port == 0:
            raise ValueError("the port must be a number between 1 and 65535")
        host = parts.hostname or ""
        if ":" in host:
            host = str(IPv6Address(host))
        elif not _HOST.fullmatch(host):
            raise ValueError("the URL has no valid host")
        if not _BASE_PATH.fullmatch(parts.path):
            raise ValueError("the path of the URL has a character that must be escaped")
        return cls(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme]), parts.path.rstrip("/").encode("ascii")


def _to_ascii(url: str) -> str:
    """Write an international host in its ASCII form (RFC 3490); other characters stay and are refused later."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return scheme + separator + authority.encode("idna").decode("ascii") + slash + path
