"""Which tries a request makes, by hand and by the clock."""

from __future__ import annotations

from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.losses import RequestRefused
from llmux.headers import RawHeaders
from llmux.peers import executor as module
from llmux.peers.executor import moves_on, patience
from llmux.peers.tries import Answer, ProviderUnreachable
from llmux.wire.outgoing import UpstreamFailure
from tests.calling import EVENTS, MODEL, Calling, Reading, providers

GOOD = b'{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"content":"hello"}}]}'
ERROR = b'{"error":{"message":"no"}}'


class ExecutorCase(SynchronousTestCase):
    """A call, and the log of its tries."""

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        jitter = mock.patch.object(module, "uniform", lambda low, high: 1.0)
        jitter.start()
        self.addCleanup(jitter.stop)

    def begin(self, *names: str, keys: Any = 1, **more: Any) -> Deferred[Answer]:
        """Let a call begin; `more` are further keys of the configuration."""
        entries = more.pop("providers", None) or providers(*(names or ("a",)), keys=keys)
        self.calling = Calling({"providers": entries, **more})
        return self.ask()

    def ask(self, **options: Any) -> Deferred[Answer]:
        """Another call with the same configuration."""
        return Deferred.fromCoroutine(self.calling.executor.answer(self.calling.call(**options)))

    def body(self, answer: Answer) -> tuple[bytes, str]:
        """The body of an answer and how it ended."""
        reader = Reading()
        answer.exchange.relay(reader)
        return reader.body, reader.outcome

    def codes(self) -> list[str]:
        """What requests lost, by the log."""
        return [event["codes"] for event in self.events if "codes" in event]

    def outcomes(self) -> list[tuple[str, int, str, bool]]:
        """The tries by the log."""
        return [
            (event["provider"], event["key"], event["outcome"], event["sent"])
            for event in self.events
            if event.get("component") == "llmux-try"
        ]


class Answers(ExecutorCase):
    """What ends a request."""

    def test_aGoodAnswerIsPassedOnAsItCame(self) -> None:
        asked = self.begin("a", "b")
        self.assertNoResult(asked)
        self.calling.newest.answer(200, body=GOOD)
        answer = self.successResultOf(asked)
        self.assertEqual((answer.head.status, answer.story, self.body(answer)), (200, "", (GOOD, "end")))
        self.assertEqual((len(self.calling.sent), self.outcomes()), (1, [("a", 1, "200", True)]))

    def test_aFailureMovesOnAndTheStoryIsTold(self) -> None:
        asked = self.begin("a", "b", keys=2)
        for status in (429, 401, 503):
            self.calling.newest.answer(status, body=ERROR)
        self.calling.newest.answer(200, body=GOOD)
        answer = self.successResultOf(asked)
        self.assertEqual(self.calling.keys(), ["pk-a-1", "pk-a-2", "pk-b-1", "pk-b-2"])
        self.assertEqual(answer.story, "tried a (429), a (401), b (503)")
        self.assertEqual([outcome for _, _, outcome, _ in self.outcomes()], ["429", "401", "503", "200"])
        self.assertEqual([number for _, number, _, _ in self.outcomes()], [1, 2, 1, 2])

    def test_aLongStoryIsCutShort(self) -> None:
        asked = self.begin("a", keys=11)
        for _ in range(10):
            self.calling.newest.answer(503, body=ERROR)
        self.calling.newest.answer(200, body=GOOD)
        self.assertEqual(self.successResultOf(asked).story, "tried " + ", ".join(["a (503)"] * 8) + " and 2 more")

    def test_theRequestsOwnFaultEndsItAtOnce(self) -> None:
        for status in (400, 403, 404, 413, 422):
            asked = self.begin("a", "b")
            self.calling.newest.answer(status, body=ERROR)
            answer = self.successResultOf(asked)
            self.assertEqual(
                (answer.head.status, self.body(answer), len(self.calling.sent)), (status, (ERROR, "end"), 1)
            )

    def test_whoeverAnswersNobodyElseIsAsked(self) -> None:
        asked = self.begin("a", "b", **{"request-retry": 3})
        self.calling.newest.answer(200, EVENTS)
        self.calling.newest.data(b"data: {}\n\n")
        answer = self.successResultOf(asked)
        reader = Reading()
        answer.exchange.relay(reader)
        self.calling.newest.fail("cut")
        self.calling.clock.advance(1000)
        self.assertEqual((len(self.calling.sent), reader.outcome), (1, "cut"))

    def test_theLastErrorIsPassedOnButA401OnlyWithoutABetterOne(self) -> None:
        for statuses, wanted in (((503, 429), 429), ((429, 401), 429), ((401, 429), 429), ((401, 401), 401)):
            asked = self.begin("a", "b")
            for status in statuses:
                self.calling.newest.answer(status, body=b"%d" % status)
            answer = self.successResultOf(asked)
            self.assertEqual((answer.head.status, self.body(answer)), (wanted, (b"%d" % wanted, "end")), statuses)

    def test_anErrorComesBeforeNoAnswerAtAll(self) -> None:
        asked = self.begin("a", "b")
        self.calling.newest.answer(503, body=ERROR)
        self.calling.newest.fail("connect", sent=False)
        answer = self.successResultOf(asked)
        self.assertEqual((answer.head.status, answer.story), (503, "tried a (503), b (connect)"))
        self.assertEqual([sent for _, _, _, sent in self.outcomes()], [True, False])

    def test_whenNobodyAnswersTheLastFailureIsToldWithItsClock(self) -> None:
        clocks = (("connect", 0.0), ("connect-timeout", 3.0), ("first-byte-timeout", 600.0), ("closed", 0.0))
        for kind, seconds in clocks:
            asked = self.begin("a", timeouts={"connect": 3})
            self.calling.newest.fail(kind)
            problem = self.failureResultOf(asked, ProviderUnreachable).value
            self.assertEqual((problem.failure.kind, problem.seconds), (kind, seconds))
            self.assertEqual(problem.story, f"tried a ({kind})")

    def test_aLateErrorBodyOfTheLastOneIsNotCutShort(self) -> None:
        asked = self.begin("a")
        self.calling.newest.answer(503)
        self.calling.newest.data(b"one ")
        self.calling.clock.advance(2)
        answer = self.successResultOf(asked)
        reader = Reading()
        answer.exchange.relay(reader)
        self.calling.newest.data(b"two")
        self.calling.newest.end()
        self.assertEqual((reader.body, reader.outcome), (b"one two", "end"))

    def test_aLateErrorBodyOfAnotherIsGivenUp(self) -> None:
        asked = self.begin("a", "b")
        first = self.calling.newest
        first.answer(503)
        self.calling.clock.advance(2)
        self.assertEqual(first.events, ["pause", "abort"])
        self.calling.newest.answer(200, body=GOOD)
        self.successResultOf(asked)

    @settings(max_examples=80, deadline=None)
    @given(
        st.lists(st.integers(1, 3), min_size=1, max_size=3),
        st.lists(
            st.sampled_from((200, 400, 401, 403, 404, 408, 429, 500, 503, 529, "connect", "closed", "tls-timeout")),
            min_size=9,
            max_size=9,
        ),
    )
    def test_noKeyIsAskedTwiceAndNothingFollowsAnAnswer(self, keys: list[int], played: list[int | str]) -> None:
        entries = [providers(f"p{place}", keys=count)[0] for place, count in enumerate(keys)]
        asked = self.begin(providers=entries)
        said: list[int | str] = []
        while not asked.called:
            said.append(played[len(said)])
            last = said[-1]
            if isinstance(last, int):
                self.calling.newest.answer(last, body=GOOD if last == 200 else ERROR)
            else:
                self.calling.newest.fail(last)
        sent = self.calling.keys()
        self.assertEqual((len(set(sent)), len(sent)), (len(said), len(said)))
        ends = [place for place, each in enumerate(said) if isinstance(each, int) and not moves_on(each)]
        self.assertTrue(not ends or ends == [len(said) - 1])
        if ends:
            self.assertEqual(self.successResultOf(asked).head.status, said[-1])
        elif any(isinstance(each, int) for each in said):
            better = [each for each in said if isinstance(each, int) and each != 401]
            self.assertEqual(self.successResultOf(asked).head.status, better[-1] if better else 401)
        else:
            self.failureResultOf(asked, ProviderUnreachable)
        self.assertEqual(self.calling.clock.getDelayedCalls(), [])


class Disguises(ExecutorCase):
    """Errors that come with a status of success, from the last one that is left."""

    def test_theyHaveTheirRealStatusAndTheirWishIsFollowed(self) -> None:
        details = b'"details":[{"retryDelay":"16.2s"}]'
        error = b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED",' + details + b"}}"
        for headers, body in ((EVENTS, b"data: " + error + b"\n\n"), ([], error)):
            asked = self.begin("a")
            self.calling.newest.answer(200, headers, body)
            answer = self.successResultOf(asked)
            self.assertEqual((answer.head.status, self.body(answer)), (429, (error, "end")))
            self.assertEqual(answer.advice, [(b"Retry-After", b"17")])
            self.assertEqual(self.calling.cooling(), [("a", "rate-limit", MODEL)])
            self.assertEqual([row.remaining for row in self.calling.credentials.listing()], [16.2])
            self.assertEqual(self.outcomes()[-1], ("a", 1, "429", True))

    def test_aProbeThatMeetsOneHasNotSucceeded(self) -> None:
        asked = self.begin("a")
        self.calling.newest.answer(503, body=ERROR)
        self.successResultOf(asked)
        self.calling.clock.advance(30)
        probe = self.ask()
        self.calling.newest.answer(200, EVENTS, b'data: {"error":{"type":"overloaded_error"}}\n\n')
        self.assertEqual(self.successResultOf(probe).head.status, 529)
        self.assertEqual([row.remaining for row in self.calling.credentials.listing()], [60])

    def test_theRequestsOwnFaultStaysItsOwn(self) -> None:
        asked = self.begin("a", "b")
        self.calling.newest.answer(200, EVENTS, b'event: error\ndata: {"error":{"type":"invalid_request_error"}}\n\n')
        self.assertEqual(self.successResultOf(asked).head.status, 400)
        self.assertEqual((self.calling.cooling(), len(self.calling.sent)), ([], 1))

    def test_whatIsCompressedIsNotLookedAt(self) -> None:
        asked = self.begin("a", "b")
        self.calling.newest.answer(200, [*EVENTS, (b"Content-Encoding", b"gzip")])
        self.assertEqual(self.successResultOf(asked).head.status, 200)


class Patience(ExecutorCase):
    """The first-byte timeout counts all tries."""

    def test_theSecondTryHasWhatTheFirstHasLeft(self) -> None:
        asked = self.begin("a", "b", timeouts={"first-byte": 10})
        self.calling.clock.advance(8)
        self.calling.newest.answer(503, body=ERROR)
        self.calling.clock.advance(1.9)
        self.assertNoResult(asked)
        self.calling.clock.advance(0.2)
        self.assertEqual(self.successResultOf(asked).head.status, 503)
        self.assertEqual(self.calling.newest.events, ["abort"])
        self.assertEqual(self.calling.cooling(), [("a", "overloaded", MODEL)])

    def test_itIsA504WhenNobodyAnswered(self) -> None:
        asked = self.begin("a", "b", "c", timeouts={"first-byte": 10})
        self.calling.clock.advance(3)
        self.calling.newest.fail("closed")
        self.calling.clock.advance(7)
        problem = self.failureResultOf(asked, ProviderUnreachable).value
        self.assertEqual((problem.failure.kind, problem.seconds, len(self.calling.sent)), ("first-byte-timeout", 10, 2))
        # It had most of its time.
        self.assertEqual({provider for provider, _, _ in self.calling.cooling()}, {"a", "b"})

    def test_afterTheClientsPatienceNobodyIsAsked(self) -> None:
        asked = self.begin("a", "b", timeouts={"first-byte": 10})
        self.calling.clock.advance(10)
        self.calling.newest.fail("first-byte-timeout")
        self.failureResultOf(asked, ProviderUnreachable)
        self.assertEqual(len(self.calling.sent), 1)

    def test_aProvidersOwnShorterTimeLeavesTimeForOthers(self) -> None:
        entries = [{**entry, "timeouts": {"first-byte": 2}} for entry in providers("a", "b")]
        asked = self.begin(providers=entries, timeouts={"first-byte": 10})
        self.calling.clock.advance(2)
        self.calling.newest.fail("first-byte-timeout")
        self.calling.newest.answer(200, body=GOOD)
        self.assertEqual(self.successResultOf(asked).story, "tried a (first-byte-timeout)")

    def test_aProvidersOwnLongerTimeStretchesIt(self) -> None:
        self.begin(providers=[{**providers("a")[0], "timeouts": {"first-byte": 900}}])
        self.assertEqual(patience(self.calling.call()), 900)

    def test_anAnswerStopsTheClock(self) -> None:
        asked = self.begin("a", "b", timeouts={"first-byte": 10})
        self.calling.newest.answer(503, body=ERROR)
        self.calling.newest.answer(200, body=GOOD)
        self.successResultOf(asked)
        self.assertEqual(self.calling.clock.getDelayedCalls(), [])


class Rounds(ExecutorCase):
    """The whole list once more."""

    def test_pausesDoubleUpToTheLongest(self) -> None:
        asked = self.begin("a", **{"request-retry": 4, "max-retry-interval": 3, "cooldown": {"max": 0}})
        began = self.calling.clock.seconds()
        times = []
        for number in range(4):
            self.calling.newest.fail("closed")
            while len(self.calling.sent) == number + 1:
                self.calling.clock.advance(0.25)
            times.append(self.calling.clock.seconds() - began)
        self.assertEqual(times, [1.0, 3.0, 6.0, 9.0])
        self.calling.newest.answer(200, body=GOOD)
        self.successResultOf(asked)

    def test_theyWaitForTheKeyThatIsReadySoonest(self) -> None:
        asked = self.begin("a", "b", **{"request-retry": 1})
        self.calling.newest.answer(429, [(b"retry-after", b"20")], ERROR)
        self.calling.newest.answer(429, [(b"retry-after", b"5")], ERROR)
        self.calling.clock.advance(4.9)
        self.assertEqual(len(self.calling.sent), 2)
        self.calling.clock.advance(0.2)
        self.assertEqual(self.calling.keys()[-1], "pk-b-1")
        self.calling.newest.answer(200, body=GOOD)
        self.assertEqual(self.successResultOf(asked).head.status, 200)

    def test_theyAreBoundedByPatience(self) -> None:
        asked = self.begin("a", **{"request-retry": 5, "timeouts": {"first-byte": 4}})
        self.calling.newest.answer(429, [(b"retry-after", b"5")], ERROR)
        self.assertEqual(self.successResultOf(asked).head.status, 429)

    def test_jitterOnlyProlongsAPauseSoThatItsKeyIsReady(self) -> None:
        asked = self.begin("a", **{"request-retry": 1})
        self.calling.newest.answer(429, [(b"retry-after", b"20")], ERROR)
        self.assertNoResult(asked)
        for choose, pause in (((lambda low, high: low), 20.0), ((lambda low, high: high), 25.0)):
            with mock.patch.object(module, "uniform", choose):
                self.assertEqual(self.calling.executor._pause_before(self.calling.call(), 1, 30.0), pause)
        asked.cancel()
        self.failureResultOf(asked, CancelledError)

    def test_jitterNeverExceedsTheLongestPause(self) -> None:
        self.begin("a", **{"request-retry": 1})
        with mock.patch.object(module, "uniform", lambda low, high: high):
            self.assertEqual(self.calling.executor._pause_before(self.calling.call(), 9, 30.0), 30.0)


class Blaming(ExecutorCase):
    """Who is left alone afterwards."""

    def test_theBodyTellsWhoIsToBlameAlsoOfTheLastOne(self) -> None:
        asked = self.begin("a")
        self.calling.newest.answer(400, body=b'{"error":{"message":"Your credit balance is too low to go on"}}')
        self.assertEqual(self.successResultOf(asked).head.status, 400)
        self.assertEqual(self.calling.cooling(), [("a", "quota", None)])

    def test_anEmptyAccountMovesOnWhateverItsStatus(self) -> None:
        for status, body in ((400, b"credit balance is too low"), (402, b"{}"), (400, b"API_KEY_INVALID")):
            asked = self.begin("a", "b")
            self.calling.newest.answer(status, body=body)
            self.calling.newest.answer(200, body=GOOD)
            self.assertEqual(self.successResultOf(asked).head.status, 200)

    def test_aDeathInTheAnswerIsHeldAgainstTheKey(self) -> None:
        for kind, wanted in (
            ("cut", [("a", "server-error", MODEL)]),
            ("idle-timeout", [("a", "server-error", MODEL)]),
            ("total-timeout", []),
            ("protocol", []),
        ):
            asked = self.begin("a")
            self.calling.newest.answer(200, body=GOOD)
            answer = self.successResultOf(asked)
            model = answer.attempt.candidate.model
            self.calling.executor.died(answer.credential, model, UpstreamFailure(kind))
            self.assertEqual(self.calling.cooling(), wanted, kind)

    def test_aWishInTheProvidersOwnWayIsPutIntoWords(self) -> None:
        for headers, told in (
            ([(b"retry-after-ms", b"1500")], [(b"Retry-After", b"2")]),
            ([(b"Retry-After", b"9")], []),
            ([], []),
        ):
            asked = self.begin("a")
            sent: RawHeaders = [*headers]
            self.calling.newest.answer(429, sent, ERROR)
            self.assertEqual(self.successResultOf(asked).advice, told)

    def test_successEndsACooldown(self) -> None:
        asked = self.begin("a")
        self.calling.newest.answer(503, body=ERROR)
        self.successResultOf(asked)
        self.assertEqual(len(self.calling.cooling()), 1)
        again = self.ask()
        self.calling.newest.answer(200, body=GOOD)
        self.successResultOf(again)
        self.assertEqual(self.calling.cooling(), [])


class Leaving(ExecutorCase):
    """A client that hangs up."""

    def check(self, asked: Deferred[Answer]) -> None:
        """Cancel: everything is let go, and nobody is blamed."""
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.calling.clock.advance(1000)
        self.assertEqual((self.calling.cooling(), self.calling.clock.getDelayedCalls()), ([], []))
        self.assertEqual([event for event in self.events if event["log_level"] >= LogLevel.warn], [])

    def test_beforeTheHead(self) -> None:
        asked = self.begin("a", "b")
        self.check(asked)
        self.assertIn("abort", self.calling.newest.events)
        self.assertEqual(len(self.calling.sent), 1)

    def test_beforeTheFirstEvent(self) -> None:
        asked = self.begin("a", "b")
        self.calling.newest.answer(200, EVENTS)
        self.check(asked)
        self.assertIn("abort", self.calling.newest.events)

    def test_insideAnErrorBody(self) -> None:
        asked = self.begin("a", "b")
        self.calling.newest.answer(503)
        self.check(asked)
        self.assertIn("abort", self.calling.newest.events)

    def test_duringAProbeFreesTheWayForTheNext(self) -> None:
        asked = self.begin("a")
        self.calling.newest.answer(503, body=ERROR)
        self.successResultOf(asked)
        self.calling.clock.advance(31)
        probe = self.ask()
        self.assertTrue(self.calling.credentials.listing()[0].probing)
        probe.cancel()
        self.failureResultOf(probe, CancelledError)
        self.assertFalse(self.calling.credentials.listing()[0].probing)

    def test_whileALongBodyIsTranslated(self) -> None:
        never: Deferred[Any] = Deferred()
        calling = Calling({"providers": providers("a", kind="anthropic")})
        self.calling = calling
        calling.executor.in_thread = lambda *arguments: never
        asked = self.ask(body={"messages": [{"role": "user", "content": "x" * 300_000}]})
        self.check(asked)
        self.assertEqual(calling.sent, [])


class Refusing(ExecutorCase):
    """Requests that a provider's format has no words for."""

    def test_theOneThatUnderstandsIsAsked(self) -> None:
        other = providers("a", keys=3, kind="gemini")[0]
        self.calling = Calling({"providers": [other, *providers("b", priority=1)], "translate": {"strict": True}})
        asked = self.ask(body={"messages": [{"role": "user", "content": "a"}], "logit_bias": {"1": 1}})
        self.calling.newest.answer(200, body=GOOD)
        answer = self.successResultOf(asked)
        self.assertEqual((answer.story, answer.provider.config.name), ("tried a (cannot express it)", "b"))

    def test_theOneThatUnderstandsIsAskedAlsoWhileItCoolsDown(self) -> None:
        other = providers("a", keys=3, kind="gemini", priority=-1)[0]
        self.calling = Calling({"providers": [other, *providers("b")], "translate": {"strict": True}})
        held = self.calling.credentials._by_provider["b"][0]
        self.calling.credentials.failed(held, MODEL, 429, [])
        asked = self.ask(body={"messages": [{"role": "user", "content": "a"}], "logit_bias": {"1": 1}})
        self.calling.newest.answer(200, body=GOOD)
        self.assertEqual(self.successResultOf(asked).provider.config.name, "b")

    def test_whenNobodyUnderstandsTheRefusalIsTold(self) -> None:
        self.calling = Calling({"providers": providers("a", kind="gemini"), "translate": {"strict": True}})
        asked = self.ask(body={"messages": [{"role": "user", "content": "a"}], "logit_bias": {"1": 1}})
        self.failureResultOf(asked, RequestRefused)
        self.assertEqual((self.calling.sent, self.calling.cooling()), ([], []))


class Native(ExecutorCase):
    """Requests in the provider's own format, and what another vendor left in them."""

    SIGNED = {
        "role": "assistant",
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "n", "arguments": "{}"},
                "extra_content": {"google": {"thought_signature": "Z2VtaW5p"}},
            }
        ],
    }

    def test_signaturesReachOnlyGeminisOwnChatServers(self) -> None:
        body = {"messages": [self.SIGNED]}
        for more, stays in (
            ({}, False),
            ({"base-url": "https://generativelanguage.googleapis.com/v1beta/openai"}, True),
            ({"models": [{"name": "google/gemini-2.5-pro", "alias": MODEL}]}, True),
            ({"capabilities": {"signature-required": True}}, True),
        ):
            self.calling = Calling({"providers": providers("a", **more)})
            self.ask(body=body)
            sent = self.calling.newest.request
            assert sent is not None and isinstance(sent.body, bytes)
            self.assertEqual(b"Z2VtaW5p" in sent.body, stays, more)

    def budgeted(self) -> Deferred[Answer]:
        """Ask Anthropic to think over the results of a call that another vendor made."""
        call = {"type": "tool_use", "id": "call_1", "name": "n", "input": {}}
        result = {"type": "tool_result", "tool_use_id": "call_1", "content": "r"}
        messages = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        body = {"messages": messages, "thinking": {"type": "enabled", "budget_tokens": 2000}}
        return self.ask(body=body, protocol="anthropic")

    def test_aBudgetThatGoesIsWarnedOfOrRefused(self) -> None:
        self.calling = Calling({"providers": providers("a", kind="anthropic")})
        asked = self.budgeted()
        self.calling.newest.answer(200, body=GOOD)
        self.assertEqual(self.successResultOf(asked).warnings, ("dropped:reasoning_effort",))
        self.assertEqual(self.codes(), ["dropped:reasoning_effort"])
        self.calling = Calling({"providers": providers("a", kind="anthropic"), "translate": {"strict": True}})
        self.failureResultOf(self.budgeted(), RequestRefused)
        self.assertEqual(self.calling.sent, [])


class Translating(ExecutorCase):
    """Requests for a provider of another format."""

    def test_whatARequestLosesIsLogged(self) -> None:
        self.calling = Calling({"providers": providers("a", kind="anthropic")})
        self.ask(body={"messages": [{"role": "user", "content": "a"}], "seed": 1, "logit_bias": {"1": 2}})
        self.assertEqual(self.codes(), ["dropped:seed, dropped:logit_bias"])

    def test_whatChatClientsGetBeyondOpenAIsMembersIsAChoice(self) -> None:
        for wanted in (True, False):
            translate = {"reasoning-content": wanted, "extra-content": wanted}
            self.calling = Calling({"providers": providers("a", kind="gemini"), "translate": translate})
            asked = self.ask()
            self.calling.newest.answer(200, body=GOOD)
            translation = self.successResultOf(asked).translation
            assert translation is not None
            self.assertEqual((translation.ctx.reasoning_content, translation.ctx.extra_content), (wanted, wanted))


class Secrets(ExecutorCase):
    """What the log holds."""

    def test_noKeyAndNoPromptIsInAnyEvent(self) -> None:
        asked = self.begin("a", "b", "c", keys=2)
        for status in (401, 429, 500, 503):
            self.calling.newest.answer(status, body=b'{"error":"pk-a-1 said hi"}')
        self.calling.newest.fail("closed")
        self.calling.newest.answer(200, body=GOOD)
        self.successResultOf(asked)
        text = repr([{k: str(v) for k, v in event.items()} for event in self.events])
        for secret in ("pk-", "ck-1", '"hi"', "said hi"):
            self.assertNotIn(secret, text)
        self.assertGreaterEqual(len(self.outcomes()), 6)

    def test_whatNobodyReadsIsNotEmitted(self) -> None:
        self.calling = Calling({"providers": providers("a")})
        self.calling.executor.records.least = LogLevel.info
        asked = self.ask()
        self.calling.newest.answer(200, body=GOOD)
        self.successResultOf(asked)
        self.assertEqual(self.outcomes(), [])
