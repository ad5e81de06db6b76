"""Credentials: what is left out, what is refused, and that nothing is shown."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.config.credential import client_keys, secret, secrets
from llmux.config.secret import Secret
from tests.configuring import outcome, value


class SecretTests(SynchronousTestCase):
    def test_aSecretIsTrimmedAndABlankOneIsNone(self) -> None:
        self.assertEqual(outcome(secret, "' sk-1 '"), Secret("sk-1"))
        self.assertEqual(outcome(secret, "12345678"), Secret("12345678"))
        self.assertIsNone(outcome(secret, "'  '"))
        self.assertIsNone(outcome(secret, "${V}", {"V": ""}))
        self.assertEqual(outcome(secret, "${V}", {"V": "sk-1\n"}), Secret("sk-1"))

    def test_anUnsetVariableWarnsByName(self) -> None:
        at = value("k: ${NOPE}\n")
        self.assertIsNone(secret(at))
        self.assertEqual(at.ledger.settle(), ("llmux.yaml:1:4: k: environment variable NOPE is not set; left out",))

    def test_whatAHeaderCannotCarryIsRefusedWithoutBeingShown(self) -> None:
        for written in ('"sk-hid\\nden"', "sk-hidden-é", '"sk-hidden\\x00"'):
            found = outcome(secret, written)
            self.assertEqual(found, "refused: has a character that a header cannot carry")
        self.assertEqual(
            outcome(secret, "${V}", {"V": "a\r\nb"}), "refused: has a character that a header cannot carry"
        )


class SecretListTests(SynchronousTestCase):
    def test_blanksUnsetOnesAndRepetitionsAreLeftOut(self) -> None:
        at = value("k: [a, ${NOPE}, '', a, ~, b]\n")
        self.assertEqual(secrets(at), (Secret("a"), Secret("b")))
        self.assertEqual(
            at.ledger.settle(),
            (
                "llmux.yaml:1:8: k[1]: environment variable NOPE is not set; left out",
                "llmux.yaml:1:17: k[2]: is blank; left out",
                "llmux.yaml:1:24: k[4]: is blank; left out",
            ),
        )

    def test_aListIsAList(self) -> None:
        self.assertEqual(outcome(secrets, "sk-1"), "refused: expected a list, found a single value")
        self.assertEqual(outcome(secrets, "[]"), ())

    def test_clientKeysThatProtectNothingAreRefused(self) -> None:
        self.assertEqual(outcome(client_keys, "[]"), ())
        self.assertEqual(outcome(client_keys, "[${NOPE}, a]"), (Secret("a"),))
        for written in ("[${NOPE}]", "['']", "[~, ${NOPE}]", "[${V}]"):
            self.assertIn("open to everyone", outcome(client_keys, written, {"V": ""}))
