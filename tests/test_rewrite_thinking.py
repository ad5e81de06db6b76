"""`llmux.rewrite.thinking`: a suffix in the four formats."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial import unittest

from llmux.effort import LADDER
from llmux.rewrite.thinking import Thinking, apply_thinking, supported_effort

OFF, AUTO = Thinking("off"), Thinking("auto")


def level(name: str) -> Thinking:
    return Thinking("level", level=name)


def budget(tokens: int) -> Thinking:
    return Thinking("budget", budget=tokens)


class ThinkingTests(unittest.SynchronousTestCase):
    """TRANSLATION 2.6, in place."""

    def check(
        self, wire_format: str, before: str, asked: Thinking, after: str, caps: dict[str, Any] | None = None
    ) -> None:
        self.assertEqual(apply_thinking(before.encode(), wire_format, asked, caps or {}), after.encode())

    def test_theLadderIsTheIdentityThereAndBack(self) -> None:
        for name, tokens in LADDER.items():
            self.assertEqual(level(name).tokens(), tokens)
            if tokens:
                self.assertEqual(budget(tokens).effort(), name)
        self.assertEqual(
            [budget(n).effort() for n in (1, 2048, 10000, 31999, 999999)], ["minimal", "medium", "high", "xhigh", "max"]
        )
        self.assertEqual((OFF.effort(), AUTO.effort(), OFF.tokens(), AUTO.tokens()), ("none", None, 0, -1))

    def test_anEffortThatIsNotSupportedGoesDownElseToTheLowest(self) -> None:
        self.assertEqual(supported_effort("xhigh", ["low", "medium", "high"]), "high")
        self.assertEqual(supported_effort("minimal", ["low", "medium"]), "low")
        self.assertEqual(supported_effort("low", []), "low")

    def test_nothingToSetIsTheSameObject(self) -> None:
        body = bytearray(b'{"model":"x"}')
        self.assertIs(apply_thinking(body, "chat", None), body)
        self.assertIs(apply_thinking(body, "chat", OFF, {"thinking": "none"}), body)
        self.assertIs(apply_thinking(body, "completions", OFF), body)
        for bad in (b"", b"[]", b'{"a":1'):
            self.assertIs(apply_thinking(bad, "chat", OFF), bad)

    def test_aSettingThatBecomesAnotherIsWarnedOf(self) -> None:
        small, large = '{"max_tokens":2000}', '{"max_tokens":64000}'
        dropped, clamped, lower = "dropped:reasoning_effort", "clamped:thinking_budget", "clamped:reasoning_effort"
        cases: list[tuple[str, str, Thinking, dict[str, Any], list[str]]] = [
            ("anthropic", small, level("high"), {}, [dropped]),
            ("anthropic", large, level("max"), {}, [clamped]),
            ("anthropic", large, level("high"), {}, []),
            ("anthropic", large, budget(10), {}, [clamped]),
            ("anthropic", small, OFF, {}, []),
            ("anthropic", large, AUTO, {}, []),
            ("anthropic", large, level("max"), {"thinking": "adaptive", "effort-levels": ["low"]}, [lower]),
            ("anthropic", large, budget(10000), {"thinking": "adaptive"}, []),
            ("anthropic", large, OFF, {"thinking": "adaptive"}, []),
            ("gemini", "{}", budget(99999), {}, [clamped]),
            ("gemini", "{}", AUTO, {"thinking": "level"}, []),
            ("gemini", "{}", OFF, {"thinking": "level"}, []),
            ("chat", "{}", level("high"), {"effort_levels": ["low"]}, [lower]),
            ("responses", "{}", budget(10000), {}, []),
        ]
        for wire_format, body, asked, caps, codes in cases:
            warned: list[str] = []
            apply_thinking(body.encode(), wire_format, asked, caps, warned.append)
            self.assertEqual(warned, codes, (wire_format, body, asked, caps))

    def test_chatTakesAnEffort(self) -> None:
        self.check("chat", '{ "n":1.0 }', level("high"), '{ "n":1.0,"reasoning_effort":"high" }')
        self.check("chat", '{"reasoning_effort":"low","n":1}', budget(9000), '{"reasoning_effort":"high","n":1}')
        self.check("chat", '{"reasoning_effort":"low","n":1}', AUTO, '{"n":1}')
        self.check("chat", "{}", OFF, '{"reasoning_effort":"none"}')
        self.check("chat", "{}", OFF, '{"reasoning_effort":"minimal"}', {"effort-levels": ["minimal", "low"]})

    def test_responsesKeepsTheRestOfReasoning(self) -> None:
        self.check(
            "responses",
            '{"reasoning":{"summary":"auto"}}',
            level("low"),
            '{"reasoning":{"summary":"auto","effort":"low"}}',
        )
        self.check("responses", "{}", level("low"), '{"reasoning":{"effort":"low"}}')
        self.check("responses", '{"reasoning":{"effort":"high"}}', AUTO, '{"reasoning":{}}')

    def test_anthropicTakesABudgetBelowMaxTokens(self) -> None:
        enabled = '{{"max_tokens":{},"thinking":{{"type":"enabled","budget_tokens":{}}}}}'
        for asked, most, expected in (
            (level("high"), 32000, 24576),
            (level("max"), 32000, 30976),
            (budget(5), 32000, 1024),
            (AUTO, 32000, 8192),
            (budget(99999), 4096, 3072),
        ):
            self.check("anthropic", f'{{"max_tokens":{most}}}', asked, enabled.format(most, expected))
        self.check(
            "anthropic", '{"max_tokens":99999}', level("max"), enabled.format(99999, 64000), {"budget-max": 64000}
        )
        self.check("anthropic", '{"max_tokens":2047,"thinking":{"type":"enabled"}}', AUTO, '{"max_tokens":2047}')

    def test_anthropicKeepsHowThoughtsAreShown(self) -> None:
        self.check(
            "anthropic",
            '{"thinking":{"type":"disabled","display":"omitted"}}',
            budget(2000),
            '{"thinking":{"type":"enabled","display":"omitted","budget_tokens":2000}}',
        )
        self.check(
            "anthropic", '{"thinking":{"type":"adaptive","display":"omitted"}}', OFF, '{"thinking":{"type":"disabled"}}'
        )

    def test_anthropicAdaptiveTakesAnEffort(self) -> None:
        caps = {"thinking": "adaptive"}
        self.check(
            "anthropic",
            '{"thinking":{"type":"enabled","budget_tokens":5},"output_config":{"format":{}}}',
            level("minimal"),
            '{"thinking":{"type":"adaptive"},"output_config":{"format":{},"effort":"low"}}',
            caps,
        )
        self.check("anthropic", "{}", AUTO, '{"thinking":{"type":"adaptive"}}', caps)
        self.check("anthropic", "{}", OFF, '{"thinking":{"type":"disabled"}}', caps)

    def test_geminiTakesABudgetOrALevelNeverBoth(self) -> None:
        made = '{"generationConfig":{"thinkingConfig":{"thinkingBudget":%d,"includeThoughts":true}}}'
        self.check("gemini", "{}", level("medium"), made % 8192)
        self.check("gemini", "{}", AUTO, made % -1)
        self.check("gemini", "{}", level("max"), made % 32768)
        self.check("gemini", "{}", budget(10), made % 128, {"budget_min": 128})
        self.check(
            "gemini",
            '{"generationConfig":{"seed":1,"thinkingConfig":{"includeThoughts":false,"thinkingLevel":"LOW"}}}',
            budget(10),
            '{"generationConfig":{"seed":1,"thinkingConfig":{"includeThoughts":false,"thinkingBudget":10}}}',
        )
        self.check(
            "gemini",
            '{"generation_config":{"thinking_config":{"thinking_budget":1,"include_thoughts":true}}}',
            level("xhigh"),
            '{"generation_config":{"thinking_config":{"include_thoughts":true,"thinkingLevel":"HIGH"}}}',
            {"thinking": "level"},
        )

    def test_geminiOffShowsNoThoughts(self) -> None:
        before = '{"generationConfig":{"thinkingConfig":{"includeThoughts":true,"thinkingBudget":5}}}'
        self.check("gemini", before, OFF, '{"generationConfig":{"thinkingConfig":{"thinkingBudget":0}}}')
        self.assertEqual(
            json.loads(apply_thinking(b"{}", "gemini", OFF, {"thinking": "level"})),
            {"generationConfig": {"thinkingConfig": {"thinkingLevel": "MINIMAL"}}},
        )
