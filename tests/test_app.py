"""The Klein app of the table, and the site: matches are remembered within bounds, failures rendered in one place."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from llmux.errors import HTTPProblem, not_found, problem
from llmux.headers import RawHeaders
from llmux.web import app as app_module
from llmux.web.app import Site, klein_pattern, make_app
from llmux.web.matching import Match, MethodNotAllowed
from llmux.web.routes import ROUTES, UNMATCHED
from tests.conversation import Answer, read_answer, request_bytes
from tests.serving import Serving

HANDLERS = {route.handler for route in (*ROUTES, UNMATCHED)}


class PatternTests(SynchronousTestCase):
    def test_patternsAreSpelledAsKleinDoes(self) -> None:
        self.assertEqual(
            klein_pattern("/api/provider/:provider/v1beta/models/*action"),
            ("/api/provider/<provider>/v1beta/models/<path:action>"),
        )

    def test_everyRouteIsARuleOfTheApp(self) -> None:
        app = make_app(dict.fromkeys(HANDLERS, handler_of(lambda request: None)))
        self.assertEqual(
            {rule.rule for rule in app.url_map.iter_rules()},
            {klein_pattern(route.pattern) for route in (*ROUTES, UNMATCHED)},
        )
        self.assertEqual(set(app.endpoints), HANDLERS)

    def test_aHandlerWithoutARouteIsAMistake(self) -> None:
        handlers = dict.fromkeys([*HANDLERS, "nobody.asks"], handler_of(lambda request: None))
        self.assertIn("nobody.asks", str(self.assertRaises(ValueError, make_app, handlers)))


def handler_of(work: Callable[[Any], Any]) -> Any:
    async def handler(request: Any, match: Match) -> None:
        result = work(request)
        if isinstance(result, Deferred):
            await result

    return handler


class SiteTests(SynchronousTestCase):
    """A site on a server in memory whose only handler is `work`."""

    def setUp(self) -> None:
        self.work: Callable[[Any], Any] = lambda request: request.respond(200, [], b"ok")
        self.asked: list[Match] = []
        self.unrouted: list[MethodNotAllowed | None] = []
        self.site = Site(self.app(), self.refuse, self.cors)
        self.serving = Serving(self.site)

    def app(self) -> Any:
        async def handler(request: Any, match: Match) -> None:
            self.asked.append(match)
            result = self.work(request)
            if isinstance(result, Deferred):
                await result

        return make_app(dict.fromkeys(HANDLERS, handler))

    def refuse(self, request: Any, mismatch: MethodNotAllowed | None) -> Match:
        self.unrouted.append(mismatch)
        raise not_found()

    def cors(self, request: Any) -> RawHeaders:
        return [(b"Access-Control-Allow-Origin", b"*")]

    def ask(self, method: str, target: str, body: bytes | None = None) -> Answer | None:
        self.serving.receive(request_bytes(method, target, [], body))
        return read_answer(self.serving.sent(), method, None)

    def answered(self, method: str, target: str, body: bytes | None = None) -> Answer:
        answer = self.ask(method, target, body)
        assert answer is not None
        return answer

    def test_theHandlerGetsItsMatch(self) -> None:
        self.assertEqual(self.answered("GET", "/api/provider/acme/v1/models?x=1").body, b"ok")
        self.assertEqual(self.asked[0].params, {"provider": "acme"})

    def test_matchesAreRemembered(self) -> None:
        for query in ("?a=1", "?b=2", ""):
            self.answered("GET", f"/healthz{query}")
        self.assertEqual(len(self.site._remembered), 1)
        self.assertIs(self.asked[0], self.asked[2])

    def test_theMemoryIsBoundedAndLongPathsAreNotKept(self) -> None:
        self.patch(app_module, "MOST_REMEMBERED", 3)
        for number in range(10):
            self.answered("GET", f"/api/threads/{number}")
            self.assertLessEqual(len(self.site._remembered), 3)
        self.assertTrue(self.site._remembered)
        before = dict(self.site._remembered)
        self.answered("GET", "/api/threads/" + "x" * 300)
        self.assertEqual(self.site._remembered, before)

    def test_refusalsAreNotRemembered(self) -> None:
        for _ in range(2):
            self.assertEqual(self.answered("GET", "/nope").status, 404)
            self.assertEqual(self.answered("PUT", "/v1/messages").status, 404)
        self.assertEqual(self.site._remembered, {})
        self.assertEqual([mismatch and mismatch.allow for mismatch in self.unrouted], [None, ("POST",)] * 2)

    def test_aProblemIsTheAnswer(self) -> None:
        self.work = self.raising(problem("anthropic", 429, "slow down", headers=[(b"Retry-After", b"3")]))
        answer = self.answered("POST", "/v1/messages", b"{}")
        self.assertEqual((answer.status, answer.header("Retry-After")), (429, "3"))
        self.assertEqual(answer.json()["error"]["message"], "slow down")

    def test_browsersMayReadProblemsOfModelAndListRoutesOnly(self) -> None:
        self.work = self.raising(not_found())
        allowed = [
            self.answered(method, target).header("Access-Control-Allow-Origin")
            for method, target in (("POST", "/v1/messages"), ("GET", "/v1/models"), ("GET", "/api/user"), ("GET", "/x"))
        ]
        self.assertEqual(allowed, ["*", "*", None, None])

    def test_anUnexpectedFailureIsLoggedAndSaysNothing(self) -> None:
        self.work = self.raising(RuntimeError("the inner workings"))
        answer = self.answered("POST", "/v1/messages?key=sk-secret", b"{}")
        self.assertEqual(answer.status, 500)
        self.assertEqual(answer.json()["error"]["message"], "Internal error")
        (logged,) = self.flushLoggedErrors(RuntimeError)
        self.assertNotIn(b"inner", answer.body)
        self.assertNotIn("sk-secret", logged.getTraceback())

    def test_aFailureAfterTheHeadCutsTheAnswer(self) -> None:
        def begin(request: Any) -> None:
            request.start(200, [(b"Content-Type", b"text/plain")])
            request.write(b"half")
            raise RuntimeError("boom")

        self.work = begin
        answer = self.answered("GET", "/api/user")
        self.assertEqual((answer.status, answer.body, answer.complete), (200, b"half", False))
        self.assertEqual(self.serving.closed, "closed")
        self.flushLoggedErrors(RuntimeError)

    def test_aClientThatLeavesCancelsItsHandler(self) -> None:
        cancelled: list[Deferred[None]] = []
        self.work = lambda request: Deferred(cancelled.append)
        self.assertIsNone(self.ask("GET", "/api/user"))
        self.serving.leave()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_aHandlerThatCancelsItselfCutsTheConnection(self) -> None:
        self.work = self.raising(CancelledError())
        self.assertIsNone(self.ask("GET", "/api/user"))
        self.assertEqual(self.serving.closed, "aborted")

    def test_aProblemKnowsItsTextForLogs(self) -> None:
        self.assertEqual(str(problem(None, 503, "no")), "no")
        self.assertEqual(json.loads(not_found().body), {"error": "Not found"})

    def raising(self, error: HTTPProblem | Exception) -> Callable[[Any], Any]:
        def work(request: Any) -> None:
            raise error

        return work
