"""The status page as HTML: one document with its style and its script in it; values in, bytes out.

Every part that changes has an id, so that `live` can send the same HTML again and the script can put it in place.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from hashlib import sha256
from html import escape
from importlib.resources import files
from typing import Any

from llmux.headers import RawHeaders
from llmux.peers.credentials import Cooldown
from llmux.web.figures import NOTHING, count, moment, rounded, span
from llmux.web.journal import KEPT, WAITS, Hour, quantile

ROOT = "/llmux/"
STYLE, SCRIPT = ((files("llmux.web") / "static" / name).read_text("utf-8") for name in ("page.css", "page.js"))
_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath fill='none' "
    "stroke='%234766d8' stroke-width='2.4' stroke-linecap='round' d='M2 3h3l6 10h3M2 13h3L11 3h3'/%3E%3C/svg%3E"
)

_SECTIONS = (
    ("hours", "Last 24 hours"),
    ("requests", "Requests"),
    ("cooling", "Cooldowns"),
    ("explain", "Explain"),
    ("config", "Configuration"),
)
_NAV = f"<nav>{''.join(f'<a href=#{place}>{name}</a>' for place, name in _SECTIONS)}</nav>"


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {_hash(STYLE)}",
        f"script-src {_hash(SCRIPT)}",
        "connect-src 'self'",
        "img-src data:",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types llmux",
    )
)
PROTECTION: RawHeaders = [
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
]
# The opener policy keeps even a page of the same origin, which the upstream's pages are, from holding this one.
HEADERS: RawHeaders = [
    (b"Content-Type", b"text/html; charset=utf-8"),
    (b"Content-Security-Policy", _POLICY.encode()),
    (b"X-Frame-Options", b"DENY"),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    *PROTECTION,
]


@dataclass(frozen=True, slots=True)
class Facts:
    """The numbers of the moment; `left` is None without a daily limit, `spent` None without an upstream."""

    draining: bool
    streams: int
    tunnels: int
    connections: int
    idle: int
    spent: int | None
    left: int | None
    cooldowns: int


@dataclass(frozen=True, slots=True)
class Page:
    """What the page shows; the fields that end in `part` are HTML. `token` proves that a form came from this page."""

    version: str
    token: str
    signed_in: bool
    rows: int
    kept: int
    about_part: str
    warnings_part: str
    facts_part: str
    requests_part: str
    day_part: str
    cooldowns_part: str
    explain_part: str
    config_part: str


def document(page: Page) -> bytes:
    """The whole page."""
    signed = _form("sign-out", page.token, '<button class="plain">Sign out</button>') if page.signed_in else ""
    more = ""
    if page.rows < page.kept:
        more = f'<p class="more"><a href="{ROOT}?rows={KEPT}#requests">Show all {page.kept} that are kept</a></p>'
    body = (
        f"<header><h1>llmux <small>{escape(page.version)}</small></h1>{_NAV}"
        f'<p class="live" id="live" hidden></p>{signed}{page.about_part}</header><main>'
        f"{page.warnings_part}{page.facts_part}"
        f'<section id="hours"><h2>Last 24 hours</h2>{page.day_part}</section>'
        f'<section id="requests"><h2>Requests</h2>{page.requests_part}{more}</section>'
        f'<section id="cooling"><h2>Cooldowns</h2>{page.cooldowns_part}</section>'
        f'<section id="explain"><h2>Explain</h2>{page.explain_part}</section>'
        f'<section id="config"><h2>Configuration in force</h2>{page.config_part}</section></main>'
    )
    events = f"{ROOT}events?rows={page.rows}&token={page.token}"
    return _shell("llmux", body, f' data-events="{escape(events)}" data-rows="{page.rows}"')


def about(listen: Sequence[str], path: str | None, generation: int, digest: str) -> str:
    """Where the daemon listens, and which configuration is in force."""
    return (
        f'<p class="about" id="about">Listening on {_codes(listen)}. Configuration '
        f"{escape(path or 'built-in defaults')}, generation {generation}, "
        f'digest <code title="{escape(digest)}">{escape(digest[:12] or "none")}</code>.</p>'
    )


def warnings(texts: Sequence[str]) -> str:
    """What is worth a second look in the configuration."""
    rows = "".join(f"<li>{escape(text)}</li>" for text in texts)
    return f'<ul class="warnings" id="warnings"{"" if rows else " hidden"}>{rows}</ul>'


def sign_in(token: str, problem: str = "") -> bytes:
    """The page for a browser that has not shown a client key."""
    said = f'<p class="problem" role="alert">{escape(problem)}</p>' if problem else ""
    # The name is for password managers, which file a key under one.
    fields = (
        '<input name="user" autocomplete="username" value="llmux" hidden><label for="key">Client key</label>'
        '<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>'
        "<button>Sign in</button>"
    )
    form = _form("sign-in", token, fields)
    return _shell(
        "llmux: sign in",
        f'<main class="sign-in"><h1>llmux</h1>{said}{form}'
        "<p>One of the <code>api-keys</code> of the configuration. It is checked and not kept in this browser.</p>"
        "</main>",
    )


def refused(status: int, problem: str) -> bytes:
    """A short page that tells why something was not done."""
    back = f'<p><a href="{ROOT}">To the status page</a></p>'
    body = f'<main class="sign-in"><h1>{status}</h1><p>{escape(problem)}</p>{back}</main>'
    return _shell(f"llmux: {status}", body)


def facts(state: Facts, hours: Sequence[Hour]) -> str:
    """The numbers of the moment and the sums of the day."""
    requests = sum(hour.requests for hour in hours)
    failed = sum(hour.failed for hour in hours)
    cut = sum(hour.cut for hour in hours)
    read, written = sum(hour.input for hour in hours), sum(hour.output for hour in hours)
    waits = [sum(hour.waits[place] for hour in hours) for place in range(WAITS)]
    tiles = [
        ("state", "draining" if state.draining else "serving", "warn" if state.draining else "good"),
        ("streams open", count(state.streams), ""),
        ("requests, 24 h", count(requests), ""),
        ("failed", count(failed), "bad" if failed else ""),
        ("cut off", count(cut), "bad" if cut else ""),
        ("tokens in", rounded(read), ""),
        ("tokens out", rounded(written), ""),
        ("first byte, median", span(quantile(waits, 0.5)), ""),
        ("cooldowns", count(state.cooldowns), "warn" if state.cooldowns else ""),
        ("connections, idle", f"{state.connections}, {state.idle}", ""),
        ("tunnels", count(state.tunnels), ""),
    ]
    left = "" if state.spent is None or state.left is None else f" of {state.spent + state.left:,}"
    tiles.append(("paid today", f"{count(state.spent)}{left}", "warn" if state.spent else ""))
    return '<dl id="facts">{}</dl>'.format(
        "".join(f'<div class="{kind}"><dt>{name}</dt><dd>{value}</dd></div>' for name, value, kind in tiles)
    )


def cooldowns(rows: Sequence[Cooldown], now: float, zone: tzinfo, token: str) -> str:
    """Credentials that are left alone for a while, each with a button that ends it.

    Moments are told instead of seconds that run, so that the part stays the same while nothing happens.
    """
    if not rows:
        return '<div id="cooldowns"><p class="empty">None: every credential is in use.</p></div>'
    head = "".join(
        f'<th scope="col">{name}</th>'
        for name in ("provider", "credential", "model", "reason", "failures", "since", "until", "")
    )
    body = "".join(_cooldown(row, now, zone, token) for row in rows)
    everything = ""
    if len(rows) > 1:
        everything = _form("clear", token, '<button id="clear-all">Clear all</button>')
    return (
        f'<div id="cooldowns"><table class="cooldowns"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        f"{everything}</div>"
    )


def _cooldown(row: Cooldown, now: float, zone: tzinfo, token: str) -> str:
    reason = f"{row.reason}, {row.status}" if row.status else row.reason
    if row.probing:
        until = "a probe is under way"
    elif row.remaining:
        until = f"{moment(round(now + row.remaining), zone):%H:%M:%S}"
    else:
        until = "the next request probes"
    named = f"{row.provider} {row.model or ''}".strip()
    fields = f'<input type="hidden" name="provider" value="{escape(row.provider)}">'
    if row.model is not None:
        fields += f'<input type="hidden" name="model" value="{escape(row.model)}">'
    fields += f'<button id="clear {escape(named)}" aria-label="Clear {escape(named)}">Clear</button>'
    return (
        f'<tr><th scope="row">{escape(row.provider)}</th>'
        f'<td data-n="credential"><code>{escape(row.credential)}</code></td>'
        f'<td data-n="model">{"all" if row.model is None else escape(row.model)}</td>'
        f'<td data-n="reason">{escape(reason)}</td><td data-n="failures">{row.failures}</td>'
        f'<td data-n="since">{moment(round(now - row.age), zone):%H:%M:%S}</td><td data-n="until">{until}</td>'
        f"<td>{_form('clear', token, fields)}</td></tr>"
    )


def explain_form(model: str, route: str, routes: Sequence[str]) -> str:
    """The question which way a model name would go; it is a GET and changes nothing."""
    known = ("", *routes)
    options = "".join(
        f'<option value="{escape(each)}"{" selected" if each == route else ""}>{escape(each) or "any format"}</option>'
        for each in (known if route in known else (*known, route))
    )
    return (
        f'<form method="get" action="{ROOT}#explain" class="ask"><label>Model <input name="explain" required '
        f'value="{escape(model)}" placeholder="claude-opus-4-7(high)" autocomplete="off" autocapitalize="off" '
        f'spellcheck="false"></label><label>Route <select name="route">{options}</select></label>'
        "<button>Explain</button></form>"
    )


def explanation(found: dict[str, Any]) -> str:
    """A decision with everything that led to it, from `llmux.routing.explanation`."""
    steps = "".join(
        f"<li><b>{escape(step['subject'])}</b> {escape(step['detail'])}"
        f"<span class=then>{escape(step['outcome'])}</span></li>"
        for step in found["steps"]
    )
    attempts = "".join(f"<li>{_attempt(attempt)}</li>" for attempt in found["attempts"])
    plan = f"<h3>Asked in this order</h3><ol>{attempts}</ol>" if attempts else ""
    route = found["route_type"]
    refusal = f"<p>{escape(found['refusal'])}</p>" if found["refusal"] else ""
    return (
        f'<div class="decision"><p><span class="pill {escape(route.lower())}">{escape(route.replace("_", " ").lower())}'
        f"</span> {escape(found['reason'])}</p>{refusal}<ol class=steps>{steps}</ol>{plan}</div>"
    )


def _attempt(attempt: dict[str, Any]) -> str:
    notes = []
    if attempt["sent_as"] != attempt["model"]:
        notes.append(f"sent as {attempt['sent_as']}")
    if attempt["translated"]:
        notes.append("translated")
    if not attempt["ready"]:
        notes.append("cooling down")
    tail = f" <small>{escape(', '.join(notes))}</small>" if notes else ""
    return f"<b>{escape(attempt['model'])}</b> at {escape(attempt['provider'])}{tail}"


def problem(text: str) -> str:
    """What is wrong with a question."""
    return f'<p class="problem" role="alert">{escape(text)}</p>'


def event(parts: Sequence[str]) -> bytes:
    """One server-sent event with parts that are to be put in place."""
    return b"data: %b\n\n" % json.dumps(list(parts), separators=(",", ":")).encode()


def _form(action: str, token: str, fields: str) -> str:
    return (
        f'<form method="post" action="{ROOT}{action}"><input type="hidden" name="token" value="{escape(token)}">'
        f"{fields}</form>"
    )


def _codes(texts: Sequence[str]) -> str:
    return ", ".join(f"<code>{escape(text)}</code>" for text in texts) or NOTHING


def _shell(title: str, body: str, attributes: str = "") -> bytes:
    script = f"<script>{SCRIPT}</script>" if attributes else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><link rel="icon" href="{_ICON}">'
        f"<style>{STYLE}</style></head><body{attributes}>{body}{script}</body></html>"
    ).encode("utf-8", "replace")
