"""A credential is never printed by accident (SPEC R-LG-2)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.config.secret import Secret, mask


class SecretTests(SynchronousTestCase):
    def test_shortValuesAreHiddenCompletely(self) -> None:
        for length in range(9):
            self.assertEqual(mask("abcdefgh"[:length]), "****")

    def test_longValuesShowTheirEndsAtMost(self) -> None:
        self.assertEqual(mask("sk-abcdefghijklmnopqrstuvwxyz-end"), "sk-a...-end")
        self.assertEqual(mask("abcdefghi"), "a...i")

    @settings(max_examples=50, deadline=None)
    @given(st.text(min_size=9, max_size=60))
    def test_atMostFourCharactersOfEachEndAreShown(self, key: str) -> None:
        shown, left = divmod(len(mask(key)) - len("..."), 2)  # the key itself may contain the dots
        self.assertEqual((mask(key), left), (f"{key[:shown]}...{key[-shown:]}", 0))
        self.assertLessEqual(shown, 4)
        self.assertGreaterEqual(len(key) - 2 * shown, 4)

    def test_onlyRevealGivesTheValue(self) -> None:
        secret = Secret("sk-abcdefghijklmnop")
        self.assertEqual(secret.reveal(), "sk-abcdefghijklmnop")
        for shown in (str(secret), repr(secret), f"{secret}", repr([secret])):
            self.assertNotIn("efghijkl", shown)

    def test_secretsAreValues(self) -> None:
        self.assertEqual(Secret("a"), Secret("a"))
        self.assertNotEqual(Secret("a"), Secret("b"))
        self.assertNotEqual(Secret("a"), "a")
        self.assertEqual(len({Secret("a"), Secret("a"), Secret("b")}), 2)
