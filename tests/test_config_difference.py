"""What a reload reports as changed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.config import Config, changes, defaults
from tests.configuring import config

BEFORE = """
api-keys: [hidden-1]
providers:
  - {name: a, kind: openai, api-keys: [hidden-2]}
  - {name: b, kind: demo}
ampcode:
  upstream-url: http://up-a
  model-mappings: [{from: x, to: y}, {from: z, to: y}]
timeouts: {idle: 5}
"""


class ChangesTests(SynchronousTestCase):
    def check(self, old: str, new: str, *expected: str, text: str = BEFORE) -> None:
        self.assertIn(old, text)
        found = changes(config(text), config(text.replace(old, new)))
        self.assertEqual(found, expected)
        self.assertNotIn("hidden", "".join(found))

    def test_theSameIsNoChange(self) -> None:
        self.assertEqual(changes(config(BEFORE), config(BEFORE)), ())
        self.assertEqual(changes(Config(), Config()), ())

    def test_commentsAndLineNumbersAreNoChange(self) -> None:
        self.check("providers:", "# moved\n\nproviders:")
        self.assertEqual(changes(config("{}"), Config()), ())

    def test_singleKeysAreNamed(self) -> None:
        self.check("hidden-1", "hidden-9", "api-keys")
        self.check("idle: 5", "idle: 6", "timeouts.idle")
        self.check("http://up-a", "http://up-b", "ampcode.upstream-url")
        self.check("http://up-a", "''", "ampcode.upstream-url")
        self.check("api-keys: [hidden-1]", "api-keys: [hidden-1]\nport: 9", "listen")

    def test_anyDifferenceOfTheRulesCounts(self) -> None:
        rules = "[{from: x, to: y}, {from: z, to: y}]"
        for other in (
            "[{from: z, to: y}, {from: x, to: y}]",
            "[{from: X, to: y}, {from: z, to: y}]",
            "[{from: x, to: y, regex: true}, {from: z, to: y}]",
            "[{from: x, to: Y}, {from: z, to: y}]",
            "[{from: x, to: [y, w]}, {from: z, to: y}]",
            "[{from: x, to: {model: y, provider: a}}, {from: z, to: y}]",
            "[{from: x, to: y}, {from: z, to: y}, {from: x, to: y}]",
            "[]",
        ):
            self.check(rules, other, "ampcode.model-mappings")

    def test_providersAreNamedWithTheirKeys(self) -> None:
        self.check("hidden-2", "hidden-9", "providers.a.api-keys")
        self.check(
            "kind: openai,",
            "kind: openai, priority: 1, base-url: http://x,",
            "providers.a.base-url",
            "providers.a.priority",
        )
        self.check("name: b", "name: c", "providers.b", "providers.c")
        self.check("  - {name: b, kind: demo}\n", "", "providers.b")
        self.check("kind: openai,", "kind: openai, timeouts: {idle: 1},", "providers.a.timeouts")

    def test_theOrderOfProvidersCounts(self) -> None:
        first, second = "  - {name: a, kind: openai, api-keys: [hidden-2]}\n", "  - {name: b, kind: demo}\n"
        self.check(first + second, second + first, "providers")

    def test_keysWithoutASectionOfTheirNameAreSpelledAsInTheFile(self) -> None:
        new = (
            "request-retry: 2\nmax-retry-interval: 9\nstreaming: {hold: 1, hold-bytes: 1}\ncooldown: {max: 1}\n"
            "routing: {strategy: fill-first, session-affinity: false}\ncors: {origins: ['*']}\nremoved-betas: []\n"
            "translate: {strict: true, extra-content: false, reasoning-content: false}\nampcode: {credits: deny}\n"
        )
        self.assertEqual(
            changes(config("{}"), config(new)),
            (
                "ampcode.credits",
                "cooldown.max",
                "cors.origins",
                "max-retry-interval",
                "removed-betas",
                "request-retry",
                "routing.session-affinity",
                "routing.strategy",
                "streaming.hold",
                "streaming.hold-bytes",
                "translate.extra-content",
                "translate.reasoning-content",
                "translate.strict",
            ),
        )

    def test_everyNameButProvidersIsAKeyOfTheFile(self) -> None:
        self.assertEqual(changes(config("{}"), defaults({})), ("providers.demo",))
