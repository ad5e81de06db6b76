"""Model mappings: every vector of `mapping`, and what the rules say beyond them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.config.model import MappingRule, ModelEntry, ProviderConfig, Target
from llmux.config.secret import Secret
from llmux.routing.decision import Step
from llmux.routing.directory import Directory
from llmux.routing.mapping import LONGEST_SEARCHED, Mapping, ModelMapper
from tests import vectors

VECTORS = vectors.routing("mapping")


def rule_of(written: dict[str, Any]) -> MappingRule:
    """A rule as the configuration would hand it over."""
    to = written.get("to", "")
    entries = to if isinstance(to, list) else [to]
    targets = [
        Target(entry["model"], entry.get("provider")) if isinstance(entry, dict) else Target(entry) for entry in entries
    ]
    return MappingRule(written.get("from", ""), tuple(targets), written.get("regex", False))


def provider_of(written: dict[str, Any]) -> ProviderConfig:
    """A provider of a vector; the kind plays no role unless it is given."""
    return ProviderConfig(
        written["name"],
        written.get("kind", "openai"),
        "https://api.example.com",
        (Secret("k"),),
        tuple(ModelEntry(name) for name in written.get("models", ())),
        priority=written.get("priority", 0),
        enabled=written.get("usable", True),
    )


def mapped(
    requested: str, rules: Iterable[MappingRule], providers: list[ProviderConfig], trace: list[Step] | None = None
) -> Mapping | None:
    directory = Directory(providers)
    mapper = ModelMapper(rules, directory.provider_names)
    return mapper.map(requested, lambda base, full, pin: directory.candidates(base, full, None, pin), trace)


class MappingVectors(SynchronousTestCase):
    """SPEC 5 by example."""

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    def check(self, vector: dict[str, Any]) -> None:
        given, expect, label = vector["input"], vector["expect"], f"{vector['id']}: {vector['why']}"
        rules = [rule_of(rule) for rule in given["rules"]]
        if given.get("op") == "load":
            mapper = ModelMapper(rules)
            self.assertEqual(len(mapper.rules), expect["accepted"], label)
            self.assertGreaterEqual(len(mapper.warnings), expect.get("warnings", 0), label)
            return
        found = mapped(given["requested"], rules, [provider_of(provider) for provider in given["providers"]])
        self.assertEqual(found.model if found else None, expect["target"], label)
        if "provider" in expect:
            self.assertEqual(found.targets[0].candidates[0].provider if found else None, expect["provider"], label)
        if "fallback_models" in expect:
            self.assertEqual(list(found.fallback_models) if found else [], expect["fallback_models"], label)


def _add(vector: dict[str, Any]) -> None:
    def test(self: MappingVectors) -> None:
        self.check(vector)

    setattr(MappingVectors, f"test_{vector['id'].replace('-', '_')}", test)


for _vector in VECTORS:
    _add(_vector)


ANTHRO = provider_of({"name": "anthro", "models": ["opus-9", "sonnet-9"]})
RESELLER = provider_of({"name": "reseller", "models": ["opus-9"]})


def rule(source: str, *targets: str | Target, regex: bool = False, line: int = 0) -> MappingRule:
    return MappingRule(
        source, tuple(Target(target) if isinstance(target, str) else target for target in targets), regex, line
    )


class Rules(SynchronousTestCase):
    """How one rule is chosen and what it gives."""

    def model(self, requested: str, *rules: MappingRule) -> str | None:
        found = mapped(requested, rules, [ANTHRO, RESELLER])
        return found.model if found else None

    def test_theFullNameComesBeforeTheBase(self) -> None:
        rules = (rule("big", "sonnet-9"), rule("BIG(high)", "opus-9"))
        self.assertEqual(self.model("big(HIGH)", *rules), "opus-9(HIGH)")
        self.assertEqual(self.model("big(low)", *rules), "sonnet-9(low)")

    def test_theSuffixIsInvisibleToAnExpression(self) -> None:
        self.assertIsNone(self.model("big(high)", rule("high", "opus-9", regex=True)))
        self.assertEqual(self.model("big(high)", rule("g$", "opus-9", regex=True)), "opus-9(high)")

    def test_theTargetIsLiteral(self) -> None:
        self.assertIsNone(self.model("opus-8", rule(r"opus-(\d)", r"opus-\1", regex=True)))
        self.assertIsNone(self.model("big", rule("big", "Opus-9")))

    def test_anUnservedTargetEndsTheSearch(self) -> None:
        self.assertIsNone(self.model("big", rule("big", "ghost"), rule("big", "opus-9", regex=True)))
        self.assertIsNone(self.model("big", rule("b", "ghost", regex=True), rule("big", "opus-9", regex=True)))

    def test_aResultThatDiffersInCaseOrSuffixIsAMapping(self) -> None:
        self.assertEqual(self.model("OPUS-9", rule("opus-9", "opus-9")), "opus-9")
        self.assertEqual(self.model("opus-9", rule("opus-9", "opus-9(low)")), "opus-9(low)")
        self.assertIsNone(self.model("opus-9", rule("opus-9", "opus-9:reseller")))

    def test_aColonBelongsToTheModelUnlessAProviderFollows(self) -> None:
        free = provider_of({"name": "free", "models": ["acme/x:extended"]})
        found = mapped("big", [rule("big", "acme/x:extended")], [free])
        self.assertEqual(found and found.model, "acme/x:extended")
        found = mapped("big", [rule("big", "acme/x:extended:free")], [free])
        self.assertEqual(found and found.model, "acme/x:extended")

    def test_aPinnedProviderMustItselfBeACandidate(self) -> None:
        self.assertIsNone(self.model("big", rule("big", "sonnet-9:reseller")))
        self.assertIsNone(self.model("big", rule("big", Target("opus-9", "nobody"))))

    def test_oneNameAtTwoProvidersIsTwoTargetsAndNoFallbackModel(self) -> None:
        found = mapped("big", [rule("big", "opus-9:reseller", "sonnet-9", "opus-9")], [ANTHRO, RESELLER])
        assert found is not None
        self.assertEqual(found.fallback_models, ("sonnet-9",))
        self.assertEqual(
            [(target.model, [one.provider for one in target.candidates]) for target in found.targets],
            [("opus-9", ["reseller"]), ("sonnet-9", ["anthro"]), ("opus-9", ["anthro"])],
        )

    def test_aVeryLongNameIsNotSearchedButMayBeExact(self) -> None:
        name = "a" * (LONGEST_SEARCHED + 1)
        self.assertIsNone(self.model(name, rule("^a", "opus-9", regex=True)))
        self.assertEqual(self.model(name[1:], rule("^a", "opus-9", regex=True)), "opus-9")
        self.assertEqual(self.model(name, rule(name, "opus-9")), "opus-9")

    def test_manyNamesAreNotAllRemembered(self) -> None:
        mapper = ModelMapper([rule("^a", "opus-9", regex=True)])
        for number in range(2000):
            mapper.map(f"a{number}", lambda base, full, pin: ())
        self.assertLessEqual(len(mapper._found), 1024)


class Loading(SynchronousTestCase):
    """What is kept, what is dropped and what is said about it."""

    def test_warningsNameTheLineAndTheReason(self) -> None:
        mapper = ModelMapper(
            [
                rule("", "x", line=3),
                rule("(a", "x", regex=True, line=4),
                rule("(?=a)", "x", regex=True, line=5),
                rule("ok", " ", "y", line=6),
                rule("OK", Target("z", "ghost"), line=7),
            ],
            ("anthro",),
        )
        self.assertEqual([one.source for one in mapper.rules], ["OK"])
        for text, warning in zip(
            ("line 3", "line 4", "look-around", "blank entry", "'ghost'", "replaces"), mapper.warnings, strict=True
        ):
            self.assertIn(text, warning)

    def test_theTraceSaysWhyARuleDoesNotApply(self) -> None:
        trace: list[Step] = []
        rules = [
            rule("other", "opus-9", line=2),
            rule("^big", "sonnet-9", regex=True),
            rule("big", "ghost", "opus-9", "opus-9"),
        ]
        mapped("big", rules, [ANTHRO], trace)
        self.assertEqual(
            [(step.subject, step.detail, step.outcome) for step in trace],
            [
                ("mapping", "line 2: other -> opus-9", "does not match"),
                ("mapping", "/^big/ -> sonnet-9", "would match, but another rule comes first"),
                ("mapping", "big -> ghost, opus-9, opus-9", "matches"),
                ("target", "ghost", "skipped: nobody serves it"),
                ("target", "opus-9", "served by anthro"),
                ("target", "opus-9", "repeated"),
            ],
        )
        trace.clear()
        mapped("a" * 513, [rule("a", "opus-9", regex=True), rule("b" * 9, "ghost")], [ANTHRO], trace)
        self.assertIn("not tried", trace[0].outcome)
        trace.clear()
        mapped("opus-9", [rule("opus-9", "opus-9")], [ANTHRO], trace)
        self.assertIn("the requested name", trace[-1].outcome)
