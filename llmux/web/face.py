"""The HTTP face of the daemon: holds the generation in force and gives every route of the table its handler."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from pathlib import PurePath
from typing import Any
from urllib.parse import parse_qsl

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from llmux.client_keys import ClientKeys, Identity
from llmux.errors import (
    HTTPProblem,
    body_too_large,
    error_body,
    method_not_allowed,
    model_not_found,
    not_found,
    problem,
    to_json,
    unsafe_path,
    upgrade_refused,
)
from llmux.headers import RawHeaders
from llmux.peers.executor import Executor
from llmux.peers.generation import Generation, Lasting
from llmux.peers.served import ServedRequests
from llmux.rewrite.features import remove_features
from llmux.rewrite.response import body_transform
from llmux.targets import names_an_authority, split_target
from llmux.web.accounts import CLIENT_GONE, Accounts
from llmux.web.app import Handler, Site, make_app
from llmux.web.cors import cors_headers
from llmux.web.guards import Policy, admit, is_actors, is_unrouted_call, lends_upstream_key
from llmux.web.management import Management, admit_management
from llmux.web.matching import Match, Matcher, MethodNotAllowed, NotFound
from llmux.web.metrics import InThread, Metrics, States
from llmux.web.model_lists import LISTS, MODELS, family
from llmux.web.model_routes import ModelRoutingWrapper
from llmux.web.passthrough import Passthrough, wants_upgrade
from llmux.web.routes import ROUTES, UNMATCHED, listing_handler
from llmux.web.status_page import StatusPage
from llmux.web.tally import Tally
from llmux.wire.body import BodyLost, BodyTooLarge
from llmux.wire.outgoing import UpstreamFailure
from llmux.wire.pool import Pool
from llmux.wire.request import Request
from llmux.wire.server import HTTPServer

_JSON = (b"Content-Type", b"application/json")
_UNMATCHED = Match(UNMATCHED, {}, {})
_QUESTIONS_PATH = b"/api/internal"
_CREDITS_QUESTION = b"getCreditsByRequestId"
_USER_QUESTION = b"getUserInfo"
_QUESTION_LIMIT = 64 * 1024
_PREFLIGHT_SECONDS = b"600"


class Face:
    """Everything that answers HTTP; `current` is replaced as a whole by a reload, `server` is what it is served by."""

    log = Logger()

    def __init__(
        self,
        generation: Generation,
        pool: Pool,
        executor: Executor,
        lasting: Lasting,
        clock: IReactorTime,
        in_thread: InThread,
    ) -> None:
        self.current = generation
        self.draining = False
        self.server: HTTPServer | None = None
        self._policy = policy(generation)
        self._served = ServedRequests()
        self._passthrough = Passthrough(pool, clock)
        self._tally = tally = Tally()
        accounts = Accounts(lasting.ledger, tally, clock.seconds)
        self.models = ModelRoutingWrapper(
            executor, self._passthrough, lasting, self._served, clock, self._keepalive, accounts
        )
        self._metrics = Metrics(tally, self._states, in_thread)
        self._executor = executor
        self._lasting = lasting
        self._pool = pool
        self._management = Management(lambda: self.current, lasting, self._state)
        self.page = StatusPage(
            lambda: self.current,
            lambda: self._policy.keys,
            lasting,
            self.models.journal,
            self._management,
            self._state,
            clock,
        )
        self._matcher = Matcher(ROUTES)
        self.app = make_app(self._handlers())
        self.site = Site(self.app, self._unrouted, self._cors)

    def _keepalive(self) -> float:
        return self.current.config.streaming.keepalive

    def switch(self, generation: Generation) -> None:
        """Put a new generation in force; requests under way keep theirs (SPEC R-HR-2)."""
        self._policy = policy(generation)
        self.current = generation

    def _handlers(self) -> Mapping[str, Callable[[Request, Match], Any]]:
        model = self._model
        return {
            "openai.chat": model,
            "openai.completions": model,
            "openai.responses": model,
            "openai.count_tokens": model,
            "anthropic.messages": model,
            "anthropic.count_tokens": model,
            "gemini.generate": model,
            "gemini.bridge": model,
            "models.list": self._list,
            "models.gemini": self._list,
            "models.by_headers": self._list,
            "models.get": self._one_model,
            "gemini.model_get": self._one_model,
            "upstream.proxy": self._proxy,
            "health": self._health,
            "ready": self._ready,
            "page.show": self.page.show,
            "page.events": self.page.events,
            "page.sign-in": self.page.sign_in,
            "page.sign-out": self.page.sign_out,
            "page.clear": self.page.clear,
            "manage.status": self._managing(self._management.status),
            "manage.cooldowns": self._managing(self._management.cooldowns),
            "manage.clear": self._managing(self._management.clear_cooldowns),
            "manage.explain": self._managing(self._management.explanation),
            "manage.unknown": self._managing(self._unknown),
            "metrics": self._managing(self._metrics.handle),
        }

    def _managing(self, handler: Handler) -> Handler:
        """A handler of the management plane behind its guard."""

        async def guarded(request: Request, match: Match) -> None:
            admit_management(self._policy.keys, request.uri, request.headers, request.peer)
            await handler(request, match)

        return guarded

    async def _unknown(self, request: Request, match: Match) -> None:
        raise not_found()

    def _state(self) -> dict[str, Any]:
        """The numbers of the moment, for the management plane."""
        watch = self.models.watch
        return {
            "draining": self.draining,
            "streams": watch.open,
            "streams_cut": watch.cut,
            "tunnels": self._passthrough.tunnels,
            "upstream_connections": {"open": self._pool.open, "idle": self._pool.idle},
        }

    def _states(self) -> States:
        """The numbers of the moment, for the metrics."""
        watch, server, lasting = self.models.watch, self.server, self._lasting
        return States(
            generation=self.current.number,
            draining=self.draining,
            open_requests=0 if server is None else server.busy,
            client_connections=0 if server is None else len(server.connections),
            buffered_bytes=0 if server is None else server.budget.held,
            open_streams=watch.open,
            streams_cut=watch.cut,
            open_tunnels=self._passthrough.tunnels,
            upstream_open=self._pool.open,
            upstream_idle=self._pool.idle,
            cooldowns=tuple((row.provider, row.reason) for row in lasting.credentials.listing()),
            failed_tries=dict(self._executor.failed_tries),
            credits_spent=lasting.credits.spent(),
            credits_left=lasting.credits.left(self.current.config.ampcode.credits.daily_requests),
            unwritten=0 if lasting.ledger is None else lasting.ledger.unwritten,
            state_failing=lasting.ledger is not None and lasting.ledger.failing,
        )

    def _admit(self, request: Request, match: Match) -> Identity:
        if wants_upgrade(request) and not match.route.guarded:
            raise upgrade_refused(match.route.protocol)
        return admit(match.route, self._policy, request.method, request.uri, request.headers, request.peer)

    def _model(self, request: Request, match: Match) -> Coroutine[Deferred[Any], Any, None]:
        return self.models.handle(request, match, self._admit(request, match), self.current)

    async def _proxy(self, request: Request, match: Match) -> None:
        """Pass a request on, and count what became of it."""
        outcome, status = "failed", 0
        try:
            outcome = await self._pass_on(request, match)
        except HTTPProblem as refusal:
            outcome = "failed" if isinstance(refusal.__cause__, UpstreamFailure) else "refused"
            status = refusal.status
            raise
        except CancelledError:
            outcome = "left"
            raise
        finally:
            self._tally.passed_on(outcome, status or request.status or (CLIENT_GONE if request.gone else 500))

    async def _pass_on(self, request: Request, match: Match) -> str:
        """What became of a request: `answered` by the upstream, `local`, `tunnel`, `cut`, or `left` by its client."""
        generation = self.current
        identity = self._admit(request, match)
        if not generation.config.ampcode.credits.passthrough and (wants_upgrade(request) or is_actors(request.path)):
            raise problem(None, 403, agents_denied(generation))
        if generation.config.ampcode.credits.limited and is_unrouted_call(request.method, request.path):
            raise problem(None, 403, call_denied(generation))
        body: Any = None if request.body.complete and not request.body.received else request.body
        edit: dict[str, Any] = {}
        if request.path == _QUESTIONS_PATH:
            question = split_target(request.uri)[1]
            if question == _CREDITS_QUESTION:
                body = await self._credits_question(request)
                if body is None:
                    return "left" if request.gone else "local"
            elif question == _USER_QUESTION and generation.config.ampcode.strip_features:
                features = generation.config.ampcode.strip_features
                edit["edit"] = lambda status, method, headers, limit: body_transform(
                    status, method, headers, lambda answer: remove_features(answer, features), limit
                )
        outcome = await self._passthrough.forward(
            request,
            generation,
            target=request.uri,
            client_key=identity.key,
            lend_key=lends_upstream_key(match.route, identity),
            body=body,
            **edit,
        )
        if outcome is None:
            return "tunnel"
        if outcome.client_gone:
            return "left"
        if outcome.failure is None:
            return "answered"
        self.log.warn(
            "{method} {path}: the upstream's answer was cut: {problem}",
            method=request.method.decode("latin-1"),
            path=request.path.decode("latin-1"),
            problem=str(outcome.failure),
        )
        return "cut"

    async def _credits_question(self, request: Request) -> bytes | bytearray | None:
        """Answer what a request cost that own keys served; any other question goes on with this body (DESIGN D-50)."""
        try:
            body = await request.body.collect(_QUESTION_LIMIT)
        except BodyTooLarge:
            raise body_too_large(None, _QUESTION_LIMIT) from None
        except BodyLost:
            request.break_off()
            return None
        try:
            asked = json.loads(body)["params"]["requestId"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return body
        if not isinstance(asked, str) or asked.encode("utf-8", "replace") not in self._served:
            return body
        self._json(request, 200, {"ok": True, "result": {"credits": 0}})
        return None

    async def _list(self, request: Request, match: Match) -> None:
        self._admit(request, match)
        query = query_of(request.uri)
        handler = listing_handler(match.route, match.params.get("provider", ""))
        kind = family(names_of(request.headers), query) if handler == "models.by_headers" else handler.split(".")[1]
        served = [(model.name, model.providers[0]) for model in self.current.directory.models()]
        self._json(request, 200, LISTS[kind](served, query), self._cors(request))

    async def _one_model(self, request: Request, match: Match) -> None:
        self._admit(request, match)
        gemini = match.route.handler == "gemini.model_get"
        kind = "gemini" if gemini else family(names_of(request.headers), query_of(request.uri))
        name = match.params.get("action") or match.params.get("model", "")
        candidates = self.current.directory.candidates(name, name)
        if not candidates:
            raise model_not_found("gemini" if gemini else {"openai": "chat"}.get(kind, kind), name)
        self._json(request, 200, MODELS[kind](name, candidates[0].provider), self._cors(request))

    async def _health(self, request: Request, match: Match) -> None:
        self._admit(request, match)
        generation = self.current
        self._json(
            request,
            200,
            {"status": "ok", "generation": generation.number, "digest": generation.config.digest},
            self._cors(request),
        )

    async def _ready(self, request: Request, match: Match) -> None:
        self._admit(request, match)
        self._json(request, 503 if self.draining else 200, {"status": "draining" if self.draining else "ready"})

    def _json(self, request: Request, status: int, value: Any, headers: RawHeaders | None = None) -> None:
        request.respond(status, [_JSON, *(headers or [])], to_json(value))

    def _cors(self, request: Request) -> RawHeaders:
        """What a configured origin may read; nothing for any other (SPEC 2.2)."""
        return cors_headers(self.current.config.cors_origins, request.header(b"origin"))

    def _unrouted(self, request: Request, mismatch: MethodNotAllowed | None) -> Match:
        """What becomes of a request that no route takes; gives the route of the catch-all or raises the refusal."""
        if mismatch is None:
            if self.current.upstream is None:
                raise not_found()
            if names_an_authority(request.uri):
                raise unsafe_path()
            return _UNMATCHED
        if request.method == b"OPTIONS" and mismatch.guarded:
            return _UNMATCHED  # the guards refuse it: passthrough paths take no part in CORS (SPEC R-RT-10)
        if wants_upgrade(request):
            raise upgrade_refused(None)
        if request.method == b"OPTIONS" and self.current.config.cors_origins:
            raise preflight(self._cors(request), mismatch.allow)
        raise method_not_allowed(", ".join(mismatch.allow))

    def refuse(self, status: int, target: bytes, reason: str) -> tuple[RawHeaders, bytes]:
        """The answer to a request that the wire refuses, in the format of the route it was meant for."""
        protocol = None
        with suppress(NotFound, MethodNotAllowed):
            protocol = self._matcher.match("POST", target.partition(b"?")[0]).route.protocol
        return [_JSON], error_body(protocol, status, reason)


def policy(generation: Generation) -> Policy:
    """What the guards need of a configuration."""
    config = generation.config
    restricted = config.ampcode.restrict_management_to_localhost
    return Policy(
        keys=ClientKeys(key.reveal() for key in config.api_keys),
        upstream=generation.upstream is not None,
        localhost_only=not config.api_keys if restricted is None else restricted,
    )


def agents_denied(generation: Generation) -> str:
    """Why the upstream's own agents cannot be reached, and where that is written (DESIGN D-46)."""
    key, line = generation.config.ampcode.credits.denial
    return (
        "WebSockets and the upstream's own agents, which spend credits, are denied by "
        f"{key} in {_file_of(generation)}:{line}; "
        f"set it to {'true' if key.endswith('.passthrough') else 'allow'} to permit them"
    )


def call_denied(generation: Generation) -> str:
    """Why a call that has no route here cannot be passed on: nobody can say which model it asks for (DESIGN D-46)."""
    return (
        "calls below /api/provider/ that llmux has no route for may cost credits, which are limited by ampcode.credits "
        f"in {_file_of(generation)}:{generation.config.ampcode.credits.line}; set it to allow to permit them"
    )


def _file_of(generation: Generation) -> str:
    """The configuration's name for a client's eyes, without its folders."""
    path = generation.config.path
    return PurePath(path).name if path else "the configuration"


def preflight(cors: RawHeaders, allow: tuple[str, ...]) -> HTTPProblem:
    """The 204 to a CORS preflight."""
    headers: RawHeaders = [
        *cors,
        (b"Access-Control-Allow-Methods", ", ".join(allow).encode()),
        (b"Access-Control-Allow-Headers", b"*, Authorization"),
        (b"Access-Control-Max-Age", _PREFLIGHT_SECONDS),
    ]
    return HTTPProblem(204, b"", headers)


def query_of(target: bytes) -> dict[str, str]:
    """The query of a target as text; the first of equal names counts."""
    pairs = parse_qsl(split_target(target)[1].decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    return dict(reversed(pairs))


def names_of(headers: RawHeaders) -> dict[bytes, bytes]:
    """Headers by lower-case name."""
    return {name.lower(): value for name, value in headers}
