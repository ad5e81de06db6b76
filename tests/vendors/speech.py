"""What the vendors have in common: what a model heard, what it says, blobs that only their maker can read."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

INPUT, CACHED, WRITTEN, OUTPUT, REASONING = 100, 20, 10, 30, 12
"""Tokens of every answer: all input, of it read from and written to the cache; all output, of it reasoning."""
RETRY_AFTER = 7


class Refused(Exception):
    """A request that the service refuses with 400, or `status`; the text is the service's message."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


def require(truth: object, message: str) -> None:
    """Refuse the request unless something is true."""
    if not truth:
        raise Refused(message)


@dataclass(frozen=True)
class Call:
    """One tool call of a model or of the history."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Heard:
    """A request after the service took it: what its model sees."""

    model: str
    prompt: str
    stream: bool
    system: tuple[str, ...] = ()
    images: tuple[tuple[str, bytes], ...] = ()
    results: tuple[tuple[Call, str], ...] = ()
    tools: tuple[str, ...] = ()
    thinking: bool = False
    shown: bool = True
    schema: bool = False
    recalled: bool = False


@dataclass(frozen=True)
class Said:
    """What a model says; `fault` is how the answer ends badly: rate, overload or cut."""

    text: tuple[str, ...] = ()
    thoughts: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    fault: str = ""
    thinking: bool = False
    number: str = field(default="0")

    @property
    def whole(self) -> str:
        """The text in one piece."""
        return "".join(self.text)

    @property
    def thought(self) -> str:
        """The thinking in one piece."""
        return "".join(self.thoughts)

    @property
    def reasoning(self) -> int:
        """Tokens of reasoning."""
        return REASONING if self.thinking else 0


def sign(vendor: str, payload: str) -> str:
    """A blob for some text that only this vendor can have made, in standard base64."""
    digest = hmac.new(vendor.encode(), payload.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest + payload.encode()).decode()


def signed(vendor: str, blob: object, message: str) -> str:
    """The text that a blob was made for; refuses with `message` what another made or somebody touched."""
    try:
        raw = base64.b64decode(str(blob), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(message) from None
    payload = raw[32:].decode("utf-8", "replace")
    require(sign(vendor, payload) == blob, message)
    return payload


def pieces(text: str, count: int = 3) -> tuple[str, ...]:
    """A text cut into about equal pieces."""
    size = max(1, -(-len(text) // count))
    return tuple(text[at : at + size] for at in range(0, len(text), size))


def dumps(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def event(value: Any, name: str | None = None) -> bytes:
    """One message of an event stream."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {dumps(value)}\n\n".encode()


def decoded_base64(text: object, message: str) -> bytes:
    """Bytes from standard base64; refuses anything else."""
    try:
        return base64.b64decode(str(text), validate=True)
    except (binascii.Error, ValueError):
        raise Refused(message) from None


def data_url(url: object) -> tuple[str, bytes]:
    """The type and the bytes of a data URL."""
    head, found, rest = str(url).partition(";base64,")
    require(found and head.startswith("data:"), "Invalid image URL: expected a data URL")
    return head[5:], decoded_base64(rest, "Invalid base64 image_url.")


def paired(calls: Sequence[str], results: Sequence[str], message: str) -> None:
    """Refuse results that do not answer each call exactly once."""
    require(sorted(calls) == sorted(results), f"{message}: {', '.join(sorted(set(calls) ^ set(results))) or 'twice'}")
