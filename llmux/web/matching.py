"""Finds the route of a request: ranking, captures and the methods of a 405 (SPEC R-RT-4, R-RT-5).

Werkzeug's own matcher, which Klein would use, works on the decoded path and ranks segment by segment; the
specification ranks whole patterns by class first and splits the raw path, so that `%2F` stays inside its segment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from llmux.web.routes import ANY, Route

LITERAL, PARAMETER, WILDCARD = 0, 1, 2


class NotFound(Exception):
    """No pattern matches the path."""


class MethodNotAllowed(Exception):
    """Patterns match the path, but none of them takes the method; `allow` lists those they take.

    `guarded` says that all of these patterns are passthrough ones.
    """

    def __init__(self, allow: tuple[str, ...], guarded: bool = False) -> None:
        super().__init__(", ".join(allow))
        self.allow = allow
        self.guarded = guarded


@dataclass(frozen=True, slots=True)
class Match:
    """A route and what its pattern captured, percent-decoded, without a leading slash; `raw` is the same as sent."""

    route: Route
    params: Mapping[str, str]
    raw: Mapping[str, str]


class _Pattern:
    """One compiled pattern: its segments as (class, text) and its rank; lower ranks win."""

    __slots__ = ("rank", "route", "segments", "wild")

    def __init__(self, route: Route, order: int) -> None:
        self.route = route
        self.segments = [_segment(part) for part in route.pattern[1:].split("/")]
        classes = tuple(kind for kind, _ in self.segments)
        self.wild = classes[-1] == WILDCARD
        self.rank = (max(classes), classes, -len(classes), -len(route.pattern), order)

    def capture(self, raw: list[bytes]) -> dict[str, str] | None:
        """The captured values as sent when the raw segments fit, else None."""
        fixed = len(self.segments) - self.wild
        if len(raw) < fixed or (len(raw) > fixed and not self.wild):
            return None
        params = {}
        for (kind, text), value in zip(self.segments[:fixed], raw, strict=False):
            if kind == LITERAL:
                if value != text.encode():
                    return None
            elif not value:
                return None
            else:
                params[text] = value.decode("latin-1")
        if self.wild:
            params[self.segments[-1][1]] = b"/".join(raw[fixed:]).lstrip(b"/").decode("latin-1")
        return params


def _segment(part: str) -> tuple[int, str]:
    if part.startswith(":"):
        return PARAMETER, part[1:]
    if part.startswith("*"):
        return WILDCARD, part[1:]
    return LITERAL, part


def _decoded(params: Mapping[str, str]) -> dict[str, str]:
    return {name: unquote(value, errors="replace") for name, value in params.items()}


def _takes(route: Route, method: str) -> bool:
    return route.methods == ANY or method in route.methods


class Matcher:
    """Matches methods and raw paths against a fixed list of routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        patterns = [_Pattern(route, order) for order, route in enumerate(routes)]
        self._patterns = sorted(patterns, key=lambda pattern: pattern.rank)

    def match(self, method: str, path: bytes) -> Match:
        """The best route for the raw path, without query; raises NotFound or MethodNotAllowed."""
        found = self._matches(method, path)
        if not isinstance(found, Match) and len(path) > 1 and path.endswith(b"/"):
            tolerated = self._matches(method, path[:-1], tolerated=True)
            found = tolerated if isinstance(tolerated, Match) else [*found, *tolerated]
        if isinstance(found, Match):
            return found
        if not found:
            raise NotFound
        allow = tuple(sorted({method for route in found for method in route.methods}))
        raise MethodNotAllowed(allow, all(route.guarded for route in found))

    def _matches(self, method: str, path: bytes, tolerated: bool = False) -> Match | list[Route]:
        raw = path[1:].split(b"/") if path.startswith(b"/") else [path]
        others: list[Route] = []
        for pattern in self._patterns:
            route = pattern.route
            if tolerated and route.kind not in ("model", "list"):
                continue
            captured = pattern.capture(raw)
            if captured is None:
                continue
            params = _decoded(captured)
            if not applies(route, method, params):
                continue
            if _takes(route, method):
                return Match(route, params, captured)
            others.append(route)
        return others


def applies(route: Route, method: str, params: Mapping[str, str]) -> bool:
    """Whether a pattern counts for what it captured: some routes look at more than their segments.

    The bridge is a model request only with `/models/` in its path (SPEC R-RT-3), and a Gemini action below the plain
    `/v1/models/` root is one only with a verb (SPEC 2.1), since GET answers for the rest. A model's name does not end
    with a slash, and to GET no name at all is to ask for the list: both leave the slash to be tolerated (R-RT-5).
    """
    if route.handler == "gemini.bridge":
        return method == "POST" and "/models/" in "/" + params["path"]
    if route.kind in ("model", "list"):
        name = params.get("action", params.get("model"))
        if name is not None and (name.endswith("/") or (route.kind == "list" and not name)):
            return False
    if route.pattern == "/v1/models/*action":
        return ":" in params["action"]
    return True
