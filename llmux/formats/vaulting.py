"""Collects what a Chat client has no slot for: the opaque state before each call (TRANSLATION 2.7, the vault)."""

from __future__ import annotations

from collections.abc import Sequence

from llmux.formats.client import ClientCtx
from llmux.formats.events import Delta, Event, PartStart, PartStop, Sign, Start
from llmux.formats.neutral import Opaque, Redacted, Thinking

Entry = tuple[Thinking | Redacted, ...]


class BlobCollector:
    """Watches the events of one answer; `entries` has, by the client's call id, what came since the call before.

    A thinking part is kept with its text, because its vendor checks the one against the other.
    """

    __slots__ = ("_calls", "_ctx", "_pending", "_signs", "_stem", "_texts", "entries")

    def __init__(self, ctx: ClientCtx) -> None:
        self.entries: dict[str, Entry] = {}
        self._ctx = ctx
        self._stem = ctx.fresh_id
        self._calls: dict[int, int] = {}
        self._pending: dict[int, list[Thinking | Redacted]] = {}
        self._texts: dict[int, tuple[PartStart, list[str]]] = {}
        self._signs: dict[int, Opaque] = {}

    def watch(self, events: Sequence[Event]) -> None:
        """Take note of some events, which must be those that the client's encoder gets."""
        for event in events:
            if isinstance(event, Delta):
                if event.i in self._texts:
                    self._texts[event.i][1].append(event.text)
            elif isinstance(event, PartStart):
                self._open(event)
            elif isinstance(event, Sign):
                self._signs[event.i] = event.opaque
            elif isinstance(event, PartStop):
                self._stop(event.i)
            elif isinstance(event, Start):
                self._stem = self._ctx.stem(event.id)

    def _open(self, part: PartStart) -> None:
        pending = self._pending.setdefault(part.choice, [])
        if part.signature is not None:
            pending.append(Thinking("", part.signature))
        if part.kind in ("thinking", "redacted"):
            self._texts[part.i] = (part, [])
        elif part.kind == "call":
            number = self._calls.get(part.choice, 0)
            self._calls[part.choice] = number + 1
            call_id = self._ctx.call_id(part, self._stem, number)
            if call_id is not None and pending:
                self.entries[call_id] = tuple(pending)
                pending.clear()

    def _stop(self, i: int) -> None:
        part, pieces = self._texts.pop(i, (None, []))
        sign = self._signs.pop(i, None)
        if part is None or sign is None:
            return
        pending = self._pending.setdefault(part.choice, [])
        pending.append(Redacted(sign) if sign.kind == "redacted" else Thinking("".join(pieces), sign))
