"""Who may pass: the checks before a handler, in the order of SPEC 2.4, as one pure function."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from llmux.client_keys import Access, ClientKeys, Identity
from llmux.errors import forbidden_origin, invalid_key, missing_key, no_upstream, options_refused, unsafe_path
from llmux.headers import RawHeaders
from llmux.targets import has_dot_segment
from llmux.web.routes import Route

_ACTORS = (b"/actors", b"/api/thread-actors", b"/api/user-actor-credentials")


@dataclass(frozen=True, slots=True)
class Policy:
    """What the guards need to know of one configuration."""

    keys: ClientKeys
    upstream: bool
    localhost_only: bool


def admit(route: Route, policy: Policy, method: bytes, target: bytes, headers: RawHeaders, peer: str) -> Identity:
    """Tell whose request this is, or raise the HTTPProblem that refuses it.

    A passthrough route asks for an upstream first, then refuses OPTIONS, remote peers, unknown clients and paths with
    dot segments (SPEC R-RT-10, R-RT-11, R-HD-11); other routes ask for the client key only.
    """
    if route.guarded:
        if not policy.upstream:
            raise no_upstream()
        if method == b"OPTIONS":
            raise options_refused()
        if policy.localhost_only and not is_loopback(peer):
            raise forbidden_origin()
    identity = policy.keys.identify(headers, target)
    if route.key == "required" and not identity.allowed:
        raise missing_key() if identity.access is Access.MISSING else invalid_key()
    if route.kind in ("passthrough", "model") and has_dot_segment(target):
        raise unsafe_path()
    return identity


def lends_upstream_key(route: Route, identity: Identity) -> bool:
    """Whether the upstream's credential goes with the request: on bypassed routes only for known clients (R-HD-3)."""
    return route.key == "required" or identity.allowed


def is_actors(path: bytes) -> bool:
    """Whether a path is one of the upstream's own agents, which spend credits without a model request (DESIGN D-46)."""
    decoded = _decoded(path)
    return any(decoded == root or decoded.startswith(root + b"/") for root in _ACTORS)


def is_unrouted_call(method: bytes, path: bytes) -> bool:
    """Whether a passthrough request is a call below the upstream's providers, such as embeddings, which may cost."""
    return method not in (b"GET", b"HEAD") and _decoded(path).startswith(b"/api/provider/")


def _decoded(path: bytes) -> bytes:
    """A path as a server behind the upstream may read it."""
    return b"/" + unquote_to_bytes(path).lstrip(b"/")


def is_loopback(peer: str) -> bool:
    """Whether a peer's address is 127.0.0.0/8, ::1 or the IPv4-mapped form; anything unreadable is not."""
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
