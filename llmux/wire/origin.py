"""Where an upstream is: scheme, host and port, and the base path its URL adds to every target."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,62})(?:\.[a-z0-9_][a-z0-9_-]{0,62})*\.?")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
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
        if _UNPRINTABLE.search(url):
            raise ValueError("the URL has a space or a control character")  # urlsplit would drop some of them
        try:
            parts = urlsplit(url)
        except ValueError:
            raise ValueError("the URL has no valid host") from None
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
        host = _ascii_host(parts.hostname or "")
        if not _BASE_PATH.fullmatch(parts.path):
            raise ValueError("the path of the URL has a character that must be escaped")
        return cls(parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme]), parts.path.rstrip("/").encode("ascii")


def _ascii_host(host: str) -> str:
    """Write an address in its shortest form and an international name in ASCII (RFC 3490); refuse anything else."""
    try:
        if ":" in host:
            return str(IPv6Address(host))
        if not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError:
        host = ""
    if not _HOST.fullmatch(host):
        raise ValueError("the URL has no valid host")
    return host
