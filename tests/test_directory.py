"""Which providers serve a name, and in which order."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.config.model import ModelEntry, ProviderConfig
from llmux.config.secret import Secret
from llmux.routing.decision import Candidate
from llmux.routing.directory import Cooling, Directory, ServedModel
from llmux.routing.wildcard import matches

KEYS = (Secret("k"),)


def provider(name: str = "p", kind: str = "anthropic", models: tuple[Any, ...] = (), **more: Any) -> ProviderConfig:
    entries = tuple(
        entry
        if isinstance(entry, ModelEntry)
        else ModelEntry(*entry)
        if isinstance(entry, tuple)
        else ModelEntry(entry)
        for entry in models
    )
    return ProviderConfig(name, kind, **{"base_url": "https://api.x.com", "api_keys": KEYS, "models": entries, **more})


def names(
    asked: str, *providers: ProviderConfig, protocol: str | None = None, translate: bool = True, full: str | None = None
) -> list[str]:
    found = Directory(providers, translate).candidates(asked, full or asked, protocol)
    return [candidate.provider for candidate in found]


class Wildcards(SynchronousTestCase):
    """`*` in a name."""

    def test_aStarIsAnyTextAndNothingElseIsSpecial(self) -> None:
        for pattern, name, expected in (
            ("claude-*", "claude-", True),
            ("claude-*", "Claude-x", False),
            ("*", "", True),
            ("a*a", "a", False),
            ("a*b*c", "a-b-c", True),
            ("a*bc*bc", "a-bc", False),
            ("*opus*", "x-opus", True),
            ("[a]?", "a1", False),
            ("gpt", "gpt-5", False),
            ("**", "x", True),
        ):
            self.assertEqual(matches(pattern, name), expected, (pattern, name))

    @settings(max_examples=200)
    @given(st.lists(st.text("ab", max_size=3), min_size=2, max_size=4), st.data())
    def test_whatFillsTheStarsMatches(self, pieces: list[str], data: st.DataObject) -> None:
        name = pieces[0] + "".join(data.draw(st.text("ab", max_size=3)) + piece for piece in pieces[1:])
        self.assertTrue(matches("*".join(pieces), name))


class Serving(SynchronousTestCase):
    """Who is a candidate."""

    def test_aListIsExactAndCaseCounts(self) -> None:
        listed = provider(models=("opus-9", "sonnet-*"))
        for asked, served in (("opus-9", 1), ("opus-9-1", 0), ("Opus-9", 0), ("sonnet-10", 1), ("claude-3", 0)):
            self.assertEqual(len(names(asked, listed)), served, asked)

    def test_withoutAListTheKindDecides(self) -> None:
        for kind, served in {
            "anthropic": ("claude-opus-99",),
            "openai": ("gpt-9", "o1", "o9-mini", "chatgpt-x", "codex-mini"),
            "openai-responses": ("gpt-9", "o4-mini"),
            "gemini": ("gemini-9-pro", "gemma-3"),
            "demo": ("demo", "demo-slow"),
        }.items():
            for name in served:
                self.assertEqual(names(name, provider(kind=kind)), ["p"], (kind, name))
            self.assertEqual(names("o10x" if kind == "gemini" else "llama", provider(kind=kind)), [], kind)

    def test_anAliasIsWhatIsAskedAndTheNameWhatIsSent(self) -> None:
        directory = Directory([provider(models=(("claude-opus-4-7", "opus"), ("real", "any-*")))])
        self.assertEqual(directory.candidates("opus", "opus"), (Candidate("p", "claude-opus-4-7"),))
        self.assertEqual(directory.candidates("any-x", "any-x"), (Candidate("p", "real"),))
        self.assertEqual(directory.candidates("claude-opus-4-7", "claude-opus-4-7"), ())

    def test_oneAliasMayStandForSeveralModels(self) -> None:
        directory = Directory([provider(models=(("a-1", "a"), ("a-2", "a"), ("a-1", "a")))])
        self.assertEqual([one.model for one in directory.candidates("a", "a")], ["a-1", "a-2"])
        self.assertEqual(directory.models(), (ServedModel("a", ("p",)),))

    def test_anExactEntryBeatsAPattern(self) -> None:
        directory = Directory([provider(models=("*", ("real", "x")))])
        self.assertEqual([one.model for one in directory.candidates("x", "x")], ["real"])

    def test_aPatternWithAnAliasIsIgnoredWithAWarning(self) -> None:
        directory = Directory([provider(models=(("claude-*", "x"),))])
        self.assertEqual(directory.candidates("x", "x"), ())
        self.assertIn("'claude-*'", directory.warnings[0])

    def test_excludedModelsAreNotServedUnderAnyName(self) -> None:
        listed = provider(models=("a-*", ("b-1", "b")), excluded_models=("a-old*", "b-1"))
        for asked, served in (("a-new", 1), ("a-old-2", 0), ("b", 0)):
            self.assertEqual(len(names(asked, listed)), served, asked)

    def test_whatIsDisabledOrHasNoCredentialsServesNothing(self) -> None:
        for more, served in (
            ({"enabled": False}, 0),
            ({"api_keys": ()}, 0),
            ({"api_keys": (Secret(" "),)}, 0),
            ({"api_keys": (), "base_url": "https://generativelanguage.googleapis.com/v1beta"}, 0),
            ({"api_keys": (), "base_url": ""}, 0),
            ({"api_keys": (), "base_url": "http://127.0.0.1:8080/v1"}, 1),
            ({"api_keys": (), "headers": (("X-Api-Key", "k"),)}, 1),
            ({"api_keys": (), "kind": "demo"}, 1),
            ({"api_keys": (), "kind": "demo", "enabled": False}, 0),
        ):
            self.assertEqual(len(names("x", provider(models=("x",), **more))), served, more)

    def test_theFullNameIsTriedWhenNobodyListsTheBase(self) -> None:
        whole, base = provider("whole", models=("x(high)",)), provider("base", models=("x",))
        directory = Directory([whole])
        self.assertEqual(directory.candidates("x", "x(high)"), (Candidate("whole", "x(high)", whole=True),))
        self.assertEqual(names("x", whole, base, full="x(high)"), ["base"])


class Formats(SynchronousTestCase):
    """Who speaks a route's format."""

    def test_nativeFormatsFollowTheKind(self) -> None:
        for kind, native in {
            "anthropic": "anthropic",
            "openai": "chat completions",
            "openai-responses": "responses",
            "gemini": "gemini",
            "demo": "anthropic chat completions responses gemini",
        }.items():
            served = provider(kind=kind, models=("x",))
            for protocol in ("anthropic", "chat", "completions", "responses", "gemini"):
                own = protocol in native.split()
                self.assertEqual(bool(names("x", served, protocol=protocol, translate=False)), own, (kind, protocol))
                found = Directory([served]).candidates("x", "x", protocol)
                self.assertEqual([one.native for one in found], [own] if own or protocol != "completions" else [])

    def test_protocolsRestrict(self) -> None:
        only = provider(kind="openai", models=("x",), protocols=("chat", "anthropic"))
        served = [
            name
            for name in ("anthropic", "chat", "completions", "responses", "gemini")
            if names("x", only, protocol=name)
        ]
        self.assertEqual(served, ["anthropic", "chat", "completions"])
        self.assertEqual(names("x", only, protocol="anthropic", translate=False), [])

    def test_anUnknownProtocolIsAnErrorAndNotNobody(self) -> None:
        self.assertRaises(ValueError, Directory([provider()]).candidates, "x", "x", "openai.chat")


class Order(SynchronousTestCase):
    """Ready, priority, native, file."""

    PROVIDERS = (
        provider("gemini", "gemini", ("x",)),
        provider("late", "anthropic", ("x",), priority=2),
        provider("own", "anthropic", ("x",)),
        provider("own2", "anthropic", ("x",)),
    )

    def order(self, cooling: Cooling | None = None) -> list[str]:
        found = Directory(self.PROVIDERS, cooling=cooling).candidates("x", "x", "anthropic")
        return [candidate.provider + ("" if candidate.ready else "!") for candidate in found]

    def test_priorityThenNativeThenFile(self) -> None:
        self.assertEqual(self.order(), ["own", "own2", "gemini", "late"])

    def test_coolingDownComesLastAndStillCounts(self) -> None:
        self.assertEqual(self.order(lambda name, model: name == "own"), ["own2", "gemini", "late", "own!"])
        self.assertEqual(self.order(lambda name, model: True), ["own!", "own2!", "gemini!", "late!"])

    def test_coolingIsAskedEachTimeForTheNameThatIsSent(self) -> None:
        cooling: set[tuple[str, str]] = set()
        directory = Directory(
            [provider("a", models=(("real", "x"),)), provider("b", models=("x",))],
            cooling=lambda name, model: (name, model) in cooling,
        )
        self.assertEqual([one.provider for one in directory.candidates("x", "x")], ["a", "b"])
        cooling.add(("a", "real"))
        self.assertEqual([one.provider for one in directory.candidates("x", "x")], ["b", "a"])
        cooling.clear()
        self.assertEqual([one.provider for one in directory.candidates("x", "x")], ["a", "b"])

    def test_aPinLeavesOneProvider(self) -> None:
        found = Directory(self.PROVIDERS).candidates("x", "x", None, "late")
        self.assertEqual([one.provider for one in found], ["late"])

    def test_resultsAreRememberedWithinBounds(self) -> None:
        directory = Directory(self.PROVIDERS)
        self.assertIs(directory.candidates("x", "x"), directory.candidates("x", "x"))
        for number in range(5000):
            directory.candidates(f"n{number}", f"n{number}")
        directory.candidates("y" * 1000, "y" * 1000)
        self.assertLessEqual(len(directory._found), 4096)
        self.assertNotIn(("y" * 1000, "y" * 1000, None, None), directory._found)


class Lists(SynchronousTestCase):
    """Names for model lists, and explanations."""

    def test_concreteNamesOfUsableProvidersAreListed(self) -> None:
        directory = Directory(
            [
                provider("a", models=("x", "claude-*", ("real", "alias"), "gone"), excluded_models=("gone",)),
                provider("b", "openai", ("x", "z"), priority=-1, protocols=("chat",)),
                provider("off", models=("hidden",), enabled=False),
                provider("default"),
            ]
        )
        self.assertEqual(
            directory.models(),
            (ServedModel("x", ("b", "a")), ServedModel("alias", ("a",)), ServedModel("z", ("b",))),
        )
        self.assertEqual([served.name for served in directory.models("anthropic")], ["x", "alias"])

    def test_anExplanationSaysWhyNot(self) -> None:
        providers = (
            provider("serves", models=(("real", "x"),)),
            provider("translates", "gemini", ("x",)),
            provider("chat", "openai", ("x",), protocols=("chat",)),
            provider("whole", models=("x(high)",)),
            provider("excludes", models=("*",), excluded_models=("x*",)),
            provider("other", models=("y",)),
            provider("off", models=("x",), enabled=False),
            provider("keyless", models=("x",), api_keys=()),
        )
        directory = Directory(providers, cooling=lambda name, model: name == "serves")
        self.assertEqual(
            {state.provider: state.outcome for state in directory.explain("x", "x(high)", "anthropic")},
            {
                "serves": "serves it as real, cooling down",
                "translates": "serves it as x, translating from anthropic",
                "chat": "cannot serve anthropic requests",
                "whole": "lists the whole name only",
                "excludes": "excluded by excluded-models",
                "other": "does not list it",
                "off": "disabled",
                "keyless": "has no api-keys",
            },
        )
