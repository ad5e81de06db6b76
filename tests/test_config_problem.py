"""The shape of complaints about a configuration file."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.config.problem import At, ConfigError, Ledger, shown, suggest


class ConfigErrorTests(SynchronousTestCase):
    def test_itPrintsFileLineColumnKeyAndProblem(self) -> None:
        error = ConfigError("a.yaml", 3, 5, "port", "expected a whole number")
        self.assertEqual(str(error), "llmux: a.yaml:3:5: port: expected a whole number")
        self.assertEqual(error.all, (error,))

    def test_theSuggestionIsPartOfTheProblem(self) -> None:
        error = ConfigError("a.yaml", 1, 1, "prot", "unknown key", "port")
        self.assertEqual(str(error), "llmux: a.yaml:1:1: prot: unknown key; did you mean port?")
        self.assertEqual((error.problem, error.suggestion), ("unknown key; did you mean port?", "port"))


class LedgerTests(SynchronousTestCase):
    def test_itRaisesTheFirstInFileOrderWithAllOthers(self) -> None:
        ledger = Ledger("f")
        ledger.error(At(9, 1), "b", "late")
        ledger.error(At(10, 1), "c", "latest")
        ledger.error(At(2, 4), "a", "early")
        error = self.assertRaises(ConfigError, ledger.settle)
        self.assertEqual([each.key for each in error.all], ["a", "b", "c"])
        self.assertIs(error.all[0], error)

    def test_theSameProblemOfAKeyCountsOnce(self) -> None:
        ledger = Ledger("f")
        for key in ("a", "b", "a"):
            ledger.error(At(1, 1), key, "wrong")
        self.assertEqual(len(self.assertRaises(ConfigError, ledger.settle).all), 2)

    def test_warningsComeInFileOrderAndOnce(self) -> None:
        ledger = Ledger("f")
        ledger.warn(At(10, 1), "z", "odd")
        ledger.warn(At(9, 2), "y", "odd")
        ledger.warn(At(9, 2), "y", "odd")
        self.assertEqual(ledger.settle(), ("f:9:2: y: odd", "f:10:1: z: odd"))


class SuggestTests(SynchronousTestCase):
    def test_itFindsTheClosestSpelling(self) -> None:
        known = ("api-keys", "ampcode", "providers", "port")
        self.assertEqual(suggest("api_keys", known), "api-keys")
        self.assertEqual(suggest("Provider", known), "providers")
        self.assertEqual(suggest("amp-code", known), "ampcode")
        self.assertIsNone(suggest("zebra", known))
        self.assertIsNone(suggest("", known))
        self.assertIsNone(suggest("x" * 10_000, known))


class ShownTests(SynchronousTestCase):
    def test_aKeyThatMayBeACredentialIsMasked(self) -> None:
        self.assertEqual(shown("model-mappings"), "model-mappings")
        self.assertNotIn("abcdefgh12345678", shown("sk-ant-abcdefgh12345678-zz"))
        self.assertEqual(shown("hunter2"), "****")

    def test_aKeyStaysOnOneLine(self) -> None:
        self.assertTrue(shown("a\nb" * 9).isprintable())
