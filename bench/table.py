"""Medians, ratios, and the table that is printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import median

Figures = Mapping[str, Mapping[str, Sequence[float]]]
"""By row, by system: every value that was measured."""


def medians(figures: Figures) -> dict[str, dict[str, float]]:
    """The median of each row and system."""
    return {
        row: {system: median(values) for system, values in systems.items() if values}
        for row, systems in figures.items()
    }


def ratios(row: Mapping[str, float], systems: Iterable[str]) -> dict[str, float | None]:
    """llmux divided by each peer; None where either is missing or the peer's is zero."""
    own = row.get("llmux")
    found: dict[str, float | None] = {}
    for system in systems:
        if system != "llmux":
            peer = row.get(system)
            found[f"llmux / {system}"] = own / peer if own is not None and peer else None
    return found


def spread(values: Sequence[float]) -> float:
    """How far the values lie apart, as a share of their median: the noise of a row."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def markdown(figures: Figures, systems: Sequence[str]) -> str:
    """The table: medians of each system, then the ratios, then the spread of llmux's own values."""
    table = medians(figures)
    peers = [system for system in systems if system != "llmux"]
    heads = ["workload", *systems, *(f"llmux / {peer}" for peer in peers), "spread"]
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    for row, values in table.items():
        cells = [_number(values.get(system)) for system in systems]
        cells += [_number(ratio) for ratio in ratios(values, peers).values()]
        own = figures[row].get("llmux", ())
        cells.append(f"{spread(own):.0%}" if len(own) > 1 else "-")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
