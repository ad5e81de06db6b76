"""Thinking that Chat clients have no slot for, kept until their next request (TRANSLATION 2.7).

In memory, bounded, and per client key: nobody gets another client's blobs. A miss is normal.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from llmux.formats.neutral import Call, Part, Redacted, Request, Thinking, Turn
from llmux.formats.vaulting import Entry

MOST_ENTRIES = 10_000
LARGEST_ENTRY = 1024 * 1024
MOST_BYTES = 64 * 1024 * 1024


class Vault:
    """Call id to the opaque parts that came before that call, by client key; the oldest go first."""

    def __init__(self, most_entries: int = MOST_ENTRIES, most_bytes: int = MOST_BYTES) -> None:
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._bytes = 0
        self._entries: OrderedDict[tuple[str | None, str], tuple[Entry, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, client_key: str | None, entries: Mapping[str, Entry]) -> None:
        """Keep what came before each call; what is larger than 1 MiB is not worth keeping."""
        for call_id, entry in entries.items():
            size = len(call_id) + sum(_size(part) for part in entry)
            if size > LARGEST_ENTRY:
                continue
            self._drop((client_key, call_id))
            self._entries[client_key, call_id] = (entry, size)
            self._bytes += size
        while self._entries and (len(self._entries) > self._most_entries or self._bytes > self._most_bytes):
            self._drop(next(iter(self._entries)))

    def restore(self, client_key: str | None, request: Request) -> Request:
        """The request with the kept parts before the calls that they belong to."""
        if not self._entries:
            return request
        turns = tuple(self._restored(client_key, turn) for turn in request.turns)
        return request if turns == request.turns else replace(request, turns=turns)

    def _restored(self, client_key: str | None, turn: Turn) -> Turn:
        if turn.role != "assistant":
            return turn
        parts: list[Part] = []
        for part in turn.parts:
            if isinstance(part, Call):
                kept = self._entries.get((client_key, part.id))
                if kept is not None:
                    self._entries.move_to_end((client_key, part.id))
                    parts.extend(kept[0])
            parts.append(part)
        return turn if len(parts) == len(turn.parts) else replace(turn, parts=tuple(parts))

    def _drop(self, key: tuple[str | None, str]) -> None:
        _, size = self._entries.pop(key, ((), 0))
        self._bytes -= size


def _size(part: Thinking | Redacted) -> int:
    text = part.text if isinstance(part, Thinking) else ""
    return len(text) + (len(part.signature.raw) if part.signature is not None else 0)
