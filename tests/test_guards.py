"""Who may pass: the order of the checks, what counts as loopback, and what needs no key."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.client_keys import Access, ClientKeys, Identity
from llmux.errors import HTTPProblem
from llmux.headers import RawHeaders
from llmux.web.guards import Policy, admit, is_actors, is_loopback, lends_upstream_key
from llmux.web.routes import ANY, Route

PASSTHROUGH = Route(ANY, "/api/user", "passthrough", "upstream.proxy")
BYPASSED = Route(ANY, "/auth/*path", "passthrough", "upstream.proxy", "bypassed")
MODEL = Route(("POST",), "/v1/messages", "model", "anthropic.messages", "required", "anthropic")
LIST = Route(("GET",), "/v1/models", "list", "models.by_headers")
LOCAL = Route(("GET",), "/healthz", "local", "health", "none")
KEY: RawHeaders = [(b"X-Api-Key", b"ck-1")]
REMOTE = "203.0.113.5"


def policy(*, keys: tuple[str, ...] = ("ck-1",), upstream: bool = True, localhost_only: bool = False) -> Policy:
    return Policy(ClientKeys(keys), upstream, localhost_only)


class AdmissionTests(SynchronousTestCase):
    def refusal(self, route: Route, rules: Policy, **request: Any) -> tuple[int, Any]:
        """Status and body of a refusal."""
        problem = self.assertRaises(HTTPProblem, self.admit, route, rules, **request)
        return problem.status, json.loads(problem.body) if problem.body else None

    def admit(
        self,
        route: Route,
        rules: Policy,
        method: bytes = b"GET",
        target: bytes = b"/api/user",
        headers: RawHeaders | None = None,
        peer: str = "127.0.0.1",
    ) -> Identity:
        return admit(route, rules, method, target, KEY if headers is None else headers, peer)

    def test_aKnownClientIsIdentified(self) -> None:
        self.assertEqual(self.admit(PASSTHROUGH, policy()), Identity(Access.VALID, "ck-1"))

    def test_theMissingUpstreamIsSaidBeforeAnythingElse(self) -> None:
        rules = policy(upstream=False, localhost_only=True)
        for method in (b"GET", b"OPTIONS"):
            status, body = self.refusal(PASSTHROUGH, rules, method=method, headers=[], peer=REMOTE)
            self.assertEqual((status, body), (503, {"error": "amp upstream proxy not available"}))

    def test_optionsIsRefusedBeforeThePeerAndTheKey(self) -> None:
        rules = policy(localhost_only=True)
        problem = self.assertRaises(
            HTTPProblem, self.admit, PASSTHROUGH, rules, method=b"OPTIONS", headers=[], peer=REMOTE
        )
        self.assertEqual((problem.status, problem.body), (403, b""))

    def test_aRemotePeerIsRefusedBeforeTheKey(self) -> None:
        status, body = self.refusal(PASSTHROUGH, policy(localhost_only=True), headers=[], peer=REMOTE)
        self.assertEqual((status, body), (403, {"error": "Access denied: management routes restricted to localhost"}))

    def test_theRestrictionHoldsForBypassedRoutesToo(self) -> None:
        self.assertEqual(self.refusal(BYPASSED, policy(localhost_only=True), headers=[], peer=REMOTE)[0], 403)

    def test_theRestrictionNeverHoldsForModelAndListRoutes(self) -> None:
        rules = policy(localhost_only=True, upstream=False)
        for route in (MODEL, LIST):
            self.assertTrue(self.admit(route, rules, peer=REMOTE).allowed)

    def test_noKeyAndAWrongKeyAreToldApart(self) -> None:
        for route in (PASSTHROUGH, MODEL, LIST):
            self.assertEqual(self.refusal(route, policy(), headers=[]), (401, {"error": "Missing API key"}))
            wrong = [(b"Authorization", b"Bearer nope")]
            self.assertEqual(self.refusal(route, policy(), headers=wrong), (401, {"error": "Invalid API key"}))

    def test_bypassedAndLocalRoutesNeedNoKey(self) -> None:
        for route in (BYPASSED, LOCAL):
            self.assertFalse(self.admit(route, policy(), headers=[]).allowed)

    def test_anOpenDaemonLetsEveryonePass(self) -> None:
        self.assertEqual(self.admit(MODEL, policy(keys=()), headers=[]).access, Access.OPEN)

    def test_dotSegmentsAreRefusedOnWhatIsSentOnButNotBeforeTheKey(self) -> None:
        for route in (PASSTHROUGH, BYPASSED, MODEL):
            self.assertEqual(self.refusal(route, policy(), target=b"/auth/%2e%2e/api/user")[0], 400)
        self.assertEqual(self.refusal(PASSTHROUGH, policy(), target=b"/a/../b", headers=[])[0], 401)

    def test_theUpstreamKeyIsLentOnlyToKnownClientsOnBypassedRoutes(self) -> None:
        unknown, known, anyone = Identity(Access.MISSING), Identity(Access.VALID, "ck-1"), Identity(Access.OPEN)
        lent = [lends_upstream_key(BYPASSED, identity) for identity in (unknown, known, anyone)]
        self.assertEqual(lent, [False, True, True])
        self.assertTrue(lends_upstream_key(PASSTHROUGH, known))


class LoopbackTests(SynchronousTestCase):
    def test_loopbackIsAllOf127AndItsOtherSpellings(self) -> None:
        for peer in ("127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "::1%lo"):
            self.assertTrue(is_loopback(peer), peer)

    def test_everythingElseIsNot(self) -> None:
        for peer in ("192.168.1.20", "10.0.0.1", "0.0.0.0", "::", "fe80::1%eth0", "::ffff:10.0.0.1", "", "localhost"):
            self.assertFalse(is_loopback(peer), peer)


class ActorTests(SynchronousTestCase):
    def test_actorPathsAreWholeSegmentsInAnySpelling(self) -> None:
        for path in (b"/actors", b"/actors/gateway/x", b"/api/thread-actors/T-1", b"//actors/x", b"/%61ctors/x"):
            self.assertTrue(is_actors(path), path)
        for path in (b"/actorsland", b"/api/threads", b"/api/thread-actorsx", b"/x/actors"):
            self.assertFalse(is_actors(path), path)
