"""Readers for web addresses and what goes into HTTP headers."""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from urllib.parse import SplitResult, urlsplit

from llmux.config import document
from llmux.config.problem import shown
from llmux.config.reader import Fault, Value, filled, text

_VISIBLE = re.compile(r"[!-\[\]-~]+")  # printable ASCII without space and backslash
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t -~]*")
_FRAMING = {
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
}


def url(value: Value) -> str:
    """An http or https address with a host and perhaps a port and a path, as written."""
    found = filled(value)
    _split(value, found)
    return found


def url_or_blank(value: Value) -> str | None:
    """Like `url`; blank switches off what the address is for."""
    found = text(value)
    if not found:
        return None
    _split(value, found)
    return found


def origin(value: Value) -> str:
    """What a browser sends as `Origin`, or `*` for every origin."""
    found = filled(value)
    if found == "*":
        return found
    if _split(value, found).path:
        raise Fault(value, "an origin ends after the host and port")
    return found.lower()


def _split(value: Value, found: str) -> SplitResult:
    if not _VISIBLE.fullmatch(found):
        raise Fault(value, "a URL is written in visible ASCII characters")
    if not re.match(r"https?://", found, re.IGNORECASE):
        raise Fault(value, "expected a URL that begins with http:// or https://")
    try:
        parts = urlsplit(found)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Fault(value, "the host or port of the URL cannot be read") from None
    if "@" in parts.netloc:
        raise Fault(value, "a URL must not carry a user name or password")
    if "?" in found or "#" in found:
        raise Fault(value, "a URL must not carry a query or a fragment")
    if not _is_host(host, "[" in parts.netloc) or port == 0 or parts.netloc.endswith(":"):
        raise Fault(value, "the URL has no usable host or port")
    if any(segment in (".", "..") for segment in parts.path.split("/")):
        raise Fault(value, "the path of a URL must not have . or .. in it")
    return parts


def _is_host(host: str, bracketed: bool) -> bool:
    if not bracketed:
        return _HOST.fullmatch(host) is not None
    try:
        IPv6Address(host)
    except ValueError:
        return False
    return True


def headers(value: Value) -> tuple[tuple[str, str], ...]:
    """Header fields as written, in file order; those that frame a message are refused."""
    node = value.node
    if not isinstance(node, document.Mapping):
        raise Fault(value, "expected header names with values")
    found: dict[str, tuple[str, str]] = {}
    for name, (written, _) in node.entries.items():
        inner = value.entry(name)
        problem = None
        if not _TOKEN.fullmatch(name):
            problem = "this is not the name of a header"
        elif name.lower() in _FRAMING:
            problem = "this header belongs to the connection and cannot be set"
        elif name.lower() in found:
            problem = "given twice in different case"
        if problem is not None:
            value.ledger.error(written, f"{value.key}.{shown(name)}", problem)
            continue
        try:
            found[name.lower()] = (name, header_value(inner))
        except Fault as fault:
            value.refuse(fault)
    return tuple(found.values())


def header_value(value: Value) -> str:
    """Text that can be sent as the value of a header."""
    found = text(value)
    if not _HEADER_VALUE.fullmatch(found):
        raise Fault(value, "has a character that a header cannot carry")
    return found
