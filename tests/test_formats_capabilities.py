"""What upstream models understand (TRANSLATION 2.5)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.capabilities import capabilities, default_capabilities, merge


class CapabilityTests(SynchronousTestCase):
    """Defaults and overrides."""

    def test_defaultsFollowTheFormat(self) -> None:
        anthropic, gemini = default_capabilities("anthropic"), default_capabilities("gemini", "gemini-2.5-pro")
        self.assertEqual((anthropic.thinking, anthropic.sampling, anthropic.mid_system), ("budget", "one", False))
        self.assertEqual((gemini.budget_max, gemini.schema_dialect, gemini.remote_media), (32768, "json", False))
        self.assertTrue(default_capabilities("responses").custom_tools)
        self.assertTrue(default_capabilities("chat").content_lists)

    def test_geminiSignsCallsSinceThree(self) -> None:
        for model, signs in (("gemini-2.5-pro", False), ("gemini-3-pro", True), ("gemini-3.8-flash", True)):
            self.assertEqual(default_capabilities("gemini", model).signature_required, signs)

    def test_bothSpellingsOverrideAndUnknownNamesAreIgnored(self) -> None:
        merged = merge(default_capabilities("chat"), {"budget-max": 5, "top_k": True, "effort-levels": ["low"], "x": 1})
        self.assertEqual((merged.budget_max, merged.top_k, merged.effort_levels), (5, True, ("low",)))

    def test_theNewAnthropicVersionTakesNoSampling(self) -> None:
        base = default_capabilities("anthropic")
        self.assertEqual(merge(base, {"api-version": "2026-10-21"}).sampling, "none")
        self.assertEqual(merge(base, {"api-version": "2026-10-21", "sampling": "both"}).sampling, "both")

    def test_patternsOfModelsWinOverTheProvider(self) -> None:
        entries = [("claude-*", {"max-output": 1}), ("claude-opus-*", {"max-output": 2}), ("gpt-*", {"max-output": 3})]
        for model, most in (("claude-opus-4", 2), ("Claude-Haiku", 1), ("other", 9)):
            self.assertEqual(capabilities("anthropic", model, {"max-output": 9}, entries).max_output, most)
