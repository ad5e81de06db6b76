"""Credentials in turn, cooldowns by provider, key and model, and the delays that services ask for."""

from __future__ import annotations

from email.utils import formatdate

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.config.model import ProviderConfig
from llmux.config.secret import Secret
from llmux.headers import RawHeaders
from llmux.peers import credentials as module
from llmux.peers.blame import blame
from llmux.peers.credentials import Credential, Credentials
from llmux.peers.delays import seconds_until, wait_of
from llmux.peers.turns import Turns

NOW = 1_790_000_000.0
RETRY_INFO = (
    b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.Help"},'
    b'{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"16.2s"}]}}'
)


def provider(name: str, *keys: str) -> ProviderConfig:
    """A provider with keys."""
    return ProviderConfig(name, "openai", "https://p.example", tuple(Secret(key) for key in keys))


class Delays(SynchronousTestCase):
    """Every form in which services say how long to wait."""

    def test_oneDelayCanBeWrittenInManyWays(self) -> None:
        for text, wanted in (
            ("17", 17.0),
            ("0.5", 0.5),
            ("1s", 1.0),
            ("6m0s", 360.0),
            ("2m59.56s", 179.56),
            ("20ms", 0.02),
            ("1h2m", 3720.0),
            (str(int(NOW) + 9), 9.0),
            (str(int(NOW * 1000) + 9000), 9.0),
            ("2026-09-21T14:14:20Z", 60.0),
            (formatdate(NOW + 30, usegmt=True), 30.0),
        ):
            self.assertAlmostEqual(seconds_until(text, NOW) or -1, wanted, places=2, msg=text)

    def test_whatIsUnreadableOrPastIsNoDelay(self) -> None:
        for text in ("", "soon", "-3", "0", "nan", "inf", "1x", "2020-01-01T00:00:00Z", "9" * 100, "Mon, 99 Foo"):
            self.assertIsNone(seconds_until(text, NOW), text)

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=40))
    def test_anyTextIsReadWithoutAnError(self, text: str) -> None:
        delay = seconds_until(text, NOW)
        self.assertTrue(delay is None or delay > 0)

    def wait(self, *headers: tuple[str, str], body: bytes = b"", rate_limited: bool = True) -> float | None:
        raw: RawHeaders = [(name.encode(), value.encode()) for name, value in headers]
        return wait_of(raw, body, NOW, rate_limited=rate_limited)

    def test_theMoreExactHeaderIsPreferred(self) -> None:
        self.assertEqual(self.wait(("Retry-After", "2"), ("retry-after-ms", "1500")), 1.5)
        self.assertEqual(self.wait(("Retry-After", "2"), ("x-ratelimit-reset-tokens", "9s")), 2.0)
        self.assertEqual(self.wait(("retry-after-ms", "x"), ("Retry-After", "2")), 2.0)

    def test_theLatestResetOfAUsedUpLimitCounts(self) -> None:
        headers = (
            ("anthropic-ratelimit-requests-remaining", "5"),
            ("anthropic-ratelimit-requests-reset", "2026-09-21T14:13:25Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "0"),
            ("anthropic-ratelimit-input-tokens-reset", "2026-09-21T14:14:20Z"),
        )
        self.assertEqual(self.wait(*headers), 60.0)

    def test_withoutAUsedUpLimitTheEarliestResetCounts(self) -> None:
        headers = (("x-ratelimit-reset-requests", "8ms"), ("x-ratelimit-reset-tokens", "6m0s"))
        self.assertEqual(self.wait(*headers), 0.008)

    def test_resetsMeanNothingWithoutARateLimit(self) -> None:
        self.assertIsNone(self.wait(("x-ratelimit-reset-requests", "60s"), rate_limited=False))

    def test_googleSaysItInTheBody(self) -> None:
        self.assertEqual(self.wait(body=RETRY_INFO), 16.2)
        self.assertEqual(self.wait(body=b"[" + RETRY_INFO + b"]"), 16.2)
        for body in (b'{"retryDelay"', b'["retryDelay"]', b'{"error":{"details":[{"retryDelay":null}]}}', b"\xff"):
            self.assertIsNone(self.wait(body=body))


class Judgement(SynchronousTestCase):
    """Whose fault a failure is."""

    def test_theStatusTellsTheReason(self) -> None:
        for status, reason in (
            (401, "unauthorized"),
            (402, "quota"),
            (403, "forbidden"),
            (408, "timeout"),
            (429, "rate-limit"),
            (500, "server-error"),
            (502, "server-error"),
            (503, "overloaded"),
            (504, "timeout"),
            (529, "overloaded"),
        ):
            found = blame(status, [], b"", NOW)
            self.assertEqual(found and found.reason, reason, status)

    def test_theRequestsOwnFaultsBlameNobody(self) -> None:
        for status in (200, 304, 400, 404, 405, 409, 413, 415, 422, 425):
            self.assertIsNone(blame(status, [], b'{"error":{"message":"no"}}', NOW), status)

    def test_badKeysAndEmptyAccountsHideBehindOtherStatuses(self) -> None:
        for status, body, reason in (
            (400, b'{"error":{"details":[{"reason":"API_KEY_INVALID"}]}}', "unauthorized"),
            (400, b"Your credit balance is too low to access the API", "quota"),
            (429, b'{"error":{"code":"insufficient_quota"}}', "quota"),
        ):
            found = blame(status, [], body, NOW)
            assert found is not None
            self.assertEqual((found.reason, found.whole, found.lasting), (reason, True, True))

    def test_alsoForThemTheProvidersWishCounts(self) -> None:
        wish: RawHeaders = [(b"Retry-After", b"7"), (b"x-ratelimit-reset-requests", b"1s")]
        for status, body in ((401, b""), (402, b""), (403, b""), (429, b'{"error":{"code":"insufficient_quota"}}')):
            found, silent = blame(status, wish, body, NOW), blame(status, wish[1:], body, NOW)
            self.assertEqual((found and found.wait, silent and silent.wait), (7.0, None), status)

    def test_aTextThatIsNotPermittedIsTheRequestsOwnFault(self) -> None:
        text = b'{"error":{"code":403,"message":"Input was flagged","metadata":{"flagged_input":"x","reasons":["y"]}}}'
        self.assertIsNone(blame(403, [], text, NOW))

    def test_aForbiddenModelIsNotAForbiddenKey(self) -> None:
        model, key = blame(403, [], b"no access to Model x", NOW), blame(403, [], b"no", NOW)
        self.assertEqual((model and model.whole, key and key.whole), (False, True))


class Rotation(SynchronousTestCase):
    """The three strategies."""

    def test_roundRobinTakesTheOneThatWaitedLongest(self) -> None:
        turns = Turns()
        self.assertEqual("".join(turns.pick("g", "abc") for _ in range(6)), "abcabc")
        self.assertEqual("".join(turns.pick("g", "ac") for _ in range(3)), "aca")
        self.assertEqual(turns.pick("g", "abc"), "b")

    def test_fillFirstStaysWithTheFirst(self) -> None:
        turns = Turns("fill-first")
        self.assertEqual("".join(turns.pick("g", "abc") for _ in range(3)), "aaa")

    def test_weightsAreSpreadEvenly(self) -> None:
        turns = Turns("weighted")
        self.assertEqual("".join(turns.pick("g", "ab", (3, 1)) for _ in range(8)), "aabaaaba")

    def test_anUnknownStrategyIsRefused(self) -> None:
        self.assertRaises(ValueError, Turns, "random")


class Cooldowns(SynchronousTestCase):
    """Who is left alone, and for how long."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.credentials = Credentials(self.clock.seconds)
        self.configure()

    def configure(self, maximum: float = 3600.0, strategy: str = "round-robin") -> None:
        providers = [provider("p", "key-number-1", "key-number-2"), provider("q")]
        self.credentials.configure(providers, strategy, maximum)

    def take(self, model: str = "m", *tried: Credential, last_resort: bool = False, name: str = "p") -> Credential:
        found = self.credentials.take(name, model, tried, last_resort=last_resort)
        assert found is not None
        return found

    def report(
        self, credential: Credential, status: int = 429, *headers: tuple[bytes, bytes], model: str = "m"
    ) -> None:
        self.credentials.failed(credential, model, status, list(headers))

    def remaining(self) -> list[float]:
        return [row.remaining for row in self.credentials.listing()]

    def test_keysAreUsedInTurn(self) -> None:
        self.assertEqual([self.take().number for _ in range(4)], [0, 1, 0, 1])
        self.assertIsNone(self.take(name="q").key)
        self.assertIsNone(self.credentials.take("unknown", "m"))

    def test_triedOnesAreLeftOut(self) -> None:
        first = self.take()
        second = self.take("m", first)
        self.assertNotEqual(first, second)
        self.assertIsNone(self.credentials.take("p", "m", (first, second), last_resort=True))

    def test_aRateLimitConcernsOneKeyAndOneModel(self) -> None:
        first = self.take()
        self.report(first)
        self.assertEqual({self.take().number for _ in range(3)}, {1})
        self.assertEqual({self.take("other").number for _ in range(2)}, {0, 1})
        self.assertFalse(self.credentials.cooling("p", "m"))
        self.report(self.take())
        self.assertTrue(self.credentials.cooling("p", "m"))
        self.assertFalse(self.credentials.cooling("p", "other"))

    def test_waitsDoubleToAQuarterOfAnHour(self) -> None:
        only, waits = self.take(name="q"), []
        for _ in range(7):
            self.report(only)
            waits.append(self.remaining()[0])
            self.clock.advance(waits[-1])
        self.assertEqual(waits, [30, 60, 120, 240, 480, 900, 900])

    def test_failuresOfOneMomentAreOne(self) -> None:
        only = self.take(name="q")
        for _ in range(10):
            self.report(only)
        self.assertEqual(self.remaining(), [30])

    def test_theProvidersWishIsFollowedUpToTheMaximum(self) -> None:
        only = self.take(name="q")
        self.report(only, 429, (b"Retry-After", b"100"))
        self.assertEqual(self.remaining(), [100])
        self.report(only, 429, (b"Retry-After", b"99999"))
        self.assertEqual(self.remaining(), [3600])
        self.report(only, 429, (b"Retry-After", b"1"))
        self.assertEqual(self.remaining(), [3600])

    def test_zeroSwitchesCooldownsOff(self) -> None:
        self.report(self.take(name="q"))
        self.configure(maximum=0)
        self.assertEqual(self.credentials.listing(), [])
        self.report(self.take(name="q"), 401)
        self.credentials.unreachable("q")
        self.assertFalse(self.credentials.cooling("q", "m"))

    def test_aRefusedKeyIsPutAsideForAllModels(self) -> None:
        self.report(self.take(name="q"), 401)
        self.assertTrue(self.credentials.cooling("q", "another"))
        (row,) = self.credentials.listing()
        self.assertEqual((row.reason, row.status, row.model, row.remaining), ("unauthorized", 401, None, 900.0))

    def test_anUnreachableProviderIsLeftAloneWithAllItsKeys(self) -> None:
        self.credentials.unreachable("p")
        self.assertTrue(self.credentials.cooling("p", "any"))
        self.assertEqual({row.reason for row in self.credentials.listing()}, {"unreachable"})

    def test_afterTheWaitOneRequestProbesAndSuccessEndsIt(self) -> None:
        self.report(self.take(name="q"))
        self.clock.advance(29)
        self.assertTrue(self.credentials.cooling("q", "m"))
        self.clock.advance(1)
        self.assertFalse(self.credentials.cooling("q", "m"))
        probe = self.take(name="q")
        self.assertIsNone(self.credentials.take("q", "m"))
        self.assertTrue(self.credentials.cooling("q", "m"))
        self.credentials.succeeded(probe, "m")
        self.assertEqual(self.credentials.listing(), [])
        self.assertFalse(self.credentials.cooling("q", "m"))

    def test_aProbeThatTheClientAbandonsFreesTheWay(self) -> None:
        self.report(self.take(name="q"))
        self.clock.advance(30)
        self.credentials.abandoned(self.take(name="q"), "m")
        self.assertIsNotNone(self.credentials.take("q", "m"))

    def test_aProbeThatIsNeverHeardOfDoesNotBlockForEver(self) -> None:
        self.report(self.take(name="q"))
        self.clock.advance(30)
        self.take(name="q")
        self.clock.advance(60)
        self.assertIsNotNone(self.credentials.take("q", "m"))

    def test_aRequestsOwnFaultFreesTheProbeAndCoolsNothing(self) -> None:
        self.report(self.take(name="q"))
        self.clock.advance(30)
        self.report(self.take(name="q"), 400)
        self.assertFalse(self.credentials.cooling("q", "m"))
        self.report(self.take("z", name="q"), 404, model="z")
        self.assertEqual(len(self.credentials.listing()), 1)

    def test_aFailedLastResortDoesNotProlongTheWaitAsAProbeWould(self) -> None:
        self.report(self.take(name="q"), 429, (b"Retry-After", b"50"))
        self.clock.advance(45)
        self.report(self.take(name="q", last_resort=True), 429, (b"Retry-After", b"1"))
        self.clock.advance(5)
        self.assertFalse(self.credentials.cooling("q", "m"))

    def test_aProbeForOneModelThatFailsIsOverForTheOthers(self) -> None:
        self.report(self.take(name="q"), 401)
        self.clock.advance(900)
        self.report(self.take(name="q"), 429)
        self.assertEqual((self.credentials.cooling("q", "m"), self.credentials.cooling("q", "other")), (True, False))
        self.report(self.take("other", name="q"), 503, model="other")
        self.credentials.unreachable("q")
        self.assertEqual([row.probing for row in self.credentials.listing()], [False] * 3)

    def test_aSuccessThatWasOnItsWayDoesNotEndALaterCooldown(self) -> None:
        early = self.take(name="q")
        self.report(early)
        self.credentials.succeeded(early, "m")
        self.assertTrue(self.credentials.cooling("q", "m"))

    def test_theOneReadySoonestIsTheLastResort(self) -> None:
        first, second = self.take(), self.take()
        self.report(first, 429, (b"Retry-After", b"50"))
        self.report(second, 429, (b"Retry-After", b"20"))
        self.assertIsNone(self.credentials.take("p", "m"))
        self.assertEqual(self.take(last_resort=True), second)
        self.assertEqual(self.credentials.ready_in("p", "m"), 20)
        self.credentials.succeeded(second, "m")
        self.assertEqual((self.credentials.ready_in("p", "m"), self.remaining()), (0, [50]))

    def test_aReloadKeepsWhatHasTheSameNameAndKey(self) -> None:
        self.report(self.take(), 401)
        self.report(self.take(name="q"))
        self.credentials.configure([provider("p", "key-number-2", "key-number-1")])
        self.assertEqual([(row.provider, row.reason) for row in self.credentials.listing()], [("p", "unauthorized")])
        self.assertEqual({self.take().number for _ in range(3)}, {0})
        self.credentials.configure([provider("p", "key-number-3")])
        self.assertEqual(self.credentials.listing(), [])

    def test_aKeyThatIsNoLongerConfiguredIsNotRemembered(self) -> None:
        gone = self.take()
        self.credentials.configure([provider("p", "key-number-3")])
        self.report(gone)
        self.assertEqual(self.credentials.listing(), [])

    def test_theListShowsNoKey(self) -> None:
        self.report(self.take())
        self.clock.advance(10)
        (row,) = self.credentials.listing()
        self.assertEqual((row.age, row.remaining, row.failures, row.probing), (10.0, 20.0, 1, False))
        self.assertNotIn("key-number-1", repr(row) + repr(self.take()))

    def test_cooldownsCanBeCleared(self) -> None:
        self.report(self.take("a", name="q"), model="a")
        self.report(self.take("b", name="q"), model="b")
        self.assertEqual(self.credentials.clear("q", "a"), 1)
        self.assertEqual([row.model for row in self.credentials.listing()], ["b"])
        self.assertEqual((self.credentials.clear("q"), self.credentials.listing()), (1, []))

    def test_theNumberOfCooldownsIsBounded(self) -> None:
        self.patch(module, "MOST_COOLDOWNS", 50)
        only = self.take(name="q")
        for number in range(200):
            self.report(only, model=f"m{number}")
        self.assertEqual(len(self.credentials.listing()), 50)
        self.assertTrue(self.credentials.cooling("q", "m199"))

    def test_aClockSetBackDoesNotProlongACooldown(self) -> None:
        self.report(self.take(name="q"))
        self.clock.rightNow -= 5000
        self.assertLessEqual(self.remaining()[0], 30)
