"""The routing decision: every vector of `decision`, random configurations, and the credits policy."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import llmux
from llmux.config.model import CreditsPolicy, MappingRule, ProviderConfig, Target
from llmux.routing.decision import Attempt, Candidate, RouteType, RoutingDecision, RoutingRequest, Step, one_line
from llmux.routing.directory import Directory
from llmux.routing.mapping import ModelMapper
from llmux.routing.router import Router
from tests import vectors
from tests.test_mapping import provider_of, rule, rule_of

VECTORS = vectors.routing("decision")
PROTOCOLS = {
    "openai": "chat",
    "openai.chat": "chat",
    "openai.completions": "completions",
    "openai.responses": "responses",
    "anthropic.messages": "anthropic",
    "anthropic.count_tokens": "anthropic",
    "gemini.generate": "gemini",
    "gemini.bridge": "gemini",
}
"""How SPEC 2.1 names the protocols of its routes."""


def router_of(
    providers: list[ProviderConfig],
    rules: list[MappingRule],
    upstream: bool = True,
    cooling: frozenset[str] = frozenset(),
    **more: Any,
) -> Router:
    directory = Directory(providers, cooling=lambda name, model: name in cooling)
    return Router(directory, ModelMapper(rules, directory.provider_names), upstream, **more)


class DecisionVectors(SynchronousTestCase):
    """SPEC 6 by example."""

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    def check(self, vector: dict[str, Any]) -> None:
        given, expect, label = vector["input"], vector["expect"], f"{vector['id']}: {vector['why']}"
        router = router_of(
            [provider_of(provider) for provider in given.get("providers", ())],
            [rule_of(rule) for rule in given.get("rules", ())],
            given.get("proxy", False),
            frozenset(provider["name"] for provider in given.get("providers", ()) if provider.get("cooling")),
        )
        protocol = given.get("protocol")
        request = RoutingRequest(
            given["requested"],
            PROTOCOLS.get(protocol, protocol),
            given.get("prefer_local", True),
            given.get("force", False),
        )
        decision = router.resolve(request)
        self.assertEqual(router.resolve(replace(request, prefer_local=not request.prefer_local)), decision, label)
        found = {
            "route_type": decision.route_type.value,
            "resolved_model": decision.resolved_model,
            "provider": decision.provider,
            "fallback_models": list(decision.fallback_models),
            "should_proxy": decision.should_proxy,
        }
        effects = asdict(decision.effects)
        for key, value in expect.items():
            if key == "effects":
                self.assertEqual({name: effects[name] for name in value}, value, label)
            else:
                self.assertEqual(found[key], value, f"{label}: {key}")


def _add(vector: dict[str, Any]) -> None:
    def test(self: DecisionVectors) -> None:
        self.check(vector)

    setattr(DecisionVectors, f"test_{vector['id'].replace('-', '_')}", test)


for _vector in VECTORS:
    _add(_vector)


_MODELS = ("a", "b", "c", "a(low)")
_providers = st.lists(
    st.fixed_dictionaries(
        {
            "models": st.lists(st.sampled_from(_MODELS), min_size=1, max_size=3),
            "usable": st.booleans(),
            "priority": st.integers(0, 2),
            "kind": st.sampled_from(["anthropic", "openai", "gemini"]),
        }
    ),
    max_size=4,
).map(lambda found: [provider_of({"name": f"p{index}", **one}) for index, one in enumerate(found)])
_targets = st.builds(Target, st.sampled_from([*_MODELS, "ghost", "b:p0"]), st.sampled_from([None, None, "p1"]))
_rules = st.lists(
    st.builds(
        MappingRule, st.sampled_from([*_MODELS, "A", "."]), st.lists(_targets, max_size=3).map(tuple), st.booleans()
    ),
    max_size=4,
)
_policies = st.builds(
    CreditsPolicy,
    st.sampled_from([None, (), ("a",), ("b*", "a(*")]),
    st.sampled_from([None, 0, 5]),
    line=st.sampled_from([0, 12]),
)


class TruthTable(SynchronousTestCase):
    """SPEC R-DC-1 on configurations that nobody thought of."""

    @settings(max_examples=200, deadline=None)
    @given(
        _providers,
        _rules,
        st.frozensets(st.sampled_from(["p0", "p1", "p2"])),
        st.tuples(st.booleans(), st.booleans()),
        _policies,
        st.sampled_from([*_MODELS, "a()", "A", "c(high)", "ghost"]),
        st.sampled_from([None, "anthropic", "completions"]),
    )
    def test_everyRow(
        self,
        providers: list[ProviderConfig],
        rules: list[MappingRule],
        cooling: frozenset[str],
        flags: tuple[bool, bool],
        policy: CreditsPolicy,
        requested: str,
        protocol: str | None,
    ) -> None:
        force, upstream = flags
        router = router_of(providers, rules, upstream, cooling, credits=policy, config_path="/etc/llmux.yaml")
        request = RoutingRequest(requested, protocol, force=force)
        decision = router.resolve(request)
        self.assertEqual(router.resolve(request, []), decision)
        self.assertEqual(
            router_of(providers, rules, upstream, cooling, credits=policy, config_path="/etc/llmux.yaml").resolve(
                request
            ),
            decision,
        )
        self.check(decision, providers, requested, protocol, upstream)
        without = router_of(providers, [], upstream, cooling, credits=policy).resolve(request)
        local = without.route_type is RouteType.LOCAL_PROVIDER
        mapping = decision.route_type is RouteType.MODEL_MAPPING
        if local and not (force and mapping):
            self.assertIs(decision.route_type, RouteType.LOCAL_PROVIDER)
        elif not mapping:
            self.assertEqual(decision.route_type, without.route_type)
        else:
            self.assertTrue(force or not local)
            self.assertTrue(rules)
            self.assertNotEqual(decision.resolved_model, requested)

    def check(
        self,
        decision: RoutingDecision,
        providers: list[ProviderConfig],
        requested: str,
        protocol: str | None,
        upstream: bool,
    ) -> None:
        """What holds for each outcome, whatever led to it."""
        self.assertEqual(decision.effects, decision.route_type.effects)
        self.assertEqual(decision.should_proxy, decision.route_type is RouteType.AMP_CREDITS)
        self.assertEqual(decision.refusal is not None, decision.route_type is RouteType.NO_PROVIDER)
        self.assertEqual(bool(decision.attempts), decision.provider is not None)
        self.assertTrue(decision.reason and "\n" not in decision.reason)
        if decision.should_proxy:
            self.assertTrue(upstream)
        if decision.provider is None:
            self.assertEqual(decision.resolved_model, requested)
            usable = {entry.name for provider in providers if provider.enabled for entry in provider.models}
            if protocol is None:
                self.assertFalse({requested.partition("(")[0], requested} & usable)
            return
        self.assertEqual(decision.attempts[0].candidate.provider, decision.provider)
        names = list(dict.fromkeys(attempt.model for attempt in decision.attempts))
        self.assertEqual(names, [decision.resolved_model, *decision.fallback_models])
        self.assertEqual(len(set(decision.attempts)), len(decision.attempts))
        enabled = {provider.name for provider in providers if provider.enabled}
        self.assertLessEqual({attempt.candidate.provider for attempt in decision.attempts}, enabled)


ANTHRO = provider_of({"name": "anthro", "kind": "anthropic", "models": ["opus-9"]})
GOOG = provider_of({"name": "goog", "kind": "gemini", "models": ["gem-9", "gem-9-mini"]})
RESELLER = provider_of({"name": "reseller", "kind": "anthropic", "models": ["opus-9", "tuned(high)"]})


class Plans(SynchronousTestCase):
    """What the executor gets to do."""

    def test_candidatesOfTheResolvedModelComeBeforeThoseOfTheFallbacks(self) -> None:
        router = router_of([ANTHRO, GOOG, RESELLER], [rule("big", "opus-9", "gem-9")])
        decision = router.resolve(RoutingRequest("big(high)", "gemini"))
        self.assertEqual(
            decision.attempts,
            (
                Attempt("opus-9(high)", Candidate("anthro", "opus-9", native=False), "high"),
                Attempt("opus-9(high)", Candidate("reseller", "opus-9", native=False), "high"),
                Attempt("gem-9(high)", Candidate("goog", "gem-9"), "high"),
            ),
        )

    def test_aNameListedWithItsParenthesesAsksForNothing(self) -> None:
        decision = router_of([RESELLER], []).resolve(RoutingRequest("tuned(high)"))
        self.assertEqual(decision.attempts, (Attempt("tuned(high)", Candidate("reseller", "tuned(high)", whole=True)),))

    def test_allCoolingDownIsStillLocal(self) -> None:
        decision = router_of([ANTHRO], [], cooling=frozenset({"anthro"})).resolve(RoutingRequest("opus-9"))
        self.assertIs(decision.route_type, RouteType.LOCAL_PROVIDER)
        self.assertFalse(decision.attempts[0].candidate.ready)
        self.assertIn("cooling down", decision.reason)
        router = router_of([ANTHRO, GOOG], [rule("big", "opus-9", "gem-9")], cooling=frozenset({"anthro"}))
        mapped = router.resolve(RoutingRequest("big"))
        self.assertEqual([attempt.candidate.ready for attempt in mapped.attempts], [False, True])
        self.assertEqual(mapped.reason, "the rule for big leads to opus-9, which provider anthro serves, cooling down")

    def test_aRememberedDecisionIsMadeAnewWhenSomebodyCoolsDown(self) -> None:
        cooling: set[str] = set()
        providers = [provider_of({"name": name, "kind": "openai", "models": ["m"]}) for name in ("a", "b")]
        directory = Directory(providers, cooling=lambda name, model: name in cooling)
        router = Router(directory, ModelMapper([], directory.provider_names), False)
        first = router.resolve(RoutingRequest("m"))
        self.assertIs(router.resolve(RoutingRequest("m")), first)
        cooling.add("a")
        self.assertEqual((first.provider, router.resolve(RoutingRequest("m")).provider), ("a", "b"))
        cooling.clear()
        self.assertEqual(router.resolve(RoutingRequest("m")).provider, "a")

    def test_anUnknownProtocolIsAnError(self) -> None:
        self.assertRaises(ValueError, router_of([], []).resolve, RoutingRequest("x", "openai"))


class Credits(SynchronousTestCase):
    """DESIGN D-46."""

    def resolve(self, policy: CreditsPolicy, left: int | None = None, model: str = "opus-9(high)", **more: Any) -> str:
        router = router_of([], [], credits=policy, **{"config_path": "/home/me/llmux.yaml", **more})
        if left is not None:
            router = router_of([], [], credits=policy, credits_left=lambda: left)
        return router.resolve(RoutingRequest(model)).refusal or "permitted"

    def test_withoutAnUpstreamTheTextIsPlain(self) -> None:
        for policy in (CreditsPolicy(), CreditsPolicy(allow=())):
            decision = router_of([], [], upstream=False, credits=policy).resolve(RoutingRequest("x\n(high)"))
            self.assertEqual(decision.refusal, "No provider available for model: x\n(high)")

    def test_denied(self) -> None:
        self.assertEqual(
            self.resolve(CreditsPolicy(allow=(), line=12)),
            "No provider available for model: opus-9(high) "
            "(ampcode.credits: deny at llmux.yaml:12; set it to allow or add opus-9 to credits.allow)",
        )
        self.assertIn("deny at line 12;", self.resolve(CreditsPolicy(allow=(), line=12), config_path=None))
        self.assertIn("deny;", self.resolve(CreditsPolicy(allow=())))

    def test_aListPermitsWhatItMatchesWithOrWithoutTheSuffix(self) -> None:
        for patterns in (("opus-*",), ("opus-9",), ("x", "opus-9(high)")):
            self.assertEqual(self.resolve(CreditsPolicy(allow=patterns)), "permitted")
        self.assertEqual(
            self.resolve(CreditsPolicy(allow=("sonnet-*",), line=3)),
            "No provider available for model: opus-9(high) "
            "(ampcode.credits.allow at llmux.yaml:3 does not list it; add opus-9 to it)",
        )

    def test_theDaysBudget(self) -> None:
        policy = CreditsPolicy(daily_requests=5, line=4)
        for left, permitted in ((5, True), (1, True), (0, False), (-1, False)):
            self.assertEqual(self.resolve(policy, left) == "permitted", permitted, left)
        self.assertEqual(self.resolve(policy), "permitted")
        self.assertIn("daily-requests: 0 at llmux.yaml:4", self.resolve(replace(policy, daily_requests=0)))
        self.assertEqual(self.resolve(policy, credits_left=lambda: None), "permitted")

    def test_theBudgetIsNotAskedForWhereNoneIsSet(self) -> None:
        def unexpected() -> int:
            raise AssertionError("asked")

        self.assertEqual(self.resolve(CreditsPolicy(), credits_left=unexpected), "permitted")

    def test_aDeniedModelIsStillServedByAProvider(self) -> None:
        router = router_of([ANTHRO], [rule("big", "opus-9")], credits=CreditsPolicy(allow=()))
        self.assertEqual(router.resolve(RoutingRequest("big")).provider, "anthro")
        self.assertEqual(router.resolve(RoutingRequest("opus-9")).provider, "anthro")


class Traces(SynchronousTestCase):
    """The steps behind a decision."""

    def subjects(self, router: Router, request: RoutingRequest) -> list[str]:
        trace: list[Step] = []
        router.resolve(request, trace)
        return [f"{step.subject}: {step.outcome}" for step in trace]

    def test_aServedName(self) -> None:
        self.assertEqual(
            self.subjects(router_of([ANTHRO, GOOG], [rule("x", "gem-9")]), RoutingRequest("opus-9(8192)")),
            [
                "name: base opus-9, suffix 8192: budget 8192",
                "provider: serves it as opus-9",
                "provider: does not list it",
                "mapping: not consulted: a provider serves the requested name",
                "result: provider anthro serves it",
            ],
        )

    def test_aMappedName(self) -> None:
        self.assertEqual(
            self.subjects(router_of([GOOG], [rule("x", "gem-9", line=7)]), RoutingRequest("x", force=True)),
            [
                "name: no suffix",
                "provider: does not list it",
                "force: mappings come before providers",
                "mapping: matches",
                "target: served by goog",
                "result: the rule for x at line 7 leads to gem-9, which provider goog serves",
            ],
        )

    def test_aNameThatNobodyServes(self) -> None:
        denied = self.subjects(router_of([], [], credits=CreditsPolicy(allow=())), RoutingRequest("x(ultra)"))
        self.assertEqual(denied[:2], ["name: base x, suffix ultra: unknown", "upstream: could answer, for credits"])
        self.assertIn("credits: ampcode.credits: deny", denied[2])
        self.assertIn("credits: permits it", self.subjects(router_of([], []), RoutingRequest("x")))
        self.assertIn("upstream: cannot answer", self.subjects(router_of([], [], False), RoutingRequest("x")))


class Vocabulary(SynchronousTestCase):
    """The decision's own types."""

    def test_onlyTheRouterNamesAnOutcome(self) -> None:
        package = Path(llmux.__file__).parent
        naming = {
            str(path.relative_to(package)) for path in package.rglob("*.py") if "RouteType." in path.read_text("utf-8")
        }
        self.assertEqual(naming, {"routing/router.py"})

    def test_aRouteTypeIsFoundByItsValue(self) -> None:
        for route in RouteType:
            self.assertIs(RouteType[route.value], route)

    def test_textForPeopleStaysOnOneLine(self) -> None:
        self.assertEqual(one_line("a\r\nb\u2028c\x1b[0m é"), "a\\r\\nb\\u2028c\\x1b[0m é")
        self.assertEqual(one_line("a" * 600), "a" * 512 + "...")
