"""Thinking that Chat clients have no slot for, kept until their next request (TRANSLATION 2.7).

In memory, bounded, and per client key: nobody gets another client's blobs. A miss is normal. Off unless the
configuration has a provider that needs it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from llmux.config.model import ProviderConfig
from llmux.formats.neutral import Redacted, Thinking
from llmux.formats.vaulting import Entry

MOST_ENTRIES = 10_000
LARGEST_ENTRY = 1024 * 1024
MOST_BYTES = 64 * 1024 * 1024
_SIGNING = frozenset(("anthropic", "openai-responses", "gemini"))


def needs_vault(providers: Iterable[ProviderConfig]) -> bool:
    """Whether Chat clients can reach a provider whose thinking must come back."""
    return any(
        provider.enabled and provider.kind in _SIGNING and (provider.protocols is None or "chat" in provider.protocols)
        for provider in providers
    )


class Vault:
    """Call id to the opaque parts that came before that call, by client key; what was not used for longest goes first.

    Every request asks for all calls of its conversation, so that those of one that goes on stay.
    """

    def __init__(self, most_entries: int = MOST_ENTRIES, most_bytes: int = MOST_BYTES) -> None:
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._bytes = 0
        self._on = True
        self._entries: dict[tuple[str | None, str], tuple[Entry, int]] = {}
        self._asked: deque[tuple[str | None, str]] = deque(maxlen=most_entries)

    def __len__(self) -> int:
        return len(self._entries)

    def configure(self, providers: Iterable[ProviderConfig]) -> None:
        """Switch on or off as these providers need it; what was kept is forgotten with the need."""
        self._on = needs_vault(providers)
        if not self._on:
            self._entries.clear()
            self._bytes = 0

    def put(self, client_key: str | None, entries: Mapping[str, Entry]) -> None:
        """Keep what came before each call; what is larger than 1 MiB is not worth keeping."""
        while self._asked:
            used = self._asked.popleft()
            if used in self._entries:
                self._entries[used] = self._entries.pop(used)
        for call_id, entry in entries.items() if self._on else ():
            size = len(call_id) + sum(_size(part) for part in entry)
            if size > LARGEST_ENTRY:
                continue
            self._drop((client_key, call_id))
            self._entries[client_key, call_id] = (entry, size)
            self._bytes += size
        while self._entries and (len(self._entries) > self._most_entries or self._bytes > self._most_bytes):
            self._drop(next(iter(self._entries)))

    def of(self, client_key: str | None) -> Callable[[str], Entry | None]:
        """What is known of a call, for one client; safe to ask from a thread."""
        entries, asked = self._entries, self._asked

        def known(call_id: str) -> Entry | None:
            found = entries.get((client_key, call_id))
            if found is None:
                return None
            asked.append((client_key, call_id))
            return found[0]

        return known

    def _drop(self, key: tuple[str | None, str]) -> None:
        _, size = self._entries.pop(key, ((), 0))
        self._bytes -= size


def _size(part: Thinking | Redacted) -> int:
    text = part.text if isinstance(part, Thinking) else ""
    return len(text) + (len(part.signature.raw) if part.signature is not None else 0)
