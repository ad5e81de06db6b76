"""The order of candidates and keys for one request."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.peers.credentials import Credential
from llmux.peers.plan import Plan
from tests.calling import MODEL, Calling, providers


def order(calling: Calling, model: str = MODEL) -> list[str]:
    """What the plan gives when everything fails without being held against anybody."""
    plan = Plan(calling.call(model), calling.credentials, calling.sessions)
    found = []
    while (step := plan.next()) is not None:
        found.append(f"{step.provider.config.name}{step.credential.number + 1}:{step.model}")
    return found


def named(calling: Calling, provider: str, number: int = 0) -> Credential:
    """One of a provider's credentials."""
    return calling.credentials._by_provider[provider][number]


class Order(SynchronousTestCase):
    """Candidates in order, their keys in turn."""

    def test_eachCandidatesKeysComeBeforeTheNextCandidate(self) -> None:
        calling = Calling({"providers": providers("a", "b", keys=2)})
        self.assertEqual(order(calling), ["a1:m-1", "a2:m-1", "b1:m-1", "b2:m-1"])

    def test_turnsGoOnFromRequestToRequest(self) -> None:
        calling = Calling({"providers": providers("a", keys=3)})
        firsts = []
        for _ in range(4):
            step = Plan(calling.call(), calling.credentials, calling.sessions).next()
            assert step is not None
            firsts.append(step.credential.number)
        self.assertEqual(firsts, [0, 1, 2, 0])

    def test_lowerPriorityNumbersComeFirst(self) -> None:
        late, early = providers("late", "early")
        calling = Calling({"providers": [{**late, "priority": 5}, {**early, "priority": -5}]})
        self.assertEqual(order(calling), ["early1:m-1", "late1:m-1"])

    def test_fallbackModelsComeAfterEveryCandidateOfTheFirst(self) -> None:
        config = {
            "providers": [*providers("a", "b"), *providers("c", models=["m-2"])],
            "ampcode": {"model-mappings": [{"from": "x", "to": ["m-1", "m-2"]}]},
        }
        self.assertEqual(order(Calling(config), "x"), ["a1:m-1", "b1:m-1", "c1:m-2"])

    def test_coolingKeysAreLeftOut(self) -> None:
        calling = Calling({"providers": providers("a", "b", keys=2)})
        calling.credentials.failed(named(calling, "a", 0), MODEL, 429, [])
        self.assertEqual(order(calling), ["a2:m-1", "b1:m-1", "b2:m-1"])

    def test_aKeyThatBeginsToCoolDuringTheRequestIsLeftOutToo(self) -> None:
        calling = Calling({"providers": providers("a", "b")})
        plan = Plan(calling.call(), calling.credentials, calling.sessions)
        self.assertIsNotNone(plan.next())
        calling.credentials.failed(named(calling, "b"), MODEL, 429, [])
        self.assertEqual((plan.more(), plan.next()), (False, None))

    def test_theLastResortIsTheOneThatIsReadySoonest(self) -> None:
        calling = Calling({"providers": providers("a", keys=3)})
        for number, seconds in enumerate((b"50", b"20", b"70")):
            calling.credentials.failed(named(calling, "a", number), MODEL, 429, [(b"retry-after", seconds)])
        plan = Plan(calling.call(), calling.credentials, calling.sessions)
        self.assertFalse(plan.more())
        step = plan.next()
        assert step is not None
        self.assertEqual((step.credential.number, plan.more(), plan.next()), (1, False, None))

    def test_aProviderThatCannotBeReachedIsLeftOutEverywhere(self) -> None:
        config = {
            "providers": [*providers("a", keys=2, models=["m-1", "m-2"]), *providers("b")],
            "ampcode": {"model-mappings": [{"from": "x", "to": ["m-1", "m-2"]}]},
        }
        calling = Calling(config)
        plan = Plan(calling.call("x"), calling.credentials, calling.sessions)
        self.assertIsNotNone(plan.next())
        plan.leave_out("a")
        step = plan.next()
        assert step is not None
        self.assertEqual((step.provider.config.name, plan.more(), plan.next()), ("b", False, None))

    def test_aCandidateCanBeSkippedWithItsOtherKeys(self) -> None:
        calling = Calling({"providers": providers("a", "b", keys=2)})
        plan = Plan(calling.call(), calling.credentials, calling.sessions)
        plan.next()
        plan.skip()
        step = plan.next()
        assert step is not None
        self.assertEqual(step.provider.config.name, "b")

    def test_whoeverCouldNotBeAskedAtAllDoesNotKeepACoolingOneFromIt(self) -> None:
        for give_up in (lambda plan: plan.skip(), lambda plan: plan.leave_out("a")):
            calling = Calling({"providers": providers("a", "b", "c", keys=2)})
            for name in ("b", "c"):
                for number in (0, 1):
                    calling.credentials.failed(named(calling, name, number), MODEL, 429, [])
            plan = Plan(calling.call(), calling.credentials, calling.sessions)
            for wanted in ("a", "b"):
                step = plan.next()
                assert step is not None
                self.assertEqual(step.provider.config.name, wanted)
                if wanted == "a":
                    give_up(plan)
            self.assertIsNone(plan.next())

    def test_aLastResortThatCannotBeAskedIsFollowedByTheNext(self) -> None:
        calling = Calling({"providers": providers("a", "b")})
        for name in ("a", "b"):
            calling.credentials.failed(named(calling, name), MODEL, 429, [])
        plan = Plan(calling.call(), calling.credentials, calling.sessions)
        found = []
        while (step := plan.next()) is not None:
            found.append(step.provider.config.name)
            plan.skip()
        self.assertEqual(found, ["a", "b"])

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=4), st.data()
    )
    def test_nobodyIsTriedTwiceAndMoreTellsTheTruth(self, shape: list[tuple[int, int, int]], data: Any) -> None:
        entries = [
            {**providers(f"p{place}", keys=keys)[0], "priority": priority, "weight": weight}
            for place, (keys, priority, weight) in enumerate(shape)
        ]
        strategy = data.draw(st.sampled_from(("round-robin", "fill-first", "weighted")))
        calling = Calling({"providers": entries, "routing": {"strategy": strategy}})
        credentials = [each for entry in entries for each in calling.credentials._by_provider[entry["name"]]]
        for each in credentials:
            if data.draw(st.booleans()):
                calling.credentials.failed(each, MODEL, 429, [])
        ready = [each for each in credentials if not calling.credentials._entries_of(each, MODEL)]
        plan = Plan(calling.call(), calling.credentials, calling.sessions)
        found: list[Credential] = []
        while True:
            more = plan.more()
            step = plan.next()
            if step is None:
                break
            self.assertTrue(more or not ready)
            found.append(step.credential)
        self.assertFalse(more)
        self.assertEqual(len(set(found)), len(found))
        self.assertEqual(set(found), set(ready)) if ready else self.assertEqual(len(found), 1)
        priorities = [entry["priority"] for each in found for entry in entries if entry["name"] == each.provider]
        self.assertEqual(priorities, sorted(priorities))


class Weights(SynchronousTestCase):
    """`routing.strategy: weighted` among equal providers."""

    def calling(self, *weights: int, **more: Any) -> Calling:
        """Providers a, b, ... with weights."""
        entries = providers(*"abcd"[: len(weights)], **more)
        config = [{**entry, "weight": weight} for entry, weight in zip(entries, weights, strict=True)]
        return Calling({"providers": config, "routing": {"strategy": "weighted"}})

    def firsts(self, calling: Calling, count: int) -> str:
        """Who is first for so many requests of different conversations."""
        found = ""
        for number in range(count):
            call = calling.call(body={"messages": [{"role": "user", "content": str(number)}]})
            step = Plan(call, calling.credentials, calling.sessions).next()
            assert step is not None
            found += step.provider.config.name
        return found

    def test_requestsAreSpreadEvenlyByWeight(self) -> None:
        self.assertEqual(self.firsts(self.calling(2, 1, 1), 8), "abcaabca")

    def test_aWeightOfZeroIsNeverFirstWhileAnotherIsReady(self) -> None:
        calling = self.calling(0, 1)
        self.assertEqual(self.firsts(calling, 3), "bbb")
        calling.credentials.failed(named(calling, "b"), MODEL, 503, [])
        self.assertEqual(self.firsts(calling, 1), "a")

    def test_onlyEqualsAreSpread(self) -> None:
        entries = [
            {**entry, "weight": 1, "kind": kind, "priority": priority}
            for entry, kind, priority in zip(
                providers("a", "b", "c"), ("openai", "anthropic", "openai"), (0, 0, 1), strict=True
            )
        ]
        calling = Calling({"providers": entries, "routing": {"strategy": "weighted"}})
        self.assertEqual(self.firsts(calling, 4), "aaaa")

    def test_theDecisionKeepsTheOrderOfTheFile(self) -> None:
        calling = self.calling(0, 1)
        call = calling.call()
        self.assertEqual([attempt.candidate.provider for attempt in call.decision.attempts], ["a", "b"])


class Homes(SynchronousTestCase):
    """Conversations and their credentials."""

    def test_aConversationGetsItsKeyBackAtEveryProvider(self) -> None:
        calling = Calling({"providers": providers("a", "b", keys=3)})
        call = calling.call()
        calling.sessions.remember(call, named(calling, "a", 2))
        calling.sessions.remember(call, named(calling, "b", 1))
        self.assertEqual(order(calling), ["a3:m-1", "a1:m-1", "a2:m-1", "b2:m-1", "b1:m-1", "b3:m-1"])

    def test_aKeyThatCoolsDownIsNotWaitedFor(self) -> None:
        calling = Calling({"providers": providers("a", keys=2)})
        calling.sessions.remember(calling.call(), named(calling, "a", 1))
        calling.credentials.failed(named(calling, "a", 1), MODEL, 429, [])
        self.assertEqual(order(calling), ["a1:m-1"])
