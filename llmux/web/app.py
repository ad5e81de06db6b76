"""Puts requests and routes together: the Klein app made from the table, and the one place that renders failures."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, cast

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from llmux.errors import HTTPProblem, internal_error
from llmux.headers import RawHeaders
from llmux.web.matching import Match, Matcher, MethodNotAllowed, NotFound
from llmux.web.routes import ANY, ROUTES, UNMATCHED
from llmux.web.telling import with_reason
from llmux.wire.request import Request

MOST_REMEMBERED = 2048
LONGEST_REMEMBERED = 256
Handler = Callable[[Request, Match], Coroutine[Deferred[Any], Any, None]]


def klein_pattern(pattern: str) -> str:
    """A pattern of the table in Klein's spelling."""
    parts = []
    for part in pattern.split("/"):
        if part.startswith(":"):
            parts.append(f"<{part[1:]}>")
        elif part.startswith("*"):
            parts.append(f"<path:{part[1:]}>")
        else:
            parts.append(part)
    return "/".join(parts)


def make_app(handlers: Mapping[str, Handler]) -> Klein:
    """The Klein app: every route of the table with its handler; a handler without a route is a mistake."""
    app = Klein()
    for route in (*ROUTES, UNMATCHED):
        methods = None if route.methods == ANY else list(route.methods)
        app.route(klein_pattern(route.pattern), methods=methods, endpoint=route.handler)(handlers[route.handler])
    unused = set(handlers) - set(app.endpoints)
    if unused:
        raise ValueError(f"handlers without a route: {sorted(unused)}")
    return app


class Site:
    """Starts the handler of each request at its headers; matches are found once and remembered, up to a bound.

    `unrouted` gives the route of a request that none takes, or raises its refusal. `cors` gives the headers with which
    a browser may read an answer of a model or list route (SPEC 2.2).
    """

    log = Logger()

    def __init__(
        self,
        app: Klein,
        unrouted: Callable[[Request, MethodNotAllowed | None], Match],
        cors: Callable[[Request], RawHeaders],
    ) -> None:
        self._app = app
        self._matcher = Matcher(ROUTES)
        self._unrouted = unrouted
        self._cors = cors
        self._remembered: dict[tuple[bytes, bytes], Match] = {}

    def __call__(self, request: Request) -> None:
        """Route one request; the handler runs until its first wait before this returns."""
        match = None
        try:
            match = self._match(request)
            # Klein types requests by Twisted's interface, of which its endpoints use nothing.
            running: Any = self._app.execute_endpoint(match.route.handler, cast(Any, request), match)
        except Exception:
            self._failed(Failure(), request, match)
            return
        running.addErrback(self._failed, request, match)
        if not request.ended:
            request.when_gone(running.cancel)

    def _match(self, request: Request) -> Match:
        path = request.uri.partition(b"?")[0]
        key = (request.method, path)
        match = self._remembered.get(key)
        if match is not None:
            return match
        try:
            match = self._matcher.match(request.method.decode("latin-1"), path)
        except MethodNotAllowed as problem:
            return self._unrouted(request, problem)
        except NotFound:
            return self._unrouted(request, None)
        if len(path) <= LONGEST_REMEMBERED:
            if len(self._remembered) >= MOST_REMEMBERED:
                self._remembered.clear()  # paths with ids in them must not keep the hot ones out for good
            self._remembered[key] = match
        return match

    def _failed(self, failure: Failure, request: Request, match: Match | None) -> None:
        problem = failure.value
        if request.gone or failure.check(CancelledError):
            # The client left; what the handler was waiting for has been given up.
            if not request.ended:
                request.break_off()
            return
        if not isinstance(problem, HTTPProblem):
            self.log.failure(
                "while answering {method} {path}", failure, method=_text(request.method), path=_path(request)
            )
            problem = internal_error(None if match is None else match.route.protocol)
        if match is not None and match.route.kind == "model":
            problem = with_reason(problem)
        cors = self._cors(request) if match is not None and match.route.kind in ("model", "list") else []
        answer(request, problem, cors)


def answer(request: Request, problem: HTTPProblem, more: RawHeaders) -> None:
    """Send a failure to the client, or break the connection off when an answer has begun (SPEC R-ER-2)."""
    if request.ended:
        return
    if request.status:
        request.break_off()
        return
    request.respond(problem.status, [*problem.headers, *more], problem.body)


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _path(request: Request) -> str:
    return _text(request.uri.partition(b"?")[0])
