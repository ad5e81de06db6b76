"""The vault keeps thinking per client, within bounds."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.config.model import ProviderConfig
from llmux.formats.neutral import Opaque, Thinking
from llmux.formats.vaulting import Entry
from llmux.peers.vault import LARGEST_ENTRY, Vault


def provider(kind: str, **members: Any) -> ProviderConfig:
    return ProviderConfig(name="p", kind=kind, base_url="https://p.test", **members)


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

    def test_whatIsAskedForStaysLonger(self) -> None:
        vault = Vault(most_entries=2)
        vault.put("a", {"1": entry("1"), "2": entry("2")})
        for name in ("1", "unknown", "1"):
            vault.of("a")(name)
        vault.put("a", {"3": entry("3")})
        self.assertEqual([vault.of("a")(name) is not None for name in ("1", "2", "3")], [True, False, True])

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

    def test_itIsOffUnlessAChatClientCanReachAProviderThatSigns(self) -> None:
        cases: list[tuple[list[ProviderConfig], bool]] = [
            ([], False),
            ([provider("openai"), provider("demo")], False),
            ([provider("anthropic")], True),
            ([provider("openai-responses")], True),
            ([provider("openai"), provider("gemini")], True),
            ([provider("gemini", protocols=("gemini", "anthropic"))], False),
            ([provider("gemini", protocols=("gemini", "chat"))], True),
            ([provider("anthropic", enabled=False)], False),
        ]
        for providers, on in cases:
            vault = Vault()
            vault.put("a", {"0": entry("before")})
            vault.configure(providers)
            vault.put("a", {"1": entry("after")})
            self.assertEqual(len(vault), 2 if on else 0, providers)
            self.assertEqual(vault.of("a")("1") is not None, on, providers)
