"""The `ampcode` section and its older flat form."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.config.model import AmpcodeConfig, ClientUpstreamKey, CreditsPolicy, MappingRule, Target
from llmux.config.secret import Secret
from tests.configuring import config, problems, warnings

FULL = """
ampcode:
  upstream-url: http://up-a
  upstream-api-key: k1
  upstream-api-keys: [{upstream-api-key: kt, api-keys: [ck-1, ck-2]}]
  restrict-management-to-localhost: false
  force-model-mappings: true
  model-mappings:
    - {from: a, to: b}
  credits: deny
  strip-features: [thread-actors-tui]
"""


def rules(text: str) -> tuple[MappingRule, ...]:
    return config(f"ampcode: {{model-mappings: [{text}]}}").ampcode.model_mappings


class AmpcodeTests(SynchronousTestCase):
    def test_everyKeyIsRead(self) -> None:
        self.assertEqual(
            config(FULL).ampcode,
            AmpcodeConfig(
                "http://up-a",
                Secret("k1"),
                (ClientUpstreamKey(Secret("kt"), (Secret("ck-1"), Secret("ck-2"))),),
                False,
                True,
                (MappingRule("a", (Target("b"),)),),
                CreditsPolicy(allow=()),
                ("thread-actors-tui",),
            ),
        )

    def test_nothingMeansTheDefaults(self) -> None:
        for text in ("ampcode:\n", "ampcode: {}", "ampcode: {upstream-url: '', upstream-api-key: ' '}"):
            self.assertEqual(config(text).ampcode, AmpcodeConfig())

    def test_anUpstreamThatCannotBeUsedRefusesTheFile(self) -> None:
        found = problems("ampcode: {upstream-url: '://nope'}")
        self.assertEqual(len(found), 1)
        self.assertTrue(found[0].startswith("1:25: ampcode.upstream-url: expected a URL"))

    def test_wrongTypesRefuseTheFile(self) -> None:
        for written in (
            "upstream-url: [a]",
            "upstream-api-key: {a: b}",
            "upstream-api-keys: k",
            "force-model-mappings: 'yes'",
            "model-mappings: {a: b}",
            "model-mappings: [a]",
            "model-mappings: [{from: [a], to: b}]",
            "model-mappings: [{from: a, to: b, regex: 1}]",
            "model-mappings: [{from: a, to: [[b]]}]",
            "model-mappings: [{from: a, to: {model: [b]}}]",
            "strip-features: x",
            "nonsense: 1",
        ):
            self.assertEqual(len(problems(f"ampcode: {{{written}}}")), 1, written)

    def test_aClientKeyBelongsToTheFirstEntryThatNamesIt(self) -> None:
        text = (
            "ampcode:\n  upstream-api-keys:\n"
            "    - {upstream-api-key: u0, api-keys: []}\n"
            "    - {upstream-api-key: ' ', api-keys: [ck-1]}\n"
            "    - {upstream-api-key: u1, api-keys: [ck-1, ' ck-2 ']}\n"
            "    - {upstream-api-key: u2, api-keys: [ck-2, ck-3]}\n"
            "    - {upstream-api-key: u3, api-keys: [ck-1]}\n"
        )
        self.assertEqual(
            config(text).ampcode.upstream_api_keys,
            (
                ClientUpstreamKey(Secret("u1"), (Secret("ck-1"), Secret("ck-2"))),
                ClientUpstreamKey(Secret("u2"), (Secret("ck-3"),)),
            ),
        )
        found = warnings(text)
        self.assertEqual([line.split(":")[0] for line in found], ["3", "4", "6", "7"])
        self.assertNotIn("ck-", "".join(found))


class MappingTests(SynchronousTestCase):
    def test_rulesKeepTheirOrderAndLine(self) -> None:
        text = (
            "ampcode:\n  model-mappings:\n"
            "    - {from: ' b ', to: ' x '}\n    - {from: A, to: y, regex: true}\n    - {from: b, to: z}\n"
        )
        found = config(text).ampcode.model_mappings
        self.assertEqual(
            found,
            (
                MappingRule("b", (Target("x"),)),
                MappingRule("A", (Target("y"),), True),
                MappingRule("b", (Target("z"),)),
            ),
        )
        self.assertEqual([rule.line for rule in found], [3, 4, 5])

    def test_targetsMayBeListsAndPins(self) -> None:
        self.assertEqual(
            rules("{from: a, to: [b, {model: c, provider: p}, '', 'd:p', {model: e}, ~]}")[0].targets,
            (Target("b"), Target("c", "p"), Target("d:p"), Target("e")),
        )
        self.assertEqual(rules("{from: a, to: {model: c, provider: p}}")[0].targets, (Target("c", "p"),))
        self.assertEqual(rules("{from: 4, to: 5}")[0], MappingRule("4", (Target("5"),)))

    def test_aRuleThatCanNeverApplyIsLeftOutWithOneWarning(self) -> None:
        for written in (
            "{from: '', to: x}",
            "{from: '  ', to: x}",
            "{to: x}",
            "{from: a, to: ''}",
            "{from: a, to: []}",
            "{from: a, to: ['', {model: ''}]}",
            "{from: a, to: }",
            "{from: a}",
            "{from: '(', to: x, regex: true}",
            "{from: '[a-', to: x, regex: true}",
            "{from: '*', to: x, regex: true}",
            f"{{from: {'a' * 2000}, to: x, regex: true}}",
        ):
            text = f"ampcode: {{model-mappings: [{written}, {{from: ok, to: z}}]}}"
            self.assertEqual([rule.source for rule in config(text).ampcode.model_mappings], ["ok"], written)
            self.assertEqual(len(warnings(text)), 1, written)

    def test_theWarningNamesThePattern(self) -> None:
        text = "ampcode: {model-mappings: [{from: 'a(', to: x, regex: true}]}"
        self.assertEqual(
            warnings(text),
            [
                "1:35: ampcode.model-mappings[0].from: the regular expression 'a(' does not compile; "
                "the rule is left out"
            ],
        )

    def test_aPatternThatIsNoRegularExpressionIsAnExactName(self) -> None:
        self.assertEqual(rules("{from: '(', to: x}")[0].source, "(")
        self.assertEqual(rules("{from: '^gpt-.*$', to: x, regex: true}")[0].source, "^gpt-.*$")


class CreditsTests(SynchronousTestCase):
    def policy(self, written: str) -> CreditsPolicy:
        return config(f"ampcode:\n  credits: {written}\n").ampcode.credits

    def test_wordsAndConditions(self) -> None:
        self.assertEqual(self.policy("allow"), CreditsPolicy())
        self.assertEqual(self.policy("deny"), CreditsPolicy(allow=()))
        self.assertEqual(self.policy("{allow: []}"), CreditsPolicy(allow=()))
        self.assertEqual(
            self.policy("{allow: [a*, b], daily-requests: 9, passthrough: false}"), CreditsPolicy(("a*", "b"), 9, False)
        )
        self.assertEqual(self.policy("{daily-requests: 0}"), CreditsPolicy(None, 0))

    def test_theLineIsThatOfTheKey(self) -> None:
        self.assertEqual(self.policy("allow").line, 2)
        self.assertEqual(self.policy("\n    allow: [x]").line, 2)
        self.assertEqual(config("ampcode: {upstream-url: http://x}").ampcode.credits.line, 0)

    def test_theLineThatDeniesAgentsIsKnown(self) -> None:
        for written, denial in (
            ("credits: deny\n  credits-passthrough: deny", ("ampcode.credits-passthrough", 3)),
            ("credits-passthrough: deny", ("ampcode.credits-passthrough", 2)),
            ("credits:\n    passthrough: false", ("ampcode.credits.passthrough", 3)),
            ("credits:\n    passthrough: true", ("", 0)),
            ("credits-passthrough: allow", ("", 0)),
        ):
            self.assertEqual(config(f"ampcode:\n  {written}").ampcode.credits.denial, denial, written)

    def test_otherWordsAreRefused(self) -> None:
        for written in ("no", "none", "'allow '", "[allow]", "{allow: x}", "{deny: [x]}", "{daily-requests: -1}"):
            expected = 0 if written == "'allow '" else 1
            self.assertEqual(len(problems(f"ampcode: {{credits: {written}}}")), expected, written)


class OlderKeysTests(SynchronousTestCase):
    def test_flatKeysAreUnderstood(self) -> None:
        text = (
            "amp-upstream-url: http://up-a\namp-upstream-api-key: k1\namp-restrict-management-to-localhost: true\n"
            "amp-force-model-mappings: true\namp-model-mappings: [{from: a, to: b}]\n"
            "amp-upstream-api-keys: [{upstream-api-key: u, api-keys: [c]}]\n"
        )
        found = config(text)
        self.assertEqual(
            found.ampcode,
            AmpcodeConfig(
                "http://up-a",
                Secret("k1"),
                (ClientUpstreamKey(Secret("u"), (Secret("c"),)),),
                True,
                True,
                (MappingRule("a", (Target("b"),)),),
            ),
        )
        self.assertEqual(found.warnings, ())

    def test_theSectionHoldsWhereBothSpeak(self) -> None:
        text = "amp-upstream-url: http://old\namp-upstream-api-key: k\nampcode: {upstream-url: http://new}\n"
        self.assertEqual(config(text).ampcode, AmpcodeConfig("http://new", Secret("k")))
        self.assertEqual(warnings(text), ["1:19: amp-upstream-url: ampcode.upstream-url is given as well and holds"])
