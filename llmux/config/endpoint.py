"""Listening addresses: Twisted endpoint strings, checked without Twisted."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from llmux.config.problem import suggest
from llmux.config.reader import Fault, Value, filled

KINDS = ("tcp", "tcp6", "ssl", "unix", "systemd", "haproxy")
LOOPBACK = "127.0.0.1"
_EXAMPLE = "tcp:8317:interface=127.0.0.1"
_TOKEN = re.compile(r"((?:\\.|[^\\:=])*)([:=]|\Z)", re.DOTALL)
_NOT_KINDS = {"localhost", "http", "https"}
_PLUGIN = re.compile(r"[a-z][a-z0-9_+-]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint string in parts: `tcp:8317:interface=::1` is kind, positional arguments and named ones."""

    kind: str
    arguments: tuple[str, ...]
    options: dict[str, str]


def parse(written: str) -> Endpoint:
    """Take an endpoint string apart as Twisted does: colons separate, a backslash takes the next character as it is."""
    arguments: list[str] = []
    options: dict[str, str] = {}
    name: str | None = None
    piece = ""
    for match in _TOKEN.finditer(written):
        piece += re.sub(r"\\(.)", r"\1", match.group(1), flags=re.DOTALL)
        if match.group(2) == "=" and name is None:
            name, piece = piece, ""
        elif match.group(2) == "=":
            piece += "="
        else:
            if name is None:
                arguments.append(piece)
            else:
                options[name] = piece
            name, piece = None, ""
            if match.end() == len(written) and match.group(2) == "":
                break
    return Endpoint(arguments[0] if arguments else "", tuple(arguments[1:]), options)


def quote(argument: str) -> str:
    """Write text so that it stands for itself inside an endpoint string."""
    return re.sub(r"([\\:=])", r"\\\1", argument)


def protected(written: str) -> bool:
    """Whether an endpoint is out of reach of other machines, or reach is somebody else's decision (DESIGN D-54)."""
    endpoint = parse(written)
    if endpoint.kind in ("unix", "systemd"):
        return True
    if endpoint.kind == "haproxy":
        return protected(written.split(":", 1)[1])
    if endpoint.kind not in ("tcp", "tcp6", "ssl"):
        return False
    return _is_loopback(endpoint.options.get("interface", ""))


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        address: IPv4Address | IPv6Address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


def listen(value: Value) -> str:
    """One endpoint string."""
    written = filled(value)
    _check(value, written)
    return written


def _check(value: Value, written: str) -> None:
    endpoint = parse(written)
    if endpoint.kind == "haproxy":
        inner = written.split(":", 1)[1] if ":" in written else ""
        return _check(value, inner)
    if endpoint.kind in ("tcp", "tcp6", "ssl"):
        port = endpoint.options.get("port", endpoint.arguments[0] if endpoint.arguments else "")
        if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
            raise Fault(value, f"expected a port between 0 and 65535, as in {_EXAMPLE}")
    elif endpoint.kind == "unix":
        if not endpoint.options.get("address", endpoint.arguments[0] if endpoint.arguments else ""):
            raise Fault(value, "expected a path, as in unix:/run/llmux.sock")
    elif endpoint.kind not in KINDS:
        close = suggest(endpoint.kind, KINDS)
        if close or endpoint.kind in _NOT_KINDS or ":" not in written or not _PLUGIN.fullmatch(endpoint.kind):
            raise Fault(value, f"expected an endpoint such as {_EXAMPLE}", close)
    return None


def from_host(host: str, port: int, tls: tuple[str, str] | None) -> str:
    """The endpoint of a `host` and `port`; a blank host means every interface. `tls` is certificate and key file."""
    address = host.strip("[]")
    if address.lower() == "localhost":
        address = LOOPBACK
    interface = f":interface={quote(address)}" if address else ""
    if tls is None:
        return f"tcp:{port}{interface}"
    certificate, key = tls
    return f"ssl:{port}:certKey={quote(certificate)}:privateKey={quote(key)}{interface}"
