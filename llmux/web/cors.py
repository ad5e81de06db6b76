"""What pages of configured origins may read (SPEC 2.2): pure, and off by default."""

from __future__ import annotations

from llmux.headers import RawHeaders


def cors_headers(allowed: tuple[str, ...], origin: bytes | None) -> RawHeaders:
    """The headers for an answer to a page of `origin`; none for an origin that is not configured."""
    if not allowed or origin is None:
        return []
    if "*" in allowed:
        return [(b"Access-Control-Allow-Origin", b"*")]
    if origin.decode("latin-1") in allowed:
        return [(b"Access-Control-Allow-Origin", origin), (b"Vary", b"Origin")]
    return []
