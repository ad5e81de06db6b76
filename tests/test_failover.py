"""Every failure of a provider at every place among the candidates, against the table in docs/failover.md.

The daemon is assembled in this process; providers are scripted servers on real sockets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from llmux.config import load_bytes
from tests.conversation import Answer
from tests.faults import GARBAGE, cut_later
from tests.harness import CLIENT_KEY, Harness, configuration
from tests.native_answers import chat, chat_events
from tests.native_answers import script as well
from tests.scripted import Seen

reactor: Any = installed
DOCS = Path(__file__).parent.parent / "docs" / "failover.md"
MODEL = "m-1"
NAMES = ("first", "second", "third")
UPSTREAM = "upstream"
EVENTS = [*chat_events(MODEL)]
PATIENT = {"connect": 20, "tls": 20, "first-byte": 20, "idle": 20}
# Given to the provider that is to fail only: a busy machine must not make the others fail as well.
QUICK = {"connect": 0.2, "tls": 0.2, "idle": 0.3}
ERROR = b'{"error":{"message":"scripted","type":"scripted_error","param":null,"code":null}}'
OVERLOADED = b'{"error":{"message":"overloaded","code":529}}'
INVALID = b'{"error":{"message":"too long","type":"invalid_request_error","code":"context_length_exceeded"}}'
NO_MONEY = b'{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}'
BAD_KEY = b'{"error":{"code":400,"status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}'


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    failure: str
    another: str
    streaming: str
    whole: str
    cooled: str

    @property
    def title(self) -> str:
        """The failure as a part of a method's name."""
        return re.sub(r"\W+(\w)", lambda found: found[1].upper(), re.sub("['\"]", "", self.failure))


def table() -> list[Row]:
    """The table as it stands in the docs."""
    text = DOCS.read_text(encoding="utf-8").partition("<!-- table -->")[2]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    end = text.splitlines().index("", text.splitlines().index(lines[0]))
    lines = [line for line in text.splitlines()[:end] if line.startswith("|")]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines[2:]]


def error(seen: Seen, status: int, body: bytes = ERROR, headers: list[tuple[str, str]] | None = None) -> None:
    """Answer with an error."""
    seen.reply(status, body, headers=headers)


def begun(seen: Seen, body: bytes = b"") -> None:
    """The head of an answer, and the beginning of its body."""
    if seen.json().get("stream"):
        seen.begin_stream()
        if body:
            seen.chunk(EVENTS[0])
    else:
        seen.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
        if body:
            seen.write(body)


def then(*parts: Callable[[Seen], None]) -> Callable[[Seen], None]:
    """One after the other."""

    def script(seen: Seen) -> None:
        for part in parts:
            part(seen)

    return script


def some(seen: Seen) -> None:
    """The beginning of a good answer."""
    begun(seen, chat(MODEL)[:100])


def silent(seen: Seen) -> None:
    """Say nothing."""


def disguised(error: bytes) -> Callable[[Seen], None]:
    """An error event where the first event should be, or an error body to who wants no stream."""
    event = b"data: " + error + b"\n\n"
    return lambda seen: seen.stream([event]) if seen.json().get("stream") else seen.reply(200, error)


def busy(seen: Seen) -> None:
    """Answer 503."""
    error(seen, 503)


def saying(status: int, headers: list[tuple[str, str]]) -> Callable[[Seen], None]:
    """An error with headers."""
    return lambda seen: error(seen, status, headers=headers)


def one_after_the_other(*scripts: Callable[[Seen], None]) -> Callable[[Seen], None]:
    """Each request meets the next script."""
    left = [*scripts]
    return lambda seen: left.pop(0)(seen)


def failure_of(row: Row) -> Callable[[Seen], None]:
    """The script of a provider that fails as a row says."""
    answered = re.fullmatch(r"answers (\d+)", row.failure)
    if answered is None or row.failure in SCRIPTS:
        return SCRIPTS.get(row.failure, silent)
    status = int(answered[1])
    return lambda seen: error(seen, status)


SCRIPTS: dict[str, Callable[[Seen], None]] = {
    "answers 200": well,
    "resets before the head": Seen.cut,
    "resets in the head": then(lambda seen: seen.write(b"HTTP/1.1 200 OK\r\nContent-"), cut_later),
    "resets after the head": then(begun, cut_later),
    "resets after one event": then(some, cut_later),
    "answers with what is not HTTP": lambda seen: seen.write(GARBAGE),
    "is silent until the client's patience is over": silent,
    "is silent for its own first-byte timeout": silent,
    "is silent after the head": begun,
    "is silent after one event": some,
    'sends an error event first: "overloaded"': disguised(OVERLOADED),
    'sends an error event first: "invalid request"': disguised(INVALID),
    "sends an error body with a 200": lambda seen: seen.reply(200, ERROR),
    "says with a 400 that the account is empty": lambda seen: error(seen, 400, NO_MONEY),
    "says with a 400 that the key is invalid": lambda seen: error(seen, 400, BAD_KEY),
}
URLS = {
    "has a name that leads nowhere": "http://nowhere.invalid",
    "refuses the connection": "http://refusing",
    "has a certificate that nobody trusts": "https://impostor",
    "does not take the connection in time": "http://hole",
    "does not finish the TLS handshake in time": "https://plain",
}
OVERLOADED_ROW = 'sends an error event first: "overloaded"'
NO_ANSWER = re.compile(r"names? that|refuses|certificate|does not|resets|not HTTP|silent")


class FailoverCase(TestCase):
    """Three providers that serve one model, each with a key of its own, and an upstream that must not be asked."""

    timeout = 60

    def setUp(self) -> None:
        self.harness = Harness(self)
        for name in (*NAMES, UPSTREAM, "plain"):
            self.harness.server(name, well)
        self.harness.network.refuse("refusing")
        self.harness.network.name("hole", None)

    def providers(self, *urls: str, keys: int = 1, **more: Any) -> list[dict[str, Any]]:
        """A configuration's providers in order, the first ones at these URLs."""
        return [
            {
                "name": name,
                "kind": "openai",
                "base-url": url,
                "api-keys": [f"pk-{name}-{number:04}" for number in range(keys)],
                "models": [MODEL],
                **more,
            }
            for name, url in zip(NAMES, urls, strict=False)
        ]

    def begin(self, providers: list[dict[str, Any]], **more: Any) -> None:
        """Start the daemon, or give the running one another configuration."""
        given = {
            "providers": providers,
            "upstream-url": f"http://{UPSTREAM}",
            "timeouts": PATIENT,
            "streaming": {"hold": 100},
            **more,
        }
        if self.harness.service is None:
            self.harness.start(given)
        else:
            content = yaml.safe_dump(configuration(given)).encode()
            self.harness.daemon._apply(load_bytes(content, str(self.harness.path), {}))
        self.clear()

    def clear(self) -> None:
        """Forget everything that happened."""
        for name in NAMES:
            self.harness.daemon._lasting.credentials.clear(name)
        for server in self.harness.servers.values():
            server.requests.clear()
        self.harness.events.clear()

    async def ask(self, stream: bool = False, model: str = MODEL, route: str = "/v1/chat/completions") -> Answer:
        """One request of a client."""
        asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 9}
        body = json.dumps({**asked, "stream": stream}).encode()
        return await self.harness.ask("POST", route, [("x-api-key", CLIENT_KEY)], body)

    def asked(self, name: str) -> int:
        """How many requests came to a server."""
        return len(self.harness.servers[name].requests)

    def tries(self) -> list[dict[str, Any]]:
        """The log's records of requests to providers."""
        return [event for event in self.harness.events if event.get("component") == "llmux-try"]

    def cooled(self) -> list[tuple[str, str]]:
        """Who is left alone: (provider, what of it)."""
        rows = self.harness.daemon._lasting.credentials.listing()
        return [(row.provider, "model" if row.model else "provider" if row.status == 0 else "key") for row in rows]

    def check(self) -> None:
        """What holds whatever happened: no key at another provider, nothing on credits, every request in the log."""
        for name, server in self.harness.servers.items():
            for seen in server.requests:
                keys = {value for _, value in seen.headers if "pk-" in value or CLIENT_KEY in value}
                self.assertEqual({key.rpartition("-")[0] for key in keys}, {f"Bearer pk-{name}"})
        self.assertEqual(self.asked(UPSTREAM), 0)
        sent = [record["provider"] for record in self.tries() if record["sent"]]
        for name in NAMES:
            self.assertEqual(self.asked(name), sent.count(name), name)


class Table(FailoverCase):
    """The rows; the methods are made below."""

    def url(self, row: Row, name: str) -> str:
        """Where the failing provider is."""
        if row.failure == "has a certificate that nobody trusts" and "impostor" not in self.harness.servers:
            self.harness.impostor("impostor")
        return URLS.get(row.failure, f"http://{name}")

    async def holds(self, row: Row) -> None:
        """One row at every place, streaming and not."""
        for place, count in ((0, 1), (0, 3), (1, 3), (2, 3)):
            urls = [f"http://{name}" for name in NAMES[:count]]
            urls[place] = self.url(row, NAMES[place])
            providers = self.providers(*urls)
            own = {"first-byte": 0.3} if "its own" in row.failure else {}
            providers[place]["timeouts"] = {**QUICK, **own}
            patience = {"first-byte": 0.3} if "patience" in row.failure else {}
            self.begin(providers, timeouts={**PATIENT, **patience})
            for number, name in enumerate(NAMES):
                failing = failure_of(row)
                self.harness.servers[name].script = failing if number == place else busy if number < place else well
            for stream in (False, True):
                self.clear()
                with_another = place < count - 1
                wanted = row.another if with_another else row.streaming if stream else row.whole
                await self.one(row, place, count, stream, wanted)

    async def one(self, row: Row, place: int, count: int, stream: bool, wanted: str) -> None:
        """One request to `count` providers, of which the one at `place` fails as the row says."""
        what = f"{row.failure}, {place + 1} of {count}, stream: {stream}"
        answer = await self.ask(stream)
        after = NAMES[place + 1 :]
        if wanted == "next":
            self.assertEqual((answer.status, answer.complete, answer.header("x-llmux-provider")), (200, True, after[0]))
            self.assertIn(f"tried {NAMES[0]} (", str(answer.header("x-llmux-reason")), what)
            self.assertEqual([self.asked(name) for name in after], [1] + [0] * (len(after) - 1), what)
        else:
            status, _, cut = wanted.partition(" ")
            unanswered = NO_ANSWER.search(row.failure) and status != "200"
            spoken_for = place and (unanswered or status == "401")
            self.assertEqual(answer.status, 503 if spoken_for else int(status), what)
            self.assertEqual(answer.complete, not cut, what)
            self.assertEqual([self.asked(name) for name in after], [0] * len(after), what)
            said = answer.header("x-llmux-provider")
            self.assertEqual(said, NAMES[place - 1] if spoken_for else NAMES[place], what)
            if status == "504" and unanswered and not spoken_for:
                self.assertRegex(answer.body, rb"within 0\.[23] seconds \(timeouts\.(connect|tls|first-byte)\)", what)
            elif status == "502" and unanswered and not spoken_for:
                self.assertIn(b"could not be reached", answer.body, what)
        self.assertTrue(answer.header("x-llmux-reason"), what)
        self.assertLessEqual(max(self.asked(name) for name in NAMES), 1, what)
        left_alone = [] if row.cooled == "nothing" else [(NAMES[place], row.cooled)]
        self.assertEqual(sorted(self.cooled()), sorted([(name, "model") for name in NAMES[:place]] + left_alone), what)
        self.check()


def _row(row: Row) -> Callable[[Table], Any]:
    def test(self: Table) -> Any:
        return Deferred.fromCoroutine(self.holds(row))

    return test


for _each in table():
    setattr(Table, f"test_{_each.title}", _row(_each))


class TheTable(TestCase):
    """The table itself."""

    def test_namesEveryStatusAndFault(self) -> None:
        found = {row.failure for row in table()}
        statuses = (200, 400, 401, 403, 404, 408, 413, 422, 425, 429, 500, 502, 503, 504, 529)
        self.assertEqual({f"answers {status}" for status in statuses} - found, set())
        self.assertEqual((set(SCRIPTS) | set(URLS)) - found, set())
        self.assertGreaterEqual(len(found), 34)


class Keys(FailoverCase):
    """Several keys of one provider."""

    async def test_aRefusedKeyIsPutAsideAndTheNextIsTried(self) -> None:
        self.begin(self.providers("http://first", "http://second", keys=3))
        self.harness.servers["first"].script = lambda seen: (
            well(seen) if seen.header("authorization") == "Bearer pk-first-0002" else error(seen, 401)
        )
        answer = await self.ask()
        self.assertEqual((answer.status, answer.header("x-llmux-provider")), (200, "first"))
        self.assertEqual(answer.header("x-llmux-reason"), "provider first serves it; tried first (401), first (401)")
        self.assertEqual((self.asked("first"), self.asked("second")), (3, 0))
        self.assertEqual(self.cooled(), [("first", "key"), ("first", "key")])
        self.check()
        self.clear_log()
        self.assertEqual((await self.ask()).status, 200)
        self.assertEqual(self.asked("first"), 1)

    def clear_log(self) -> None:
        """Forget requests and events, not the cooldowns."""
        for server in self.harness.servers.values():
            server.requests.clear()
        self.harness.events.clear()

    async def test_everyKeyOfEveryProviderIsTriedOnce(self) -> None:
        self.begin(self.providers("http://first", "http://second", "http://third", keys=2))
        for name in NAMES:
            self.harness.servers[name].script = lambda seen: error(seen, 429)
        answer = await self.ask()
        self.assertEqual((answer.status, answer.body), (429, ERROR))
        self.assertEqual([self.asked(name) for name in NAMES], [2, 2, 2])
        keys = [seen.header("authorization") for name in NAMES for seen in self.harness.servers[name].requests]
        self.assertEqual(len(set(keys)), 6)
        self.check()
        # Everybody cools down now: the one that is ready soonest is tried rather than to fail, and only that one.
        self.clear_log()
        self.assertEqual((await self.ask()).status, 429)
        self.assertEqual(sum(self.asked(name) for name in NAMES), 1)
        self.check()

    async def test_aProviderThatCannotBeReachedIsNotTriedWithItsOtherKeys(self) -> None:
        self.begin(self.providers("http://refusing", "http://second", keys=3), cooldown={"max": 0})
        attempts = self.harness.network.attempts
        attempts.clear()
        answer = await self.ask()
        self.assertEqual((answer.status, answer.header("x-llmux-provider")), (200, "second"))
        self.assertEqual(len(attempts), 2)

    async def test_theProvidersWishIsFollowedCappedAndToldToTheClient(self) -> None:
        for maximum, headers, seconds, told in (
            (3600, [("Retry-After", "7")], 7, ["7"]),
            (3600, [("retry-after-ms", "2500")], 2.5, ["3"]),
            (3600, [("x-ratelimit-reset-requests", "6m0s")], 360, ["360"]),
            (60, [("Retry-After", "7200")], 60, ["7200"]),
            (3600, [], 30, []),
        ):
            self.begin(self.providers("http://first"), cooldown={"max": maximum})
            self.harness.servers["first"].script = saying(429, headers)
            answer = await self.ask()
            self.assertEqual((answer.status, answer.all("retry-after")), (429, told))
            (row,) = self.harness.daemon._lasting.credentials.listing()
            self.assertApproximates(row.remaining, seconds, 1.0)

    async def test_googlesRetryInfoIsInTheBody(self) -> None:
        self.begin([{**self.providers("http://first")[0], "kind": "gemini"}])
        details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "16.2s"}]
        body = json.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}).encode()
        self.harness.servers["first"].script = lambda seen: error(seen, 429, body)
        answer = await self.ask()
        self.assertEqual((answer.status, answer.all("retry-after")), (429, ["17"]))
        (row,) = self.harness.daemon._lasting.credentials.listing()
        self.assertApproximates(row.remaining, 16.2, 1.0)


class Rounds(FailoverCase):
    """`request-retry`: the whole list once more."""

    async def test_anotherRoundMendsWhatPasses(self) -> None:
        self.begin(self.providers("http://first"), **{"request-retry": 2, "max-retry-interval": 0})
        self.harness.servers["first"].script = one_after_the_other(busy, Seen.cut, well)
        answer = await self.ask()
        self.assertEqual((answer.status, self.asked("first")), (200, 3))
        self.assertIn("tried first (503), first (closed)", str(answer.header("x-llmux-reason")))
        self.check()

    async def test_whatIsTheRequestsFaultIsNotAskedAgain(self) -> None:
        self.begin(self.providers("http://first", "http://second"), **{"request-retry": 3, "max-retry-interval": 0})
        self.harness.servers["first"].script = lambda seen: error(seen, 422)
        self.assertEqual(((await self.ask()).status, self.asked("first"), self.asked("second")), (422, 1, 0))

    async def test_roundsEndWithTheClientsPatience(self) -> None:
        self.begin(self.providers("http://first"), **{"request-retry": 9, "timeouts": {**PATIENT, "first-byte": 0.5}})
        self.harness.servers["first"].script = lambda seen: error(seen, 503, headers=[("Retry-After", "20")])
        answer = await self.ask()
        self.assertEqual((answer.status, self.asked("first"), answer.header("retry-after")), (503, 1, "20"))

    async def test_aRoundMayWaitForAKeyToBeReady(self) -> None:
        self.begin(self.providers("http://first"), **{"request-retry": 1, "max-retry-interval": 1})
        self.harness.servers["first"].script = one_after_the_other(saying(429, [("retry-after-ms", "100")]), well)
        self.assertEqual(((await self.ask()).status, self.cooled()), (200, []))


class Leaving(FailoverCase):
    """A client that hangs up."""

    async def test_cutsTheRequestBlamesNobodyAndAsksNobodyElse(self) -> None:
        first = self.harness.servers["first"]
        for number, (script, stream) in enumerate(
            ((silent, False), (silent, True), (begun, True), (begun, False), (some, True), (some, False))
        ):
            self.begin(self.providers("http://first", "http://second"), streaming={"hold": 1000})
            first.script = script
            client = self.harness.client()
            body = json.dumps({"model": MODEL, "messages": [], "stream": stream}).encode()
            client.ask("POST", "/v1/chat/completions", [("x-api-key", CLIENT_KEY)], body)
            await self.harness.settled(lambda: bool(first.requests))
            client.leave()
            await self.harness.settled(lambda: not first.connections)
            self.assertEqual((self.cooled(), self.asked("second")), ([], 0), number)
            self.assertEqual(self.harness.problems(), [], number)

    async def test_inAPauseBetweenRoundsLeavesNothingBehind(self) -> None:
        self.begin(self.providers("http://first"), **{"request-retry": 5})
        first = self.harness.servers["first"]
        first.script = then(lambda seen: seen.write(b"HTTP/1.1 503 No\r\nContent-Length: 99999\r\n\r\n{"))
        client = self.harness.client()
        client.ask("POST", "/v1/chat/completions", [("x-api-key", CLIENT_KEY)], json.dumps({"model": MODEL}).encode())
        await self.harness.settled(lambda: bool(first.requests))
        client.leave()
        await self.harness.settled(lambda: not first.connections)
        self.assertEqual((self.cooled(), self.harness.problems()), ([], []))


class Translating(FailoverCase):
    """A provider that speaks another format than the client."""

    async def test_isJudgedAlikeWhileAnotherIsLeft(self) -> None:
        for failure in ("answers 503", "resets after the head", OVERLOADED_ROW, "refuses the connection"):
            url = URLS.get(failure, "http://first")
            self.begin(self.providers(url, "http://second"))
            row = next(row for row in table() if row.failure == failure)
            self.harness.servers["first"].script = failure_of(row)
            for stream in (False, True):
                self.clear()
                answer = await self.ask(stream, route="/v1/messages")
                told = (answer.status, answer.complete, answer.header("x-llmux-provider"))
                self.assertEqual(told, (200, True, "second"), failure)
                self.assertEqual(answer.header("x-llmux-body"), "translated")
                self.assertEqual(b"message_stop" in answer.body, stream, failure)
                self.check()

    async def test_theLastOneGetsARealStatusUntilTheFirstEvent(self) -> None:
        for failure, stream, status, complete, kind in (
            ("answers 503", True, 529, True, "overloaded_error"),
            ("answers 429", False, 429, True, "rate_limit_error"),
            ("resets after the head", True, 502, True, "api_error"),
            ("resets after the head", False, 502, True, "api_error"),
            ("is silent after the head", True, 504, True, "timeout_error"),
            ("is silent after the head", False, 504, True, "timeout_error"),
            (OVERLOADED_ROW, True, 529, True, "overloaded_error"),
            ("refuses the connection", True, 502, True, "api_error"),
        ):
            clocks = {**PATIENT, "idle": 0.3} if "silent" in failure else PATIENT
            self.begin(self.providers(URLS.get(failure, "http://first")), timeouts=clocks)
            row = next(row for row in table() if row.failure == failure)
            self.harness.servers["first"].script = failure_of(row)
            answer = await self.ask(stream, route="/v1/messages")
            self.assertEqual((answer.status, answer.complete), (status, complete), (failure, stream))
            self.assertEqual(answer.json()["error"]["type"], kind, (failure, stream))
            self.assertTrue(answer.header("x-llmux-reason"), (failure, stream))
            self.check()

    async def test_whatTheOtherFormatCannotExpressIsSkippedOver(self) -> None:
        native = {**self.providers("http://second")[0], "name": "second", "priority": 1, "api-keys": ["pk-second-0000"]}
        other = {**self.providers("http://first", keys=3)[0], "kind": "gemini", "capabilities": {"remote-media": False}}
        self.begin([other, native], translate={"strict": True})
        body = json.dumps({"model": MODEL, "logit_bias": {"1": 1}, "messages": [{"role": "user", "content": "a"}]})
        answer = await self.harness.ask("POST", "/v1/chat/completions", [("x-api-key", CLIENT_KEY)], body.encode())
        self.assertEqual((answer.status, answer.header("x-llmux-provider")), (200, "second"))
        self.assertIn("tried first (cannot express it)", str(answer.header("x-llmux-reason")))
        self.assertNotIn("first (cannot express it), first", str(answer.header("x-llmux-reason")))
        self.assertEqual((self.asked("first"), self.cooled()), (0, []))


class LateErrors(FailoverCase):
    """An error event after the answer has begun: it is passed on, and judged by its own words."""

    async def test_coolsTheKeyUnlessTheRequestIsAtFault(self) -> None:
        for error, cooled in ((OVERLOADED, [("first", "model")]), (INVALID, [])):
            for route in ("/v1/chat/completions", "/v1/messages"):
                self.begin(self.providers("http://first", "http://second"))
                self.harness.servers["first"].script = partial(
                    Seen.stream, chunks=[*EVENTS[:2], b"data: %b\n\n" % error]
                )
                answer = await self.ask(stream=True, route=route)
                self.assertEqual((answer.status, answer.header("x-llmux-provider")), (200, "first"))
                self.assertIn(b"error", answer.body)
                self.assertEqual((self.cooled(), self.asked("second")), (cooled, 0), (error, route))
                self.check()


class Probing(FailoverCase):
    """Half open: one request finds out for all."""

    async def test_oneRequestProbesWhileTheOthersGoElsewhere(self) -> None:
        self.begin(self.providers("http://first", "http://second"))
        first = self.harness.servers["first"]
        first.script = lambda seen: error(seen, 429, headers=[("retry-after-ms", "50")])
        self.assertEqual((await self.ask()).header("x-llmux-provider"), "second")
        await self.harness.settled(lambda: not self.harness.daemon._lasting.credentials.cooling("first", MODEL))
        waiting: list[Seen] = []
        first.script = waiting.append
        first.requests.clear()
        asked = [Deferred.fromCoroutine(self.ask()) for _ in range(5)]
        others = await gatherResults(asked[1:])
        self.assertEqual({answer.header("x-llmux-provider") for answer in others}, {"second"})
        self.assertEqual(len(waiting), 1)
        well(waiting[0])
        self.assertEqual((await asked[0]).header("x-llmux-provider"), "first")
        self.assertEqual(self.cooled(), [])

    async def test_cooldownsSurviveAReload(self) -> None:
        self.begin(self.providers("http://first", "http://second"))
        self.harness.servers["first"].script = busy
        await self.ask()
        self.assertEqual(self.cooled(), [("first", "model")])
        self.harness.save({"request-retry": 1})
        self.harness.look()
        self.assertEqual((self.harness.reloads, self.cooled()), (1, [("first", "model")]))
        await self.ask()
        self.assertEqual((self.asked("first"), self.asked("second")), (1, 2))


class Spreading(FailoverCase):
    """Which of several equals."""

    async def served(self, count: int, **headers: str) -> list[str | None]:
        """Who answers so many requests, each of another conversation unless a header says otherwise."""
        found = []
        for number in range(count):
            body = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": f"chat {number}"}]}).encode()
            sent = [("x-api-key", CLIENT_KEY), *((name.replace("_", "-"), value) for name, value in headers.items())]
            answer = await self.harness.ask("POST", "/v1/chat/completions", sent, body)
            found.append(answer.header("x-llmux-provider"))
        return found

    def weighted(self, *weights: int) -> list[dict[str, Any]]:
        """Three providers with weights."""
        providers = self.providers(*(f"http://{name}" for name in NAMES[: len(weights)]))
        return [{**provider, "weight": weight} for provider, weight in zip(providers, weights, strict=True)]

    async def test_theOrderOfTheFileHoldsUnlessTheStrategyIsWeighted(self) -> None:
        for strategy in ("round-robin", "fill-first"):
            self.begin(self.weighted(1, 5, 0), routing={"strategy": strategy})
            self.assertEqual(set(await self.served(4)), {"first"})

    async def test_weightsSpreadRequestsOverProvidersOfEqualPriority(self) -> None:
        self.begin(self.weighted(3, 1, 0), routing={"strategy": "weighted"})
        found = await self.served(8)
        self.assertEqual([found.count(name) for name in NAMES], [6, 2, 0])
        self.check()

    async def test_aHigherPriorityComesBeforeAnyWeight(self) -> None:
        providers = self.weighted(0, 9, 9)
        providers[1]["priority"] = providers[2]["priority"] = 1
        self.begin(providers, routing={"strategy": "weighted"})
        self.assertEqual(set(await self.served(4)), {"first"})

    async def test_theOthersOfAGroupFollowInTheOrderOfTheFile(self) -> None:
        self.begin(self.weighted(0, 0, 1), routing={"strategy": "weighted"})
        for name in ("third", "first"):
            self.harness.servers[name].script = busy
        self.assertEqual(await self.served(1), ["second"])
        self.assertEqual([self.asked(name) for name in NAMES], [1, 1, 1])

    async def test_aConversationStaysWithItsProviderAndComesHome(self) -> None:
        self.begin(self.weighted(1, 1), routing={"strategy": "weighted"})
        (home,) = set(await self.served(6, x_amp_thread_id="T-1"))
        other = next(name for name in NAMES[:2] if name != home)
        self.harness.servers[str(home)].script = busy
        self.assertEqual(set(await self.served(2, x_amp_thread_id="T-1")), {other})
        self.harness.servers[str(home)].script = well

    async def test_aConversationKeepsItsKeyInStreamsAndAfterAFallback(self) -> None:
        self.begin(self.providers("http://first", "http://second", keys=4))
        thread = [("x-api-key", CLIENT_KEY), ("X-Claude-Code-Session-Id", "s-1")]

        async def once(stream: bool) -> str | None:
            body = json.dumps({"model": MODEL, "messages": [], "stream": stream}).encode()
            answer = await self.harness.ask("POST", "/v1/chat/completions", thread, body)
            self.assertTrue(answer.complete)
            return answer.header("x-llmux-provider")

        for stream in (False, True, True, False):
            self.assertEqual(await once(stream), "first")
            await self.served(1)
        first = self.harness.servers["first"]
        keys = [seen.header("authorization") for seen in first.requests if not seen.json()["messages"]]
        self.assertEqual(len(set(keys)), 1, keys)
        first.script = busy
        self.assertEqual(await once(True), "second")
        first.script = well
        self.harness.daemon._lasting.credentials.clear("first")
        first.requests.clear()
        self.assertEqual(await once(True), "first")
        self.assertEqual((len(keys), first.requests[-1].header("authorization")), (4, keys[0]))


class Money(FailoverCase):
    """Credits are spent for models that nobody else serves, and counted only if the upstream was reached."""

    async def paid(self, model: str = "paid-1") -> Answer:
        """A request that nobody but the upstream serves."""
        return await self.ask(model=model)

    def spent(self) -> int:
        """Today's count."""
        return self.harness.daemon._lasting.credits.spent()

    async def test_aDailyLimitNamesItsLineAndSurvivesARestart(self) -> None:
        given = {
            "providers": self.providers("http://first"),
            "upstream-url": f"http://{UPSTREAM}",
            "credits": {"allow": ["paid-*"], "daily-requests": 2},
        }
        self.harness.start(given)
        self.assertEqual([(await self.paid()).status for _ in range(3)], [200, 200, 503])
        self.assertEqual((self.asked(UPSTREAM), self.spent()), (2, 2))
        refused = await self.paid()
        text = r"model: paid-1 \(ampcode.credits.daily-requests: 2 at llmux.yaml:\d+ is used up"
        self.assertRegex(refused.json()["error"]["message"], text)
        self.assertEqual(refused.header("x-llmux-route"), "NO_PROVIDER")
        self.assertIn("daily-requests", str(refused.header("x-llmux-reason")))
        await self.harness.daemon.stopService()
        self.harness.start(given)
        self.assertEqual(((await self.paid()).status, self.spent()), (503, 2))

    async def test_whatNeverReachedTheUpstreamIsNotCounted(self) -> None:
        self.harness.start({"providers": [], "upstream-url": "http://refusing", "timeouts": PATIENT})
        answer = await self.paid()
        self.assertEqual((answer.status, answer.json()["error"]), (502, "amp_upstream_proxy_error"))
        self.assertEqual((answer.header("x-llmux-route"), self.spent()), ("AMP_CREDITS", 0))
        self.assertIn("for credits", str(answer.header("x-llmux-reason")))

    async def test_norIsWhatAClientGaveUpBeforeItReachedTheUpstream(self) -> None:
        self.harness.servers[UPSTREAM].script = silent
        attempts = self.harness.network.attempts
        for url, asked in (("http://hole", 0), (f"http://{UPSTREAM}", 1)):
            self.begin([], **{"upstream-url": url})
            attempts.clear()
            client = self.harness.client()
            client.ask("POST", "/v1/messages", [("x-api-key", CLIENT_KEY)], b'{"model":"paid-1","messages":[]}')
            await self.harness.settled(lambda: bool(attempts))
            await self.harness.settled(partial(lambda wanted: self.asked(UPSTREAM) == wanted, asked))
            self.assertEqual(self.spent(), 1)
            client.leave()
            await self.harness.settled(lambda: not self.harness.daemon.server.busy)
            self.assertEqual(self.spent(), asked)

    async def test_whatTheUpstreamDidNotAnswerIsCounted(self) -> None:
        self.harness.start({"providers": [], "upstream-url": f"http://{UPSTREAM}"})
        self.harness.servers[UPSTREAM].script = Seen.cut
        self.assertEqual(((await self.paid()).status, self.spent()), (502, 1))

    async def test_everyErrorOfOursTellsItsReason(self) -> None:
        self.harness.start({"providers": self.providers("http://refusing"), "timeouts": PATIENT})
        unreachable = await self.ask()
        self.assertEqual((unreachable.status, unreachable.header("x-llmux-provider")), (502, "first"))
        reason = "provider first serves it; tried first (connect)"
        self.assertEqual(unreachable.header("x-llmux-reason"), reason)
        good, bad = [("x-api-key", CLIENT_KEY)], [("x-api-key", "ck-wrong")]
        for headers, target, status, text in (
            (good, "/v1/messages", 400, "The request names no model"),
            (bad, "/v1/messages", 401, "Invalid API key"),
            (good, "/v1beta/models/m-1:sing", 404, "m-1:sing not found"),
            ([*good, ("Upgrade", "websocket"), ("Connection", "Upgrade")], "/v1/responses", 426, "upgrades"),
        ):
            early = await self.harness.ask("POST", target, headers, b"{}")
            self.assertEqual(early.status, status)
            self.assertIn(text, str(early.header("x-llmux-reason")))
        nobody = await self.paid()
        self.assertEqual((nobody.status, nobody.header("x-llmux-route")), (503, "NO_PROVIDER"))
        self.assertEqual(nobody.header("x-llmux-provider"), None)
        self.assertIn("no upstream is configured", str(nobody.header("x-llmux-reason")))


class Timeouts(FailoverCase):
    """Every clock gives a 504 that names it, while nothing of an answer has been sent."""

    async def late(self, timeouts: dict[str, float], script: Callable[[Seen], None], model: str = MODEL) -> Answer:
        """The answer to a request whose provider is late."""
        mapping = [{"from": "mapped", "to": MODEL}]
        self.begin(self.providers("http://first"), timeouts={**QUICK, **timeouts}, ampcode={"model-mappings": mapping})
        self.harness.servers["first"].script = script
        return await self.ask(model=model)

    async def test_totalIsOffUnlessGiven(self) -> None:
        def slow(seen: Seen) -> None:
            """Answer after more than any other clock but one."""
            later = reactor.callLater(1.2, well, seen)
            seen.gone.addCallback(lambda _: later.active() and later.cancel())

        self.assertEqual((await self.late({}, slow)).status, 200)
        answer = await self.late({"total": 0.3}, slow)
        self.assertEqual(answer.status, 504)
        text = "The provider did not finish its answer within 0.3 seconds (timeouts.total)"
        self.assertEqual(answer.json()["error"]["message"], text)

    async def test_idleIsA504WhereTheHeadStillWaits(self) -> None:
        answer = await self.late({}, some, "mapped")
        text = "The provider fell silent in the middle of its answer within 0.3 seconds (timeouts.idle)"
        self.assertEqual((answer.status, answer.json()["error"]["message"]), (504, text))
        self.assertEqual(answer.header("x-llmux-route"), "MODEL_MAPPING")
        self.assertEqual(self.cooled(), [("first", "model")])

    async def test_aBreakIsA502WhereTheHeadStillWaits(self) -> None:
        answer = await self.late({}, then(some, cut_later), "mapped")
        self.assertEqual((answer.status, answer.header("x-llmux-provider")), (502, "first"))
        self.assertTrue(answer.header("x-llmux-reason"))

    async def test_aProvidersOwnClockIsTheOneThatIsNamed(self) -> None:
        self.begin([{**self.providers("http://hole")[0], "timeouts": {"connect": 0.1}}])
        answer = await self.ask()
        text = "The provider did not accept the connection within 0.1 seconds (timeouts.connect)"
        self.assertEqual((answer.status, answer.json()["error"]["message"]), (504, text))


class Agents(FailoverCase):
    """WebSockets and the upstream's own agents are the upstream's own, unless `credits-passthrough: deny`."""

    UPGRADE = [("x-api-key", CLIENT_KEY), ("Connection", "Upgrade"), ("Upgrade", "websocket")]
    PLAIN = [("x-api-key", CLIENT_KEY)]
    PLACES = (
        ("GET", "/actors/gateway/threadActor/websocket/?rvt-key=T-1", UPGRADE),
        ("GET", "/api/internal", UPGRADE),
        ("GET", "/actors/gateway/userActor/request/x", PLAIN),
        ("POST", "/api/thread-actors", PLAIN),
        ("POST", "/api/thread-actors/x", PLAIN),
        ("POST", "//actors/x", PLAIN),
        ("GET", "/%61ctors/x", PLAIN),
    )

    async def statuses(self) -> list[int]:
        """What each of the places answers."""
        return [(await self.harness.ask(method, target, headers)).status for method, target, headers in self.PLACES]

    async def test_areNeverBlockedByTheCreditsPolicy(self) -> None:
        self.begin([], credits="deny")
        self.harness.servers[UPSTREAM].script = lambda seen: seen.reply(200, b"{}")
        self.assertEqual(await self.statuses(), [200] * len(self.PLACES))

    async def test_areRefusedWhereTheConfigurationSaysSo(self) -> None:
        for policy, key in (
            ({"credits-passthrough": "deny"}, "credits-passthrough"),
            ({"credits": {"allow": ["*"], "passthrough": False}}, "credits.passthrough"),
        ):
            self.begin([], ampcode=policy)
            self.assertEqual(await self.statuses(), [403] * len(self.PLACES), policy)
            self.assertEqual(self.asked(UPSTREAM), 0)
            method, target, headers = self.PLACES[0]
            text = (await self.harness.ask(method, target, headers)).json()["error"]
            self.assertRegex(text, rf"are denied by ampcode\.{key} in llmux\.yaml:\d+; set it to (allow|true) ")
            other = await self.harness.ask("GET", "/api/internal?getUserInfo", self.PLAIN)
            self.assertEqual(other.status, 404 if self.harness.servers[UPSTREAM].script is well else 200)
            self.harness.servers[UPSTREAM].requests.clear()
