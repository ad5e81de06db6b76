"""Efforts, budgets and levels (TRANSLATION 2.6)."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.effort import EFFORTS, LADDER
from llmux.formats import thinking
from llmux.formats.capabilities import default_capabilities, merge
from llmux.formats.neutral import (
    Call,
    Format,
    Limits,
    Opaque,
    Reasoning,
    Request,
    Result,
    Sampling,
    Text,
    Thinking,
    Turn,
)
from llmux.formats.requests import REQUESTS
from llmux.formats.target import Encoded, Target

_HELLO = (Turn("user", (Text("hi"),)),)


def _encode(target: Format, reasoning: Reasoning, caps: dict[str, Any] | None = None, **members: Any) -> Encoded:
    request = Request(
        "chat" if target != "chat" else "anthropic", turns=members.pop("turns", _HELLO), reasoning=reasoning, **members
    )
    return REQUESTS[target].encode(request, Target("m", merge(default_capabilities(target), caps or {})))


class LadderTests(SynchronousTestCase):
    """Budget to effort and back."""

    def test_effortToBudgetToEffortIsTheIdentity(self) -> None:
        for effort in EFFORTS:
            self.assertEqual(thinking.effort_of(LADDER[effort]), effort)

    def test_aBudgetBetweenTwoStepsIsTheHigherOne(self) -> None:
        for budget, effort in ((1, "minimal"), (2048, "medium"), (10000, "high"), (31999, "xhigh"), (10**9, "max")):
            self.assertEqual(thinking.effort_of(budget), effort)

    def test_zeroIsOffAndNegativeIsAuto(self) -> None:
        self.assertEqual(thinking.of_budget(0).mode, "off")
        self.assertEqual(thinking.of_budget(-1).mode, "auto")
        none, auto = thinking.of_effort("NONE"), thinking.of_effort("auto")
        assert none is not None and auto is not None
        self.assertEqual((none.mode, auto.mode), ("off", "auto"))
        self.assertIsNone(thinking.of_effort("ultra"))

    def test_clampingGoesDownThenToTheLowest(self) -> None:
        levels = ("low", "high")
        for wanted, got in (("max", "high"), ("medium", "low"), ("minimal", "low"), ("high", "high")):
            self.assertEqual(thinking.nearest_effort(wanted, levels), got)
        self.assertIsNone(thinking.nearest_effort("low", ("none",)))

    def test_theSuffixOverridesAllButShow(self) -> None:
        request = Request("chat", reasoning=Reasoning("effort", effort="low", show=True))
        self.assertEqual(thinking.with_suffix(request, "budget", 5).reasoning, Reasoning("budget", budget=5, show=True))
        self.assertEqual(thinking.with_suffix(request, "off").reasoning, Reasoning("off", show=True))


class AnthropicTests(SynchronousTestCase):
    """Manual thinking and its restrictions, adaptive thinking without them."""

    def test_theBudgetLeavesRoomForTheAnswer(self) -> None:
        for effort, limit, budget, warned in (
            ("minimal", 4096, 1024, True),
            ("low", 4096, 1024, False),
            ("medium", 32000, 8192, False),
            ("high", 8000, 6976, True),
        ):
            encoded = _encode("anthropic", Reasoning("effort", effort=effort), limits=Limits(limit))
            self.assertEqual(encoded.body["thinking"], {"type": "enabled", "budget_tokens": budget}, effort)
            self.assertEqual("clamped:thinking_budget" in encoded.warnings, warned, effort)

    def test_belowTwoThousandTokensThereIsNoThinking(self) -> None:
        encoded = _encode("anthropic", Reasoning("budget", budget=1024), limits=Limits(2047))
        self.assertNotIn("thinking", encoded.body)
        self.assertEqual(encoded.warnings, ("dropped:reasoning_effort",))

    def test_budgetMaxClamps(self) -> None:
        encoded = _encode("anthropic", Reasoning("effort", effort="max"), {"budget-max": 5000})
        self.assertEqual(encoded.body["thinking"]["budget_tokens"], 5000)

    def test_autoIsTheBudgetOfMedium(self) -> None:
        self.assertEqual(_encode("anthropic", Reasoning("auto")).body["thinking"]["budget_tokens"], 8192)

    def test_offIsSaidOnlyWhenTheClientSaidIt(self) -> None:
        self.assertEqual(_encode("anthropic", Reasoning("off")).body["thinking"], {"type": "disabled"})
        self.assertNotIn("thinking", _encode("anthropic", Reasoning()).body)
        self.assertNotIn("thinking", _encode("anthropic", Reasoning("off"), {"thinking": "none"}).body)

    def test_samplingThatThinkingForbidsGoes(self) -> None:
        sampling = Sampling(temperature=0.5, top_p=0.9, top_k=4)
        encoded = _encode("anthropic", Reasoning("auto"), sampling=sampling)
        self.assertEqual(set(encoded.warnings), {"dropped:temperature", "dropped:top_p", "dropped:top_k"})
        encoded = _encode("anthropic", Reasoning("auto"), sampling=Sampling(temperature=0.5, top_p=0.97))
        self.assertEqual(encoded.body["top_p"], 0.97)
        encoded = _encode("anthropic", Reasoning("auto"), sampling=Sampling(temperature=1))
        self.assertEqual((encoded.body["temperature"], encoded.warnings), (1, ()))

    def test_aSignedCallKeepsThinkingOn(self) -> None:
        call, result = Call("a", "f", "{}"), Result("a", (Text("r"),))
        for blob, on in (
            (None, False),
            (Opaque("gemini", "part", "x"), False),
            (Opaque("anthropic", "think", "x"), True),
        ):
            turns = (*_HELLO, Turn("assistant", (Thinking("t", blob), call)), Turn("user", (result,)))
            encoded = _encode("anthropic", Reasoning("auto"), turns=turns)
            self.assertEqual("thinking" in encoded.body, on)
            self.assertEqual("dropped:reasoning_effort" in encoded.warnings, not on)
            adaptive = _encode("anthropic", Reasoning("auto"), {"thinking": "adaptive"}, turns=turns)
            self.assertEqual(adaptive.body["thinking"], {"type": "adaptive"})

    def test_adaptiveShowsWhatTheClientAskedToSee(self) -> None:
        encoded = _encode("anthropic", Reasoning("effort", effort="minimal", show=True), {"thinking": "adaptive"})
        self.assertEqual(encoded.body["thinking"], {"type": "adaptive", "display": "summarized"})
        self.assertEqual(encoded.body["output_config"], {"effort": "low"})


class OpenAiTests(SynchronousTestCase):
    """Chat and Responses take efforts."""

    def test_budgetsBecomeEffortsWithoutAWarning(self) -> None:
        encoded = _encode("responses", Reasoning("budget", budget=2048, show=True))
        self.assertEqual(encoded.body["reasoning"], {"effort": "medium", "summary": "auto"})
        self.assertEqual(encoded.warnings, ())
        self.assertEqual(_encode("chat", Reasoning("budget", budget=2048)).body["reasoning_effort"], "medium")

    def test_autoIsLeftOut(self) -> None:
        self.assertNotIn("reasoning_effort", _encode("chat", Reasoning("auto")).body)
        self.assertNotIn("reasoning", _encode("responses", Reasoning("auto")).body)

    def test_offIsNoneOrTheLowestLevel(self) -> None:
        self.assertEqual(_encode("chat", Reasoning("off")).body["reasoning_effort"], "none")
        encoded = _encode("chat", Reasoning("off"), {"effort-levels": ["low", "high"]})
        self.assertEqual((encoded.body["reasoning_effort"], encoded.warnings), ("low", ("clamped:reasoning_effort",)))

    def test_aModelWithoutThinkingLosesTheWish(self) -> None:
        for target in ("chat", "responses", "anthropic", "gemini"):
            encoded = _encode(target, Reasoning("auto"), {"thinking": "none"})
            self.assertEqual(encoded.warnings, ("dropped:reasoning_effort",))


class GeminiTests(SynchronousTestCase):
    """Gemini takes a budget or a level, never both."""

    def _config(self, reasoning: Reasoning, caps: dict[str, Any] | None = None) -> Any:
        return _encode("gemini", reasoning, caps).body.get("generationConfig", {}).get("thinkingConfig")

    def test_budgets(self) -> None:
        self.assertEqual(self._config(Reasoning("off")), {"thinkingBudget": 0})
        self.assertEqual(self._config(Reasoning("auto", show=True)), {"thinkingBudget": -1, "includeThoughts": True})
        self.assertEqual(self._config(Reasoning("effort", effort="high")), {"thinkingBudget": 24576})
        self.assertEqual(self._config(Reasoning("budget", budget=60000)), {"thinkingBudget": 32768})
        self.assertIsNone(self._config(Reasoning()))

    def test_levels(self) -> None:
        level = {"thinking": "level", "effort_levels": ["low", "high"]}
        self.assertEqual(self._config(Reasoning("off"), level), {"thinkingLevel": "LOW"})
        self.assertIsNone(self._config(Reasoning("auto"), level))
        self.assertEqual(self._config(Reasoning("effort", effort="max"), level), {"thinkingLevel": "HIGH"})
