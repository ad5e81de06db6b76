"""Raw answers of scripted servers, as the vectors describe them: status, headers and a body in one of its spellings."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from typing import Any

from tests.conversation import Headers
from tests.scripted import Seen

_BODILESS = (204, 304)


def body_of(response: Mapping[str, Any]) -> bytes:
    """The bytes of `body`, `body_latin1`, `body_gzip_of`, `body_gzip_truncated` or `body_parts`."""
    if "body_latin1" in response:
        return str(response["body_latin1"]).encode("latin-1")
    if "body_gzip_of" in response:
        whole = gzip.compress(str(response["body_gzip_of"]).encode(), mtime=0)
        return whole + (
            gzip.compress(response["then_gzip_of"].encode(), mtime=0) if "then_gzip_of" in response else b""
        )
    if "body_gzip_truncated" in response:
        return gzip.compress(str(response["body_gzip_truncated"]).encode(), mtime=0)[: int(response["keep"])]
    if "body_parts" in response:
        return "".join(_part(part) for part in response["body_parts"]).encode()
    return str(response.get("body") or "").encode()


def _part(part: Any) -> str:
    """A piece of a large body: text, `[text, count]` or `{text, repeat}`."""
    if isinstance(part, Mapping):
        return str(part["text"]) * int(part.get("repeat", 1))
    return str(part[0]) * int(part[1]) if isinstance(part, list) else str(part)


def pairs_of(headers: Any) -> Headers:
    """Headers given as a map (a list for several values, None for absence) or as pairs."""
    if not headers:
        return []
    if not isinstance(headers, Mapping):
        return [(str(name), str(value)) for name, value in headers]
    found: Headers = []
    for name, value in headers.items():
        values = value if isinstance(value, list) else [value]
        found += [(name, str(each)) for each in values if each is not None]
    return found


def send(seen: Seen, response: Mapping[str, Any], content_type: str | None = None) -> None:
    """Answer exactly so: framing as the headers say, else by Content-Length, which is always that of the body."""
    body, status = body_of(response), int(response.get("status", 200))
    given = response.get("headers") or {}
    headers = pairs_of(given)
    named = {str(name).lower() for name in (given if isinstance(given, Mapping) else dict(given))}
    if content_type is not None and "content-type" not in named:
        headers.append(("Content-Type", content_type))
    chunked = any(name.lower() == "transfer-encoding" for name, _ in headers)
    headers = [(name, value) for name, value in headers if name.lower() != "content-length"]
    if not chunked and status not in _BODILESS:
        headers.append(("Content-Length", str(len(body))))
    lines = [f"HTTP/1.1 {status} Scripted", *(f"{name}: {value}" for name, value in headers)]
    seen.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
    if seen.method == "HEAD" or status in _BODILESS:
        return
    if not chunked:
        seen.write(body)
        return
    if body:
        seen.chunk(body)
    seen.end_stream()
