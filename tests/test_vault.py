"""The vault keeps thinking per client, within bounds."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.neutral import Opaque, Thinking
from llmux.formats.vaulting import Entry
from llmux.peers.vault import LARGEST_ENTRY, Vault


def entry(text: str) -> Entry:
    return (Thinking(text, Opaque("anthropic", "think", "blob")),)


class VaultTests(SynchronousTestCase):
    def test_whatWasPutIsKnownToTheSameClientOnly(self) -> None:
        vault = Vault()
        vault.put("a", {"call_1": entry("thought")})
        self.assertEqual(vault.of("a")("call_1"), entry("thought"))
        self.assertIsNone(vault.of("b")("call_1"))
        self.assertIsNone(vault.of(None)("call_1"))
        self.assertIsNone(vault.of("a")("call_2"))

    def test_theOldestGoFirstBeyondTheNumberOfEntries(self) -> None:
        vault = Vault(most_entries=2)
        for name in ("1", "2", "3"):
            vault.put("a", {name: entry(name)})
        self.assertEqual([vault.of("a")(name) is not None for name in ("1", "2", "3")], [False, True, True])

    def test_theOldestGoFirstBeyondTheBytes(self) -> None:
        vault = Vault(most_bytes=100)
        vault.put("a", {"1": entry("x" * 60)})
        vault.put("a", {"2": entry("y" * 60)})
        self.assertEqual(len(vault), 1)

    def test_anEntryPutAgainCountsOnce(self) -> None:
        vault = Vault(most_bytes=100)
        for _ in range(5):
            vault.put("a", {"1": entry("x" * 60)})
        self.assertEqual(len(vault), 1)

    def test_oneHugeEntryIsNotKept(self) -> None:
        vault = Vault()
        vault.put("a", {"1": entry("x" * LARGEST_ENTRY)})
        self.assertEqual(len(vault), 0)
