"""Charts as SVG inside HTML: bars that stand on each other, and lines; values in, text out.

The SVG holds shapes only and is stretched to the width it gets; all text is HTML around it, so that it keeps its size
on a phone. A colour is a class, which the style sheet gives a meaning in light and in dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10

WIDTH = 480
HEIGHT = 120
_GAP = 0.22  # share of a bar's place that is left empty


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart: its name for people, its class, and a value for each place; None leaves a line's gap."""

    name: str
    colour: str
    values: Sequence[float | None]
    total: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart shows: `labels` name the places, of which every `label_every`th is written below it.

    `scale` formats a value at the upper end of the scale, `titles` are what a place says when it is pointed at.
    """

    title: str
    series: Sequence[Series]
    labels: Sequence[str]
    titles: Sequence[str]
    top: str
    highest: float
    label_every: int = 6
    total: str = ""


def nice(highest: float) -> float:
    """The least round number that is not below a value: 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 25, 30 and so on; 1 for 0."""
    if highest <= 0:
        return 1.0
    unit = 10.0 ** floor(log10(highest))
    steps = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 20) if unit >= 10 else (1, 2, 3, 4, 5, 6, 8, 10, 20)
    return next(step * unit for step in steps if step * unit >= highest)


def stacked(chart: Chart) -> str:
    """Bars that stand on each other, one for each place."""
    places = len(chart.labels)
    width = WIDTH / max(places, 1)
    bars = []
    for place in range(places):
        base = 0.0
        for series in chart.series:
            value = series.values[place] or 0.0
            if value <= 0:
                continue
            # A single request among thousands is still to be seen.
            high = max(HEIGHT * value / chart.highest, 1.5)
            y = max(HEIGHT - base - high, 0.0)
            bars.append(
                f'<rect class="{series.colour}" x="{_n(place * width + width * _GAP / 2)}" y="{_n(y)}"'
                f' width="{_n(width * (1 - _GAP))}" height="{_n(min(high, HEIGHT - base))}"/>'
            )
            base = min(base + high, HEIGHT)
    return _figure(chart, "".join(bars))


def lines(chart: Chart) -> str:
    """A line for each series through the middle of its places; a place without a value interrupts it."""
    width = WIDTH / max(len(chart.labels), 1)
    drawn = []
    for series in chart.series:
        for first, run in _runs(series.values):
            points = [
                (width * (first + number + 0.5), HEIGHT - HEIGHT * min(value, chart.highest) / chart.highest)
                for number, value in enumerate(run)
            ]
            if len(points) == 1:
                # One value alone has no length: it is drawn as wide as a bar.
                (x, y), half = points[0], width * (1 - _GAP) / 2
                points = [(x - half, y), (x + half, y)]
            path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
            drawn.append(f'<polyline class="{series.colour}" points="{path}"/>')
    return _figure(chart, "".join(drawn))


def _runs(values: Sequence[float | None]) -> list[tuple[int, list[float]]]:
    """Stretches of values without a gap, with the place where each begins."""
    runs: list[tuple[int, list[float]]] = []
    open_run = False
    for place, value in enumerate(values):
        if value is None:
            open_run = False
        elif open_run:
            runs[-1][1].append(value)
        else:
            runs.append((place, [value]))
            open_run = True
    return runs


def _figure(chart: Chart, shapes: str) -> str:
    width = WIDTH / max(len(chart.labels), 1)
    grid = "".join(f'<line x1="0" x2="{WIDTH}" y1="{_n(y)}" y2="{_n(y)}"/>' for y in (0.5, HEIGHT / 2, HEIGHT - 0.5))
    touched = "".join(
        f'<rect x="{_n(place * width)}" y="0" width="{_n(width)}" height="{HEIGHT}">'
        f"<title>{escape(title)}</title></rect>"
        for place, title in enumerate(chart.titles)
    )
    legend = "".join(
        f'<li><i class="{series.colour}"></i>{escape(series.name)}'
        + (f" <b>{escape(series.total)}</b></li>" if series.total else "</li>")
        for series in chart.series
    )
    below = "".join(
        f"<span>{escape(chart.labels[place])}</span>" for place in range(0, len(chart.labels), chart.label_every)
    )
    total = f" <b>{escape(chart.total)}</b>" if chart.total else ""
    return (
        f'<figure class="chart"><figcaption><h3>{escape(chart.title)}{total}</h3><ul class="legend">{legend}</ul>'
        f'</figcaption><div class="plot"><span class="top">{escape(chart.top)}</span>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{escape(chart.title)}">'
        f'<g class="grid">{grid}</g>{shapes}<g class="touch">{touched}</g></svg></div>'
        f'<div class="places">{below}</div></figure>'
    )


def _n(value: float) -> str:
    """A coordinate with two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
