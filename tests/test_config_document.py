"""YAML text into nodes with positions."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.config.document import MAX_TEXT, Mapping, Node, Scalar, Sequence, compose
from llmux.config.problem import ConfigError, EmptyConfig, Ledger


def composed(text: str) -> Mapping:
    ledger = Ledger("f")
    root = compose(text, "f", ledger)
    ledger.settle()
    return root


def plain(node: Node) -> object:
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(item) for key, (_, item) in node.entries.items()}


class CompositionTests(SynchronousTestCase):
    def complaint(self, text: str) -> str:
        return str(self.assertRaises(ConfigError, composed, text))

    def test_everyNodeKnowsItsPlaceCountedFromOne(self) -> None:
        root = composed("a: 1\nb:\n  - x\n  - {c: 'é', d: y}\n")
        self.assertEqual(plain(root), {"a": "1", "b": ["x", {"c": "é", "d": "y"}]})
        written, listed = root.entries["b"]
        self.assertEqual((written.line, written.column), (2, 1))
        assert isinstance(listed, Sequence)
        inner = listed.items[1]
        assert isinstance(inner, Mapping)
        self.assertEqual((inner.line, inner.column), (4, 5))
        self.assertEqual([(node.line, node.column) for _, node in inner.entries.values()], [(4, 9), (4, 17)])

    def test_quotesAndTagsMakeText(self) -> None:
        root = composed("a: 1\nb: '1'\nc: !!str 1\nd: !!int 1\ne: |\n  1\nf: ! 1\n")
        scalars = {key: node for key, (_, node) in root.entries.items()}
        self.assertEqual(
            {key: node.plain for key, node in scalars.items() if isinstance(node, Scalar)},
            {"a": True, "b": False, "c": False, "d": True, "e": False, "f": False},
        )

    def test_onlyAnUnquotedNothingIsNull(self) -> None:
        root = composed("a:\nb: ~\nc: null\nd: ''\ne: 'null'\n")
        self.assertEqual(
            [node.null for _, node in root.entries.values() if isinstance(node, Scalar)],
            [True, True, True, False, False],
        )

    def test_aBracedVariableNeedsNoQuotesBetweenBrackets(self) -> None:
        root = composed("k: [${A}, x${B}y, {n: ${C}}]\nm: ${D} # ${E}\n")
        self.assertEqual(plain(root), {"k": ["${A}", "x${B}y", {"n": "${C}"}], "m": "${D}"})
        listed = root.entries["k"][1]
        assert isinstance(listed, Sequence)
        self.assertEqual([item.column for item in listed.items], [5, 11, 19])

    def test_aDuplicateKeyNamesTheFirst(self) -> None:
        self.assertEqual(
            self.complaint("a:\n  b: 1\n  c: 2\n  b: 3\n"), "llmux: f:4:3: a.b: given twice, first in line 2"
        )
        self.assertIn("f:1:15: k[1].x: given twice", self.complaint("k: [1, {x: 1, x: 2}]"))

    def test_aDuplicateKeyIsFoundInEverySpelling(self) -> None:
        self.assertIn("given twice", self.complaint("port: 1\n'port': 2\n"))

    def test_anEmptyFileIsAKindOfItsOwn(self) -> None:
        for text in ("", "\n\n", "# nothing yet\n", "---\n", "null\n", "~", "--- # x\n...\n", "\ufeff"):
            self.assertRaises(EmptyConfig, composed, text)
        self.assertEqual(plain(composed("{}")), {})

    def test_aFileThatIsNoMappingIsRefused(self) -> None:
        for text in ("- a\n", "text", "3", "[1]", "''"):
            complaint = self.complaint(text)
            self.assertIn("f:1:1: yaml: expected keys with values", complaint)

    def test_aSecondDocumentIsRefused(self) -> None:
        self.assertIn("f:2:1: yaml: a second document", self.complaint("a: 1\n---\nb: 2\n"))

    def test_aTagOfAnotherTypeIsRefused(self) -> None:
        for text in ("a: !!python/name:os.system x", "a: !mine x", "a: !!set {b}", "a: !!binary aGk=", "a: !x [1]"):
            self.assertIn("f:1:4: a: this YAML tag is not understood", self.complaint(text))

    def test_syntaxErrorsHaveAPlaceAndNoExcerpt(self) -> None:
        for text, place in (
            ("a: 'sk-secret\n", "2:1"),
            ("{{{", "1:2"),
            ("model-mappings: [ {from: x", "2:1"),
            ("a: b: sk-secret", "1:5"),
            ("- a\nb: c\n", "2:1"),
        ):
            complaint = self.complaint(text)
            self.assertIn(f"f:{place}: yaml: ", complaint)
            self.assertNotIn("sk-secret", complaint)
            self.assertNotIn("\n", complaint)

    def test_commonMistakesGetAHint(self) -> None:
        self.assertIn("text that begins with * or & needs quotes", self.complaint("a: [*]\n"))
        self.assertIn("text that begins with @ needs quotes", self.complaint("a: @x\n"))
        self.assertIn("a tab cannot indent", self.complaint("a:\n\t- b\n"))

    def test_characterThatYamlForbidsHasAPlace(self) -> None:
        self.assertIn("f:2:4: yaml: character U+0007", self.complaint("a: 1\nb: \x07\n"))
        self.assertIn("U+D800", self.complaint("a: \ud800"))
        self.assertIn("U+0000", self.complaint("\0"))

    def test_aKeyMustBeText(self) -> None:
        self.assertIn("a key must be plain text", self.complaint("? [a]\n: b\n"))
        self.assertIn("a key must be plain text", self.complaint("a: &x [1]\n*x : b\n"))


class AnchorTests(SynchronousTestCase):
    def complaint(self, text: str) -> str:
        return str(self.assertRaises(ConfigError, composed, text))

    def test_anAliasStandsForItsAnchor(self) -> None:
        self.assertEqual(plain(composed("a: &x [1, 2]\nb: *x\n")), {"a": ["1", "2"], "b": ["1", "2"]})

    def test_aMergeFillsWhatIsNotGiven(self) -> None:
        text = "base: &b {x: 1, y: 2}\nmore: &m {y: 9, z: 3}\nk:\n  <<: [*b, *m]\n  x: 7\n"
        self.assertEqual(plain(composed(text).entries["k"][1]), {"x": "7", "y": "2", "z": "3"})
        self.assertIn("only mappings can be merged", self.complaint("k: {<<: 3}"))
        self.assertEqual(plain(composed("k: {'<<': 3}")), {"k": {"<<": "3"}})

    def test_anAliasWithoutAnchorOrInsideItselfIsRefused(self) -> None:
        self.assertIn("f:1:4: a: this alias has no anchor", self.complaint("a: *nowhere\n"))
        self.assertIn("this alias contains itself", self.complaint("a: &x [*x]\n"))

    def test_aliasesCannotMultiplyWithoutBound(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
        started = time.perf_counter()
        self.assertIn("too many values", self.complaint("\n".join(lines)))
        self.assertLess(time.perf_counter() - started, 1.0)

    def test_depthAndLengthAreBounded(self) -> None:
        self.assertIn("nested more than 40 levels", self.complaint("k: " + "[" * 900))
        self.assertIn("nesting", self.complaint("k: " + "[" * 100_000))
        self.assertIn("longer than", self.complaint("#" * (MAX_TEXT + 1)))


class AnyTextTests(SynchronousTestCase):
    @settings(max_examples=150, deadline=None)
    @given(st.text() | st.text("ab:-[]{}&*!|>'\"#%@,?\n\t ~<$0", max_size=40))
    def test_anyTextIsComposedOrRefused(self, text: str) -> None:
        try:
            composed(text)
        except ConfigError as error:
            self.assertGreaterEqual(min(error.line, error.column), 1)
