"""Environment variables inside configuration text."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.config.environment import Unset, Unsupported, expand

ENVIRON = {"KEY": "sk-1", "EMPTY": "", "NESTED": "${KEY}", "lower_1": "x"}


class ExpandTests(SynchronousTestCase):
    def test_threeNotationsNameAVariable(self) -> None:
        for text in ("${KEY}", "os.environ/KEY", "env.KEY"):
            self.assertEqual(expand(text, ENVIRON), ("sk-1", True))

    def test_bracedNamesMayStandInsideText(self) -> None:
        self.assertEqual(expand("a${KEY}b${lower_1}", ENVIRON), ("ask-1bx", True))
        self.assertEqual(expand("${EMPTY}", ENVIRON), ("", True))

    def test_theOtherNotationsMustBeTheWholeText(self) -> None:
        for text in ("x env.KEY", "env.KEY.more", "env.", "env.9", "os.environ/", "my/os.environ/KEY"):
            self.assertEqual(expand(text, ENVIRON), (text, False))

    def test_whatAVariableHoldsIsNotExpandedAgain(self) -> None:
        self.assertEqual(expand("${NESTED}", ENVIRON), ("${KEY}", True))

    def test_otherDollarsStay(self) -> None:
        for text in ("$", "$KEY", "^a$", "a{2}$", "$${", "${}", "${1}", "x${2,3}", "$(KEY)"):
            self.assertEqual(expand(text, ENVIRON), (text, False))

    def test_anUnsetVariableIsNamed(self) -> None:
        for text in ("${NOPE}", "a${NOPE}", "env.NOPE", "os.environ/NOPE"):
            self.assertEqual(self.assertRaises(Unset, expand, text, ENVIRON).name, "NOPE")

    def test_defaultsAndTestsAreNotUnderstood(self) -> None:
        for text in ("${KEY:-x}", "${KEY-x}", "${KEY:?x}", "${KEY:=x}", "${KEY+x}"):
            self.assertRaises(Unsupported, expand, text, ENVIRON)
