"""Blobs of one vendor carried in the slots of another: the tags of TRANSLATION 2.7."""

from __future__ import annotations

import base64
import binascii
from typing import Literal, get_args

from llmux.formats.neutral import Opaque, Vendor

Kind = Literal["think", "redacted", "enc", "part"]
_PREFIX = "llmux:1:"
_PREFIX_BASE64 = base64.b64encode(_PREFIX.encode()[:6]).decode()  # six bytes end on a base64 group
_KINDS: dict[Vendor, tuple[Kind, ...]] = {"anthropic": ("think", "redacted"), "openai": ("enc",), "gemini": ("part",)}
BYPASS_SIGNATURE = "skip_thought_signature_validator"


def tag(opaque: Opaque) -> str:
    """Text for a slot of another vendor: `llmux:1:<origin>:<kind>:<raw>`."""
    return f"{_PREFIX}{opaque.origin}:{opaque.kind}:{opaque.raw}"


def parse_tag(text: str) -> Opaque | None:
    """What `tag` was given, or None when the text is no tag of ours."""
    if not text.startswith(_PREFIX):
        return None
    pieces = text[len(_PREFIX) :].split(":", 2)
    if len(pieces) != 3:
        return None
    for origin in get_args(Vendor):
        for kind in _KINDS[origin]:
            if pieces[0] == origin and pieces[1] == kind:
                return Opaque(origin, kind, pieces[2])
    return None


def untag(text: str, client_vendor: Vendor, kind: Kind | None = None) -> Opaque:
    """The blob in a slot of a client: a tagged one gives its origin, any other belongs to the client's own vendor.

    `kind` is the kind of an untagged blob; by default the first that the vendor has (think, enc, part).
    """
    return parse_tag(text) or Opaque(client_vendor, kind or _KINDS[client_vendor][0], text)


def tag_for_gemini(opaque: Opaque) -> str:
    """Text for a `thoughtSignature`, whose type is bytes: Gemini's own blob as it is, else the tag in base64."""
    if opaque.origin == "gemini":
        return opaque.raw
    return base64.b64encode(tag(opaque).encode("utf-8", "surrogatepass")).decode("ascii")


def untag_from_gemini(text: str) -> Opaque:
    """The blob in a `thoughtSignature`; both base64 alphabets are read, since the SDKs write either."""
    if text.startswith(_PREFIX_BASE64):
        standard = text.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            plain = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode("utf-8")
        except (binascii.Error, ValueError):
            return Opaque("gemini", "part", text)
        return parse_tag(plain) or Opaque("gemini", "part", text)
    return untag(text, "gemini")
