"""The one table of routes (SPEC 2.1): the Klein app, the 405 answers and `llmux routes` are made from it.

In a pattern `:name` is one path segment and `*name` the rest of the path. `protocol` is the wire format that the path
implies; `credits_prefix` is what the upstream needs in front of a plain SDK path (SPEC R-RT-13).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

ANY: tuple[str, ...] = ("*",)
GET = ("GET", "HEAD")
POST = ("POST",)


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the table; `kind` is model, list, passthrough or local.

    `key` is required, bypassed, none, or management: the client key, or a loopback peer while there are no keys.
    """

    methods: tuple[str, ...]
    pattern: str
    kind: str
    handler: str
    key: str = "required"
    protocol: str | None = None
    credits_prefix: str = ""

    @property
    def guarded(self) -> bool:
        """Whether the passthrough guards of SPEC 2.4 apply."""
        return self.kind == "passthrough"


ANTHROPIC = "/api/provider/anthropic"
OPENAI = "/api/provider/openai"
GOOGLE = "/api/provider/google"
P = "/api/provider/:provider"
PROXY = "upstream.proxy"


def _model(pattern: str, handler: str, protocol: str, credits_prefix: str = "") -> Route:
    return Route(POST, pattern, "model", handler, "required", protocol, credits_prefix)


def _list(pattern: str, handler: str) -> Route:
    return Route(GET, pattern, "list", handler)


def _pass(methods: tuple[str, ...], pattern: str, key: str = "required") -> Route:
    return Route(methods, pattern, "passthrough", PROXY, key)


def _local(pattern: str, handler: str, key: str = "none") -> Route:
    return Route(GET, pattern, "local", handler, key)


def _manage(methods: tuple[str, ...], pattern: str, handler: str) -> Route:
    return Route(methods, pattern, "local", handler, "management")


def _tree(methods: tuple[str, ...], root: str, key: str = "required") -> Iterator[Route]:
    yield _pass(methods, root, key)
    yield _pass(methods, f"{root}/*path", key)


MANAGEMENT = ("internal", "user", "auth", "meta", "ads", "telemetry", "threads", "thread-actors", "otel", "tab")
FORMS = ("sign-in", "sign-out", "clear")
MANAGED = (("status", "manage.status"), ("cooldowns", "manage.cooldowns"))

ROUTES: tuple[Route, ...] = (
    # model routes below a provider segment, which is free text (SPEC R-RT-1)
    _model(f"{P}/chat/completions", "openai.chat", "chat"),
    _model(f"{P}/v1/chat/completions", "openai.chat", "chat"),
    _model(f"{P}/completions", "openai.completions", "completions"),
    _model(f"{P}/v1/completions", "openai.completions", "completions"),
    _model(f"{P}/responses", "openai.responses", "responses"),
    _model(f"{P}/v1/responses", "openai.responses", "responses"),
    _model(f"{P}/v1/responses/input_tokens", "openai.count_tokens", "responses"),
    _model(f"{P}/v1/messages", "anthropic.messages", "anthropic"),
    _model(f"{P}/v1/messages/count_tokens", "anthropic.count_tokens", "anthropic"),
    _model(f"{P}/v1beta/models/*action", "gemini.generate", "gemini"),
    _model(f"{GOOGLE}/v1beta1/*path", "gemini.bridge", "gemini"),
    # the plain roots of the SDKs (DESIGN D-45)
    _model("/v1/chat/completions", "openai.chat", "chat", OPENAI),
    _model("/v1/completions", "openai.completions", "completions", OPENAI),
    _model("/v1/responses", "openai.responses", "responses", OPENAI),
    _model("/v1/responses/input_tokens", "openai.count_tokens", "responses", OPENAI),
    _model("/v1/messages", "anthropic.messages", "anthropic", ANTHROPIC),
    _model("/v1/messages/count_tokens", "anthropic.count_tokens", "anthropic", ANTHROPIC),
    _model("/v1beta/models/*action", "gemini.generate", "gemini", GOOGLE),
    _model("/v1/models/*action", "gemini.generate", "gemini", GOOGLE),
    # model lists
    _list(f"{P}/models", "models.list"),
    _list(f"{P}/v1/models", "models.list"),
    _list(f"{P}/v1beta/models", "models.gemini"),
    _list(f"{P}/v1beta/models/*action", "gemini.model_get"),
    _list("/v1/models", "models.by_headers"),
    _list("/v1/models/*model", "models.get"),
    _list("/v1beta/models", "models.gemini"),
    _list("/v1beta/models/*action", "gemini.model_get"),
    # the upstream's own pages and calls
    *(route for name in MANAGEMENT for route in _tree(ANY, f"/api/{name}")),
    _pass(ANY, f"{GOOGLE}/v1beta1/*path"),
    *_tree(GET, "/threads", "bypassed"),
    *_tree(GET, "/docs", "bypassed"),
    *_tree(GET, "/settings", "bypassed"),
    *_tree(ANY, "/auth", "bypassed"),
    _pass(GET, "/threads.rss"),
    _pass(GET, "/news.rss"),
    # answered here
    _local("/healthz", "health"),
    _local("/health", "health"),
    _local("/readyz", "ready"),
    _manage(GET, "/metrics", "metrics"),
    _manage(GET, "/llmux", "page.show"),
    _manage(GET, "/llmux/", "page.show"),
    _manage(GET, "/llmux/events", "page.events"),
    *(_manage(POST, f"/llmux/{name}", f"page.{name}") for name in FORMS),
    *(_manage(GET, f"/llmux/{name}", "page.show") for name in FORMS),
    *(_manage(GET, f"/llmux/{name}", handler) for name, handler in MANAGED),
    _manage(POST, "/llmux/cooldowns/clear", "manage.clear"),
    _manage(POST, "/llmux/explain", "manage.explain"),
    _manage(ANY, "/llmux/*rest", "manage.unknown"),
)

# What no pattern matches goes to the upstream when there is one (DESIGN D-44, SPEC R-RT-8).
UNMATCHED = _pass(ANY, "/*path")


def listing_handler(route: Route, provider: str) -> str:
    """The handler name of a list route once its provider segment is known (SPEC R-RT-2)."""
    if route.handler != "models.list":
        return route.handler
    return {"anthropic": "models.anthropic", "google": "models.gemini"}.get(provider.lower(), "models.openai")


def table() -> list[tuple[str, str, str, str, str]]:
    """Rows of (methods, pattern, kind, key, handler) for people, in the order of the table."""
    return [
        (
            "any" if route.methods == ANY else ",".join(route.methods),
            route.pattern,
            route.kind,
            route.key,
            route.handler,
        )
        for route in (*ROUTES, UNMATCHED)
    ]
