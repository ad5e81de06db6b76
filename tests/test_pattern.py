"""Regular expressions of bounded cost agree with the standard library's."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.routing.pattern import MOST_STATES, Pattern, PatternError

_atoms = st.sampled_from(
    [
        "a",
        "B",
        "-",
        ".",
        r"\d",
        r"\w",
        r"\.",
        "[a-c]",
        "[^b-]",
        "[]a]",
        "^",
        "$",
        r"\b",
        "{",
        "}",
        "]",
        r"\x41",
        "\u017f",
        "",
    ]
)


def _wrap(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeat = st.sampled_from(["", "*", "+", "?", "*?", "{2}", "{,2}", "{1,}", "{0,2}?"])
    group = st.sampled_from(["(", "(?:", "(?i:"])
    joined = st.lists(inner, min_size=1, max_size=3)
    return (
        joined.map("".join)
        | joined.map("|".join)
        | st.tuples(group, joined.map("|".join), repeat).map(lambda found: f"{found[0]}{found[1]}){found[2]}")
    )


_patterns = st.recursive(_atoms, _wrap, max_leaves=8)


class Agreement(SynchronousTestCase):
    """Search gives what `re.search` gives."""

    def test_ordinaryExpressions(self) -> None:
        for pattern, names in {
            r"^claude-(opus|sonnet)-4[-.]\d+$": ("claude-opus-4-7", "CLAUDE-SONNET-4.5", "claude-haiku-4-5", "x"),
            r"^gpt-5(\.\d+)?(-codex)?(-(low|high))?$": ("gpt-5", "gpt-5.2-codex-high", "gpt-5-", "gpt-55"),
            r"(?i)(?P<kind>big)\b": ("BIG-1", "big1", "a big"),
            r".*opus.*\d{2,3}": ("x-opus-12", "opus-1"),
            "": ("", "a"),
            r"a{}b": ("a{}b", "ab"),
        }.items():
            for name in names:
                expected = bool(re.search(pattern, name, re.IGNORECASE))
                self.assertEqual(Pattern(pattern).search(name), expected, (pattern, name))

    @settings(max_examples=200, deadline=None)
    @given(_patterns, st.lists(st.text("aAbBc-.1{}]\u017f", max_size=8).filter(bool), min_size=1, max_size=5))
    def test_randomExpressions(self, text: str, names: list[str]) -> None:
        try:
            expected = [bool(re.search(text, name, re.IGNORECASE)) for name in names]
        except re.error:
            self.assertRaises(PatternError, Pattern, text)
            return
        try:
            pattern = Pattern(text)
        except PatternError as error:
            self.assertIn("possessive", str(error))  # `?` or `*` drawn before a `+`
            return
        for name, found in zip(names, expected, strict=True):
            self.assertEqual(pattern.search(name), found, (text, name))


class Bounds(SynchronousTestCase):
    """What is refused, and what a hostile name cannot do."""

    def test_whatHasNoBoundIsRefusedWithAReason(self) -> None:
        for pattern in (r"(a)\1", "(?=a)b", "(?<!a)b", "(?P<x>a)(?P=x)", "a++", "(?>a)", "(?m)^a", "(?x) a", "a(?#c)"):
            self.assertRaises(PatternError, Pattern, pattern)

    def test_whatIsMalformedOrTooLargeIsRefused(self) -> None:
        for pattern in (
            "(",
            "[a-",
            "*",
            "(a{99}){99}",
            "a" * 1001,
            "(" * 400 + ")" * 400,
            "[[:digit:]]",
            "a{9999999999}",
        ):
            self.assertRaises(PatternError, Pattern, pattern)
        self.assertRaises(PatternError, Pattern, f"a{{{MOST_STATES + 1}}}")

    def test_nestedRepeatsEndAtOnce(self) -> None:
        for pattern in ("(a+)+$", "^(a|a)*$", "(.*)*x", "a*a*a*a*a*a*a*b", "^(a?){90}a{20}$"):
            self.assertFalse(Pattern(pattern).search("a" * 511 + "!"), pattern)

    def test_manyDifferentNamesKeepTheMemorySmall(self) -> None:
        pattern = Pattern("(a|b)*c.d")
        for number in range(3000):
            pattern.search(f"ab{chr(0x4E00 + number)}c{number}d")
        self.assertTrue(pattern.search("abcxd"))
        self.assertLessEqual(len(pattern._memo), 512)
