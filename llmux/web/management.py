"""The management plane below `/llmux/`: what the daemon is doing, and why it would decide as it does.

It is on the one port, so it is guarded against pages that a browser was lured to: a foreign Origin is refused, and a
Host that is a name, which could be rebound to this machine, unless a client key is shown: no such page has one
(HOSTILE 2, rule 13).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from typing import Any

from llmux.client_keys import Access, ClientKeys
from llmux.errors import invalid_key, missing_key, problem, to_json
from llmux.headers import RawHeaders
from llmux.peers.generation import Generation, Lasting
from llmux.routing.decision import RoutingRequest
from llmux.routing.explanation import explain
from llmux.web.guards import is_loopback
from llmux.web.matching import Match, Matcher, MethodNotAllowed, NotFound
from llmux.web.routes import ROUTES
from llmux.wire.body import BodyLost, BodyTooLarge
from llmux.wire.request import Request

QUESTION_LIMIT = 64 * 1024
_JSON = (b"Content-Type", b"application/json")
_NO_STORE = (b"Cache-Control", b"no-store")


def admit_management(keys: ClientKeys, target: bytes, headers: RawHeaders, peer: str) -> None:
    """Raise the refusal for whoever may not manage: foreign pages, unknown clients, remote peers of an open daemon."""
    identity = keys.identify(headers, target)
    admit_address(headers, any_host=identity.access is Access.VALID)
    if identity.access is Access.OPEN:
        if not is_loopback(peer):
            raise problem(None, 403, "Access denied: without api-keys management is for loopback peers only")
    elif not identity.allowed:
        raise missing_key() if identity.access is Access.MISSING else invalid_key()


def admit_address(headers: RawHeaders, form: bool = False, any_host: bool = False) -> None:
    """Raise the refusal for a Host that could be anybody's unless `any_host` will do, and for pages of other origins.

    A `form` of the status page has no origin to tell, since that page gives no referrers away: whoever permits that
    asks for the token of the page instead.
    """
    named = {name.lower(): value for name, value in headers}
    host = named.get(b"host", b"").decode("latin-1")
    origin = named.get(b"origin")
    foreign = origin is not None and origin.decode("latin-1").partition("://")[2] != host
    if form and origin == b"null":
        foreign = False
    if (
        not (any_host or _is_address(host))
        or foreign
        or named.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin")
    ):
        raise problem(None, 403, "Access denied: management needs a client key or a local Host, and no foreign Origin")


def _is_address(host: str) -> bool:
    """Whether a Host is an IP address or localhost: those are the ones that cannot be rebound to another address."""
    name = host[1 : host.find("]")] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Management:
    """Answers the routes below `/llmux/`; `state` gives the numbers of the moment."""

    def __init__(
        self, current: Callable[[], Generation], lasting: Lasting, state: Callable[[], dict[str, Any]]
    ) -> None:
        self._current = current
        self._lasting = lasting
        self._state = state
        self._matcher = Matcher(ROUTES)

    async def status(self, request: Request, match: Match) -> None:
        """GET /llmux/status: generation, providers, cooldowns, credits, connections."""
        generation = self._current()
        config = generation.config
        self._answer(
            request,
            {
                "generation": generation.number,
                "digest": config.digest,
                "config": config.path,
                "listen": list(config.listen),
                "providers": [
                    {
                        "name": provider.config.name,
                        "kind": provider.config.kind,
                        "base_url": provider.config.base_url,
                        "priority": provider.config.priority,
                        "credentials": [str(key) for key in provider.config.api_keys],
                    }
                    for provider in generation.providers.values()
                ],
                "upstream": config.ampcode.upstream_url,
                "credits": {
                    "spent_today": self._lasting.credits.spent(),
                    "left_today": self._lasting.credits.left(config.ampcode.credits.daily_requests),
                },
                "cooldowns": self._cooldowns(),
                "warnings": list(generation.warnings),
                **self._state(),
            },
        )

    async def cooldowns(self, request: Request, match: Match) -> None:
        """GET /llmux/cooldowns: every credential that is left alone for a while, with the reason and its age."""
        self._answer(request, {"cooldowns": self._cooldowns()})

    async def clear_cooldowns(self, request: Request, match: Match) -> None:
        """POST /llmux/cooldowns/clear {provider?, model?}: end them, all of them without a provider."""
        asked = await self._question(request)
        self._answer(request, {"cleared": self.clear(_text(asked, "provider"), _text(asked, "model"))})

    def clear(self, provider: str | None, model: str | None) -> int:
        """End the cooldowns of a provider or of all, perhaps only those that concern a model; gives their number."""
        names = [provider] if provider else list(self._current().providers)
        return sum(self._lasting.credentials.clear(name, model) for name in names)

    async def explanation(self, request: Request, match: Match) -> None:
        """POST /llmux/explain {model, route?}: the decision tree of a model name, cooldowns included."""
        asked = await self._question(request)
        model = _text(asked, "model")
        if not model or not model.strip():
            raise problem(None, 400, "model is missing")
        self._answer(request, self.explain(model.strip(), _text(asked, "route")))

    def explain(self, model: str, route: str | None) -> dict[str, Any]:
        """The decision tree of a model name on a route given as its path; raises HTTPProblem for no such route."""
        generation = self._current()
        force = generation.config.ampcode.force_model_mappings
        return explain(generation.router, RoutingRequest(model, protocol_of(self._matcher, route), force=force))

    def _cooldowns(self) -> list[dict[str, Any]]:
        return [
            {
                "provider": row.provider,
                "credential": row.credential,
                "model": row.model,
                "reason": row.reason,
                "status": row.status,
                "failures": row.failures,
                "age": round(row.age, 1),
                "remaining": round(row.remaining, 1),
                "probing": row.probing,
            }
            for row in self._lasting.credentials.listing()
        ]

    async def _question(self, request: Request) -> dict[str, Any]:
        try:
            body = await request.body.collect(QUESTION_LIMIT)
        except BodyTooLarge:
            raise problem(None, 413) from None
        except BodyLost:
            raise problem(None, 400) from None
        try:
            asked = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise problem(None, 400, "the body is not JSON") from None
        if not isinstance(asked, dict):
            raise problem(None, 400, "the body is not a JSON object")
        return asked

    def _answer(self, request: Request, value: dict[str, Any]) -> None:
        request.respond(200, [_JSON, _NO_STORE], to_json(value))


def protocol_of(matcher: Matcher, route: str | None) -> str | None:
    """The format of a route given as its path, None without one; raises HTTPProblem for a path of no model route."""
    if not route:
        return None
    try:
        found = matcher.match("POST", route.partition("?")[0].encode("utf-8", "replace")).route.protocol
    except (NotFound, MethodNotAllowed):
        found = None
    if found is None:
        raise problem(None, 400, "route is not the path of a model route")
    return found


def _text(asked: dict[str, Any], name: str) -> str | None:
    value = asked.get(name)
    if value is not None and not isinstance(value, str):
        raise problem(None, 400, f"{name} must be a string")
    return value
