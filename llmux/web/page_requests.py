"""The table of requests on the status page, a row for each; values in, HTML out."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import tzinfo
from html import escape

from llmux.formats.events import Usage
from llmux.web.figures import count, size, span, time_of_day
from llmux.web.journal import CUT, LEFT, OPEN, Entry

_HEAD = (
    ("time", ""),
    ("decision", ""),
    ("model", ""),
    ("served by", ""),
    ("outcome", ""),
    ("first byte", "n"),
    ("duration", "n"),
    ("in", "n"),
    ("out", "n"),
    ("sent", "n"),
)
_EMPTY = f'<tr class="empty"><td colspan="{len(_HEAD)}">No request yet. The next one appears here.</td></tr>'
_NOBODY = Usage()


def requests_table(entries: Iterable[Entry], now: float, zone: tzinfo) -> str:
    """The whole table, newest first."""
    head = "".join(
        f'<th scope="col" class="{kind}">{name}</th>' if kind else f"<th>{name}</th>" for name, kind in _HEAD
    )
    return f'<table class="requests"><thead><tr>{head}</tr></thead>{rows(entries, now, zone)}</table>'


def rows(entries: Iterable[Entry], now: float, zone: tzinfo) -> str:
    """The body of the table."""
    return f'<tbody id="rows">{"".join(row(entry, now, zone) for entry in entries)}{_EMPTY}</tbody>'


def row(entry: Entry, now: float, zone: tzinfo) -> str:
    """One request; `now` is for the duration of an open one."""
    duration = max(0.0, now - entry.started) if entry.duration is None else entry.duration
    usage = entry.usage or _NOBODY
    model = f"<b>{escape(entry.model)}</b>"
    if entry.resolved != entry.model:
        model += f"<span>\N{RIGHTWARDS ARROW} {escape(entry.resolved)}</span>"
    cached = f' title="{count(usage.cache_read)} from a cache"' if usage.cache_read else ""
    thought = f' title="{count(usage.reasoning)} of them for reasoning"' if usage.reasoning else ""
    return (
        f'<tr id="r{entry.number}" class="{entry.outcome}">'
        f'<td class="when">{time_of_day(entry.started, zone)}</td>'
        f'<td class="route"><span class="pill {escape(entry.route.lower())}">{escape(words(entry.route))}</span></td>'
        f'<td class="model">{model}<small>{escape(entry.protocol)}: {escape(entry.reason)}</small></td>'
        f'<td class="by">{escape(entry.provider)}</td>'
        f'<td class="outcome">{_outcome(entry)}</td>'
        f'<td class="n" data-n="first byte">{span(entry.first_byte)}</td>'
        f'<td class="n" data-n="duration">{span(duration)}</td>'
        f'<td class="n" data-n="in"{cached}>{count(usage.input)}</td>'
        f'<td class="n" data-n="out"{thought}>{count(usage.output)}</td>'
        f'<td class="n" data-n="sent">{size(entry.size)}</td></tr>'
    )


def words(route: str) -> str:
    """A route type in the words of people."""
    return route.replace("_", " ").lower()


def _outcome(entry: Entry) -> str:
    if entry.outcome is OPEN:
        return "<span>waiting</span>" if entry.first_byte is None else "<span>streaming</span>"
    if entry.outcome is LEFT:
        return "<span>client left</span>"
    if entry.outcome is CUT:
        why = f"<small>{escape(entry.failure)}</small>" if entry.failure else ""
        return f"<span>cut</span>{why}"
    return f"<span>{entry.status or 'failed'}</span>"
