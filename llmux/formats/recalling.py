"""Gives a Chat client's history the opaque state back that it has no slot for (TRANSLATION 2.7, the vault)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from llmux.formats.neutral import Call, Part, Redacted, Request, Thinking, Turn

Vault = Callable[[str], Sequence[Thinking | Redacted] | None]


def recall(request: Request, vault: Vault) -> Request:
    """`request` with what `vault` knows of its calls, by the client's call id; other clients than Chat need none.

    A miss is normal. Gemini's blobs go directly before their call, since they return to the next part; the others
    begin the turn, where their vendors want them.
    """
    if request.format != "chat":
        return request
    turns = tuple(_recalled(turn, vault) if turn.role == "assistant" else turn for turn in request.turns)
    return replace(request, turns=turns)


def _recalled(turn: Turn, vault: Vault) -> Turn:
    parts: list[Part] = []
    front: list[Part] = []
    first = True
    for part in turn.parts:
        if isinstance(part, Call):
            for known in vault(part.id) or ():
                if part.signature is not None and known.signature == part.signature:
                    continue  # this client keeps `extra_content`, so the blob is there already
                begins = first and known.signature is not None and known.signature.origin != "gemini"
                (front if begins else parts).append(known)
            first = False
        parts.append(part)
    if front:
        parts = [part for part in parts if not (isinstance(part, Thinking) and part.signature is None)]
    return replace(turn, parts=(*front, *parts)) if len(parts) != len(turn.parts) or front else turn
