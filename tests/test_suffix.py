"""The thinking suffix: every vector of `suffix`, and the corners of its grammar."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.routing import suffix
from tests import vectors

VECTORS = vectors.routing("suffix")


def answer(given: dict[str, Any]) -> dict[str, Any]:
    """Run the operation a vector names."""
    match given["op"]:
        case "parse":
            name = suffix.parse(given["model"])
            return {"base": name.base, "has_suffix": name.has_suffix, "raw": name.raw}
        case "interpret":
            thinking = suffix.interpret(given["raw"])
            return {"mode": thinking.mode, "budget": thinking.budget, "level": thinking.level}
        case "carry":
            return {"result": suffix.carry(given["requested"], given["target"])}
        case "level_to_budget":
            return {"budget": suffix.level_to_budget(given["level"])}
        case "budget_to_level":
            return {"level": suffix.budget_to_level(given["budget"])}
        case op:
            raise AssertionError(f"unknown operation {op}")


class SuffixVectors(SynchronousTestCase):
    """SPEC 4 by example."""

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    def check(self, vector: dict[str, Any]) -> None:
        found = answer(vector["input"])
        for key, value in vector["expect"].items():
            self.assertEqual(found.get(key), value, f"{vector['id']}: {vector['why']}: {key}")


def _add(vector: dict[str, Any]) -> None:
    def test(self: SuffixVectors) -> None:
        self.check(vector)

    setattr(SuffixVectors, f"test_{vector['id'].replace('-', '_')}", test)


for _vector in VECTORS:
    _add(_vector)


class Grammar(SynchronousTestCase):
    """What is a suffix and what it means."""

    def test_onlyTheLastGroupCounts(self) -> None:
        self.assertEqual(suffix.parse("a(b)(c)"), suffix.ModelName("a(b)", True, "c"))

    def test_whatIsNoSuffixBelongsToTheBase(self) -> None:
        for name in ("x(high", "x)", "x(high)y", "x(high) ", "(high)", "x((high))", "()", ")", "x)(high"):
            self.assertEqual(suffix.parse(name), suffix.ModelName(name), name)

    def test_oddNumbersMeanNothing(self) -> None:
        for raw in ("+5", "1_000", "1,000", "\u0665", "\u00b2", "9" * 5000, "-2", "-01", " 5", "1e3", "low ", "\u212a"):
            self.assertEqual(suffix.interpret(raw).mode, "unknown", raw[:20])

    def test_numbersMayHaveLeadingZeros(self) -> None:
        self.assertEqual(suffix.interpret("0" * 5000 + "7").budget, 7)
        self.assertEqual(suffix.interpret("0" * 5000).mode, "none")
        self.assertEqual(suffix.interpret(str(2**63 - 1)).budget, 2**63 - 1)

    def test_emptyParenthesesNeverSurvive(self) -> None:
        for requested, target, result in (
            ("a()", "b", "b"),
            ("a(high)", "b()", "b(high)"),
            ("a", "b()()", "b"),
            ("a(high)", "b(low)()", "b(low)"),
        ):
            self.assertEqual(suffix.carry(requested, target), result)

    def test_aBudgetIsClampedToTheModelsMaximum(self) -> None:
        self.assertEqual(suffix.level_to_budget("MAX", 64000), 64000)
        self.assertEqual(suffix.level_to_budget("low", 64000), 1024)
        self.assertEqual(suffix.level_to_budget("auto", 64000), -1)
        self.assertIsNone(suffix.level_to_budget("ultra", 64000))

    def test_budgetsAboveTheLadderAndBelowAutomatic(self) -> None:
        self.assertEqual(suffix.budget_to_level(24577), "xhigh")
        self.assertEqual(suffix.budget_to_level(10**9), "xhigh")
        self.assertIsNone(suffix.budget_to_level(-2))

    @settings(max_examples=200)
    @given(st.text("ab()19 -", max_size=12), st.text("ab()19 -", max_size=12))
    def test_namesAreTakenApartWithoutLossAndCarriedOnce(self, requested: str, target: str) -> None:
        name = suffix.parse(requested)
        self.assertEqual(name.base + (f"({name.raw})" if name.has_suffix else ""), requested)
        target = f"m{target}"
        carried = suffix.carry(requested, target)
        self.assertEqual(suffix.carry(requested, carried), carried)
        self.assertFalse(suffix.parse(carried).has_suffix and not suffix.parse(carried).raw)
