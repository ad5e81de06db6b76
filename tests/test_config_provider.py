"""The `providers` list."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.config.model import ModelEntry, ProviderConfig, Timeouts
from llmux.config.secret import Secret
from tests.configuring import config, problems, warnings

FULL = """
timeouts: {idle: 50, total: 9}
providers:
  - name: mine
    kind: anthropic
    base-url: https://proxy.example/x
    api-keys: [a, b]
    models: ["claude-*", {name: claude-opus-4-7, alias: opus, capabilities: {budget-max: 3}}, {name: z}]
    excluded-models: [claude-2*]
    priority: -3
    protocols: [anthropic, chat, anthropic]
    capabilities: {thinking: adaptive, effort-levels: [low, max], max_output: 7, mid-system: true}
    headers: {X-A: b}
    enabled: false
    weight: 4
    timeouts: {idle: 7}
"""


class ProviderTests(SynchronousTestCase):
    def one(self, text: str) -> ProviderConfig:
        (found,) = config(f"providers: [{{{text}}}]").providers
        return found

    def test_everyKeyIsRead(self) -> None:
        (found,) = config(FULL).providers
        self.assertEqual(
            found,
            ProviderConfig(
                name="mine",
                kind="anthropic",
                base_url="https://proxy.example/x",
                api_keys=(Secret("a"), Secret("b")),
                models=(
                    ModelEntry("claude-*"),
                    ModelEntry("claude-opus-4-7", "opus", {"budget_max": 3}),
                    ModelEntry("z"),
                ),
                excluded_models=("claude-2*",),
                priority=-3,
                protocols=("anthropic", "chat"),
                capabilities={
                    "thinking": "adaptive",
                    "effort_levels": ("low", "max"),
                    "max_output": 7,
                    "mid_system": True,
                },
                headers=(("X-A", "b"),),
                enabled=False,
                weight=4,
                timeouts=Timeouts(idle=7, total=9),
            ),
        )
        self.assertEqual(found.line, 4)

    def test_aKindHasItsOwnAddress(self) -> None:
        for kind, address in {
            "anthropic": "https://api.anthropic.com",
            "openai": "https://api.openai.com/v1",
            "openai-responses": "https://api.openai.com/v1",
            "gemini": "https://generativelanguage.googleapis.com",
            "demo": "",
        }.items():
            self.assertEqual(self.one(f"name: x, kind: {kind}").base_url, address)

    def test_onlyTheDemoHasModelsByDefault(self) -> None:
        self.assertEqual(self.one("name: x, kind: demo").models, (ModelEntry("demo"), ModelEntry("demo-*")))
        self.assertEqual(self.one("name: x, kind: demo, models: [y]").models, (ModelEntry("y"),))
        self.assertEqual(self.one("name: x, kind: openai").models, ())

    def test_aProviderWithoutItsKeyStays(self) -> None:
        text = "providers: [{name: x, kind: openai, api-keys: [${NOPE}]}]"
        self.assertEqual(config(text).providers[0].api_keys, ())
        self.assertEqual(
            warnings(text), ["1:48: providers[0].api-keys[0]: environment variable NOPE is not set; left out"]
        )

    def test_nameAndKindAreNeeded(self) -> None:
        self.assertEqual(
            problems("providers:\n  - base-url: https://x\n"),
            ["2:5: providers[0].kind: is missing", "2:5: providers[0].name: is missing"],
        )
        self.assertEqual(
            problems("providers: [{models: [{alias: a}], name: x, kind: demo}]"),
            ["1:23: providers[0].models[0].name: is missing"],
        )

    def test_twoProvidersMustNotShareAName(self) -> None:
        text = "providers:\n  - {name: a, kind: demo}\n  - {name: b, kind: demo}\n  - {name: a, kind: openai}\n"
        self.assertEqual(problems(text), ["4:1: providers: two providers have the same name, the first in line 2"])

    def test_faultsHavePlacesAndNoValues(self) -> None:
        for written, problem in {
            "kind: opanai": "did you mean openai?",
            "kind: sk-hidden": "expected anthropic, openai, openai-responses, gemini or demo",
            "name: 'a:b'": "a name has at most 64",
            "name: ''": "must not be blank",
            "base-url: sk-hidden": "expected a URL",
            "api-keys: sk-hidden": "expected a list",
            "api-key: sk-hidden": "unknown key; did you mean api-keys?",
            "models: claude": "expected a list",
            "models: [[a]]": "expected keys with values, found a list",
            "models: ['']": "must not be blank",
            "models: [{name: 'a*', alias: b}]": "a pattern cannot have an alias",
            "priority: high": "expected a whole number",
            "protocols: []": "the list is empty",
            "protocols: [openai]": "expected anthropic, chat, responses or gemini",
            "capabilities: {budget-max: many}": "expected a whole number",
            "capabilities: {bugdet-max: 1}": "did you mean budget-max?",
            "capabilities: {budget-max: 1, budget_max: 1}": "both spellings",
            "capabilities: {budget-min: 2, budget-max: 1}": "budget-min is above budget-max",
            "capabilities: {thinking: off}": "expected none, budget, adaptive, effort or level",
            "headers: {Host: x}": "belongs to the connection",
            "enabled: maybe": "expected true or false",
            "timeouts: {header: 1}": "unknown key",
            "weight: 1.5": "expected a whole number",
        }.items():
            text = f"providers: [{{{written}, {'' if 'kind' in written else 'kind: demo, '}"
            text += f"{'' if written.startswith('name') else 'name: n'}}}]"
            found = problems(text)
            self.assertEqual(len(found), 1, found)
            self.assertIn(problem, found[0])
            self.assertNotIn("hidden", found[0])

    def test_aListThatIsNoneIsRefused(self) -> None:
        self.assertEqual(problems("providers: {a: b}"), ["1:12: providers: expected a list, found keys with values"])
        self.assertEqual(
            problems("providers: [a]"), ["1:13: providers[0]: expected keys with values, found a single value"]
        )
        self.assertEqual(config("providers:\n").providers, ())
