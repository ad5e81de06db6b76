"""Header lists as they cross the daemon: which names stop, which are replaced (SPEC 11 and 12)."""

from __future__ import annotations

RawHeaders = list[tuple[bytes, bytes]]
