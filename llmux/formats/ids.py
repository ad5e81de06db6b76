"""Ids of answers, items and tool calls as each format wants them (TRANSLATION 4.1): pure functions, no randomness."""

from __future__ import annotations

import hashlib
import re
from typing import Literal

from llmux.formats.neutral import Format

ItemKind = Literal["msg", "rs", "fc", "ctc", "ws"]

_KNOWN_PREFIX = re.compile(r"chatcmpl[-_]|msg_|resp_|gen-")
_NOT_IN_STEM = re.compile(r"[^A-Za-z0-9_-]+")
_WORD = re.compile(r"[A-Za-z0-9_-]+")
_MESSAGE_PREFIX: dict[Format, str] = {"chat": "chatcmpl-", "responses": "resp_", "anthropic": "msg_", "gemini": ""}
_CALL_PREFIX: dict[Format, str] = {
    "chat": "call_",
    "responses": "call_",
    "anthropic": "toolu_",
    "gemini": "call_",
}
_CALL_LENGTH: dict[Format, int] = {"chat": 40, "responses": 64}  # reported by users, not documented
_ABSENT = "\0"


def stem(upstream_id: str | None) -> str | None:
    """What all ids of one answer share; None when the upstream gave nothing to make it from."""
    if not upstream_id:
        return None
    prefix = _KNOWN_PREFIX.match(upstream_id)
    return _NOT_IN_STEM.sub("", upstream_id[prefix.end() :] if prefix else upstream_id) or None


def message_id(client: Format, id_stem: str) -> str:
    """The id of the whole answer in the client's format."""
    return _MESSAGE_PREFIX[client] + id_stem


def item_id(kind: ItemKind, id_stem: str, output_index: int) -> str:
    """The id of one Responses output item."""
    return f"{kind}_{id_stem}_{output_index}"


def made_call_id(client: Format, id_stem: str, number: int, choice: int = 0) -> str | None:
    """An id for a call that came without one; `number` counts the calls of the choice. None for Gemini clients."""
    if client == "gemini":
        return None
    place = f"c{choice}_{number}" if choice else str(number)
    return f"{_CALL_PREFIX[client]}{id_stem}_{place}"


def history_id(turn: int, part: int, name: str) -> str:
    """Stands for a call in a history that has no id; `fit` makes it real. Counts are those of the request as received.

    Equal histories give equal ids, or every prompt cache would miss.
    """
    return f"{_ABSENT}{turn}:{part}:{name}"


def is_history_id(call_id: str) -> bool:
    """Whether the client's history had no id for this call."""
    return call_id.startswith(_ABSENT)


def fit(call_id: str, receiver: Format) -> str:
    """The call id as the receiver accepts it: unchanged if possible, else a prefix and 24 hex digits of its sha256."""
    if call_id.startswith(_ABSENT):
        return _CALL_PREFIX[receiver] + _digest(call_id[1:])
    if receiver == "gemini" and call_id:
        return call_id
    if receiver == "chat":
        fits = 0 < len(call_id) <= _CALL_LENGTH["chat"]
    elif receiver == "responses":
        fits = len(call_id) <= _CALL_LENGTH["responses"] and _WORD.fullmatch(call_id) is not None
    else:
        fits = _WORD.fullmatch(call_id) is not None
    return call_id if fits else _CALL_PREFIX[receiver] + _digest(call_id)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]
