"""The charts of the last day on the status page, with the same numbers as a table; values in, HTML out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from html import escape

from llmux.routing.decision import RouteType
from llmux.web.charts import Chart, Series, lines, nice, stacked
from llmux.web.figures import count, moment, rounded, span
from llmux.web.journal import HOUR, WAITS, Hour, quantile
from llmux.web.page_requests import words

ROUTES = tuple(route.value for route in RouteType)


def day(hours: Sequence[Hour], zone: tzinfo) -> str:
    """Requests, tokens and waiting times of each hour, the current hour last."""
    starts = [moment(hour.number * HOUR, zone) for hour in hours]
    labels = [f"{start:%H:%M}" for start in starts]
    charts = _requests(hours, labels) + _tokens(hours, labels) + _waits(hours, labels)
    return f'<div id="day"><div class="charts">{charts}</div>{_table(hours, labels)}</div>'


def _requests(hours: Sequence[Hour], labels: Sequence[str]) -> str:
    highest = nice(max(hour.requests for hour in hours))
    series = [
        Series(words(route), route.lower(), values, rounded(sum(values)))
        for route in ROUTES
        if (values := [hour.routes.get(route, 0) for hour in hours])
    ]
    titles = [
        f"{label}: {', '.join(f'{count(n)} {words(route)}' for route, n in hour.routes.items()) or 'none'}"
        for label, hour in zip(labels, hours, strict=True)
    ]
    total = count(sum(hour.requests for hour in hours))
    return stacked(Chart("Requests an hour", series, labels, titles, rounded(highest), highest, total=total))


def _tokens(hours: Sequence[Hour], labels: Sequence[str]) -> str:
    highest = nice(max(hour.input + hour.output for hour in hours))
    parts = (
        ("input", "input", [max(hour.input - hour.cached, 0) for hour in hours]),
        ("input from a cache", "cached", [min(hour.cached, hour.input) for hour in hours]),
        ("output", "output", [hour.output for hour in hours]),
    )
    series = [Series(name, colour, values, rounded(sum(values))) for name, colour, values in parts]
    titles = [
        f"{label}: {count(hour.input)} input, {count(hour.cached)} of it from a cache, {count(hour.output)} output"
        for label, hour in zip(labels, hours, strict=True)
    ]
    total = rounded(sum(hour.input + hour.output for hour in hours))
    return stacked(Chart("Tokens an hour", series, labels, titles, rounded(highest), highest, total=total))


def _waits(hours: Sequence[Hour], labels: Sequence[str]) -> str:
    half, most = [hour.wait(0.5) for hour in hours], [hour.wait(0.9) for hour in hours]
    highest = nice(max((wait for wait in most if wait is not None), default=0.0))
    top = f"{highest:g} s" if highest >= 1 else f"{highest * 1000:g} ms"
    together = [sum(hour.waits[place] for hour in hours) for place in range(WAITS)]
    series = [
        Series("half within", "half", half, span(quantile(together, 0.5))),
        Series("nine in ten within", "most", most, span(quantile(together, 0.9))),
    ]
    titles = [
        f"{label}: half within {span(first)}, nine in ten within {span(second)}"
        for label, first, second in zip(labels, half, most, strict=True)
    ]
    return lines(Chart("Time to the first byte", series, labels, titles, top, highest))


def _table(hours: Sequence[Hour], labels: Sequence[str]) -> str:
    """The numbers behind the charts, busy hours only."""
    names = [words(route) for route in ROUTES]
    names += ["failed", "cut", "client left", "tokens in", "cached", "out", "half within", "nine in ten"]
    head = "".join(f'<th scope="col" class="n">{escape(name)}</th>' for name in names)
    body = "".join(
        f'<tr><th scope="row">{label}</th>{"".join(f"<td class=n>{value}</td>" for value in _numbers(hour))}</tr>'
        for label, hour in zip(labels, hours, strict=True)
        if hour.requests or hour.input or hour.output or sum(hour.waits)
    )
    body = body or f'<tr><td colspan="{len(names) + 1}">No request in the last 24 hours.</td></tr>'
    return (
        '<details id="numbers"><summary>The same as numbers</summary><div class="wide"><table>'
        f'<thead><tr><th scope="col">hour</th>{head}</tr></thead><tbody>{body}</tbody></table></div></details>'
    )


def _numbers(hour: Hour) -> list[str]:
    counts = [*(hour.routes.get(route, 0) for route in ROUTES), hour.failed, hour.cut, hour.left]
    counts += [hour.input, hour.cached, hour.output]
    return [*map(count, counts), span(hour.wait(0.5)), span(hour.wait(0.9))]
