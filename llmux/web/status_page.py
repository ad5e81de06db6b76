"""The routes of the status page: who may see it, what it shows, and what its forms do (HOSTILE 2, rule 13).

A browser's session opens nothing but this page and what carries the page's token: other pages of the same origin,
which the upstream's are, can send the cookie along and still read and change nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import parse_qsl

from llmux import __version__
from llmux.client_keys import Access, ClientKeys
from llmux.errors import HTTPProblem, invalid_key, missing_key, problem
from llmux.headers import RawHeaders
from llmux.peers.generation import Generation, Lasting
from llmux.targets import split_target
from llmux.web import page
from llmux.web.guards import is_loopback
from llmux.web.journal import KEPT, Entry, Journal
from llmux.web.live import Live
from llmux.web.management import QUESTION_LIMIT, Management, admit_address
from llmux.web.matching import Match
from llmux.web.page_config import configuration
from llmux.web.page_day import day
from llmux.web.page_requests import requests_table, row, rows
from llmux.web.routes import ROUTES
from llmux.web.visitors import Visitor, Visitors, cookie, port_of, proves
from llmux.wire.body import BodyLost, BodyTooLarge
from llmux.wire.request import Request

# The plain roots of the table, with a model where the path has one.
ASKED_ROUTES = tuple(
    route.pattern.replace("*action", "MODEL:generateContent")
    for route in ROUTES
    if route.kind == "model" and route.credits_prefix and not route.handler.endswith("count_tokens")
)
ROWS = 30
_LONGEST_QUESTION = 1024


class StatusPage:
    """Answers the routes of the page; `state` gives the numbers of the moment, `keys` the client keys in force."""

    def __init__(
        self,
        current: Callable[[], Generation],
        keys: Callable[[], ClientKeys],
        lasting: Lasting,
        journal: Journal,
        management: Management,
        state: Callable[[], dict[str, Any]],
        clock: Any,
    ) -> None:
        self._current = current
        self._keys = keys
        self._lasting = lasting
        self._journal = journal
        self._management = management
        self._state = state
        self._clock = clock
        self._visitors = Visitors(clock.seconds)
        self._told: tuple[Generation, list[str]] | None = None
        self.live = Live(journal, self, clock, lambda: bool(state()["draining"]))

    # the routes

    async def show(self, request: Request, match: Match) -> None:
        """GET /llmux/: the page, or the form for signing in."""
        admit_address(request.headers)
        if request.path != page.ROOT.encode():
            # Without its slash, or the address that a form left in the browser.
            self._back(request)
            return
        if request.header(b"sec-fetch-dest") not in (None, b"document"):
            raise problem(None, 403, "Access denied: the status page is to be opened, not fetched")
        visitor = self._visitor(request)
        if visitor is None:
            self._ask_to_sign_in(request)
            return
        query = _fields(split_target(request.uri)[1])
        count = KEPT if query.get("rows") == str(KEPT) else ROWS
        status, explained = self._explained(query)
        request.respond(status, page.HEADERS, self._document(visitor, count, explained))

    async def sign_in(self, request: Request, match: Match) -> None:
        """POST /llmux/sign-in {key}: begin a session."""
        fields = await self._form(request)
        token = self._visitors.sign_in_token
        if not proves(token, fields.get("token", "")):
            request.respond(403, page.HEADERS, page.sign_in(token, "This form was too old. Please try again."))
            return
        keys = self._keys()
        if keys.identify([], b"").access is Access.OPEN:
            self._back(request)
            return
        visitor = self._visitors.sign_in(keys, fields.get("key", "").strip())
        if visitor is None:
            request.respond(401, page.HEADERS, page.sign_in(token, "That is not one of the client keys."))
            return
        self._back(request, cookie=cookie(visitor, port_of(request.headers), request.isSecure()))

    async def sign_out(self, request: Request, match: Match) -> None:
        """POST /llmux/sign-out: end the session."""
        visitor, _ = await self._action(request)
        self._visitors.sign_out(visitor)
        nobody = Visitor("", "")
        self._back(request, cookie=cookie(nobody, port_of(request.headers), request.isSecure()))

    async def clear(self, request: Request, match: Match) -> None:
        """POST /llmux/clear {provider?, model?}: end cooldowns, all of them without a provider."""
        _, fields = await self._action(request)
        self._management.clear(fields.get("provider"), fields.get("model"))
        self._back(request, "#cooling")

    async def events(self, request: Request, match: Match) -> None:
        """GET /llmux/events: the server-sent events of an open page."""
        admit_address(request.headers)
        query = _fields(split_target(request.uri)[1])
        visitor = self._visitor(request)
        if visitor is None or not proves(visitor.token, query.get("token", "")):
            raise problem(None, 403, "Access denied: this is for an open status page")
        count = KEPT if query.get("rows") == str(KEPT) else ROWS
        peer = request.peer

        def allowed() -> bool:
            keys = self._keys()
            if visitor.session:
                return self._visitors.holds(visitor, keys)
            identity = keys.identify(request.headers, request.uri)
            return identity.allowed and (identity.access is not Access.OPEN or is_loopback(peer))

        if not self.live.join(request, count, visitor.token, allowed):
            raise problem(None, 503, "too many open status pages", headers=[(b"Retry-After", b"15")])

    # who it is

    def _visitor(self, request: Request) -> Visitor | None:
        """Whoever may see the page; None for a client that may not, raises for one that cannot sign in either."""
        keys = self._keys()
        identity = keys.identify(request.headers, request.uri)
        if identity.access is Access.OPEN:
            if not is_loopback(request.peer):
                raise problem(None, 403, "Access denied: without api-keys management is for loopback peers only")
            return self._visitors.without_session()
        if identity.access is Access.VALID:
            return self._visitors.without_session()
        visitor = self._visitors.recognise(keys, request.headers)
        if visitor is None and b"text/html" not in (request.header(b"accept") or b""):
            raise missing_key() if identity.access is Access.MISSING else invalid_key()
        return visitor

    def _ask_to_sign_in(self, request: Request) -> None:
        request.respond(401, page.HEADERS, page.sign_in(self._visitors.sign_in_token))

    async def _action(self, request: Request) -> tuple[Visitor, dict[str, str]]:
        """The fields of a form that changes something, from somebody who may send it."""
        fields = await self._form(request)
        visitor = self._visitor(request)
        if visitor is None:
            raise self._refusal(401, "The session is over. Open the page again to sign in.")
        if not proves(visitor.token, fields.get("token", "")):
            raise self._refusal(403, "This form was too old. Please try again.")
        return visitor, fields

    async def _form(self, request: Request) -> dict[str, str]:
        """The fields of a form of this page.

        A page without referrers makes browsers say `Origin: null`, as any page may; the token tells them apart.
        """
        admit_address(request.headers, form=True)
        try:
            body = await request.body.collect(QUESTION_LIMIT)
        except BodyTooLarge:
            raise problem(None, 413) from None
        except BodyLost:
            raise problem(None, 400) from None
        return _fields(bytes(body))

    def _refusal(self, status: int, text: str) -> HTTPProblem:
        return HTTPProblem(status, page.refused(status, text), page.HEADERS, text)

    def _back(self, request: Request, place: str = "", cookie: bytes | None = None) -> None:
        """To the page, so that reloading it does not send the form again."""
        headers: RawHeaders = [(b"Location", f"{page.ROOT}{place}".encode()), *page.PROTECTION]
        if cookie is not None:
            headers.append((b"Set-Cookie", cookie))
        request.respond(303, headers)

    # what it shows

    def _document(self, visitor: Visitor, count: int, explained: str) -> bytes:
        facts, hours, cooling, about, warnings, settings = self.parts(visitor.token)
        entries = self._journal.newest(count)
        return page.document(
            page.Page(
                version=__version__,
                token=visitor.token,
                signed_in=bool(visitor.session),
                rows=count,
                kept=self._journal.kept,
                about_part=about,
                warnings_part=warnings,
                facts_part=facts,
                requests_part=requests_table(entries, self._clock.seconds(), zone()),
                day_part=hours,
                cooldowns_part=cooling,
                explain_part=explained,
                config_part=settings,
            )
        )

    def _explained(self, query: dict[str, str]) -> tuple[int, str]:
        """The form with its answer, and the status of the page."""
        model, route = query.get("explain", "").strip(), query.get("route", "")
        form = page.explain_form(model, route, ASKED_ROUTES)
        if not model:
            return 200, form
        if len(model) + len(route) > _LONGEST_QUESTION:
            return 400, form + page.problem("That is longer than any model name.")
        try:
            return 200, form + page.explanation(self._management.explain(model, route or None))
        except HTTPProblem as refusal:
            return refusal.status, form + page.problem(str(refusal))

    def rows(self, entries: Sequence[Entry]) -> list[str]:
        """The rows of requests."""
        now, here = self._clock.seconds(), zone()
        return [row(entry, now, here) for entry in entries]

    def all_rows(self, count: int) -> str:
        """The whole list of requests."""
        return rows(self._journal.newest(count), self._clock.seconds(), zone())

    def parts(self, token: str) -> list[str]:
        """The numbers, the charts, the cooldowns, and the configuration in force with its generation and warnings."""
        state = self._state()
        config = self._current().config
        credits = self._lasting.credits
        cooling = self._lasting.credentials.listing()
        hours = self._journal.hours()
        paid = config.ampcode.upstream_url is not None
        facts = page.Facts(
            draining=state["draining"],
            streams=state["streams"],
            tunnels=state["tunnels"],
            connections=state["upstream_connections"]["open"],
            idle=state["upstream_connections"]["idle"],
            spent=credits.spent() if paid else None,
            left=credits.left(config.ampcode.credits.daily_requests) if paid else None,
            cooldowns=len(cooling),
        )
        here = zone()
        now = self._clock.seconds()
        told = [page.facts(facts, hours), day(hours, here), page.cooldowns(cooling, now, here, token)]
        return told + self._in_force()

    def _in_force(self) -> list[str]:
        """What changes with a reload only, written once for each generation."""
        generation = self._current()
        if self._told is None or self._told[0] is not generation:
            config = generation.config
            about = page.about(config.listen, config.path, generation.number, config.digest)
            self._told = generation, [about, page.warnings(generation.warnings), configuration(config)]
        return self._told[1]


def zone() -> tzinfo:
    """The time zone of this machine, as it is now."""
    return datetime.now().astimezone().tzinfo or UTC


def _fields(data: bytes) -> dict[str, str]:
    """The fields of a form or query as text; the first of equal names counts."""
    try:
        pairs = parse_qsl(data.decode("latin-1"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return {}
    return dict(reversed(pairs))
