"""`llmux usage`: tokens, requests and costs, read from the ledger's file whether the daemon runs or not."""

from __future__ import annotations

import argparse
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from llmux.config import Config, ConfigError
from llmux.config.prices import Price, PriceList, load_prices
from llmux.daemon.commands.asking import NotAnswered, add_config, configuration
from llmux.daemon.commands.printing import Command, columns, print_json
from llmux.peers.store import read_only, state_file
from llmux.peers.usage_table import DIMENSIONS, Line, Sums, report
from llmux.routing.wildcard import matches

BAR = 24
MILLION = 1_000_000
_DAYS = re.compile(r"([0-9]{1,5})d")
_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(slots=True)
class Row:
    """What one name came to; `cost` None when some of it has no price."""

    name: str
    sums: Sums
    cost: float | None


def since_day(text: str) -> str:
    """A day as `YYYY-MM-DD`, or `Nd` for the last N days, today (UTC) included; raises ValueError."""
    days = _DAYS.fullmatch(text)
    if days is None:
        return date.fromisoformat(text).isoformat()
    today = datetime.fromtimestamp(time.time(), UTC).date()
    return date.fromordinal(max(today.toordinal() - max(int(days[1]), 1) + 1, 1)).isoformat()


def _since(text: str) -> str:
    try:
        return since_day(text)
    except ValueError:
        raise argparse.ArgumentTypeError("expected a day such as 2026-01-31, or 7d for the last seven days") from None


def price_of(prices: Sequence[Price], provider: str, model: str) -> Price | None:
    """The first price that fits, if any."""
    for price in prices:
        if matches(price.model, model) and price.provider in (None, provider):
            return price
    return None


def cost_of(price: Price, sums: Sums) -> float:
    """What tokens cost: those that a cache had or took have prices of their own."""
    fresh = max(0, sums.input - sums.cached - sums.cache_write)
    cached = price.input if price.cached is None else price.cached
    cache_write = price.input if price.cache_write is None else price.cache_write
    whole = fresh * price.input + sums.cached * cached + sums.cache_write * cache_write + sums.output * price.output
    return whole / MILLION


def added(one: Sums, other: Sums) -> Sums:
    """Two sums as one."""
    slowest = max(one.first_byte_max_us, other.first_byte_max_us)
    return Sums(*(left + right for left, right in zip(one, other, strict=True)))._replace(first_byte_max_us=slowest)


def rows_of(lines: Iterable[Line], prices: Sequence[Price]) -> tuple[list[Row], list[str]]:
    """Lines of (name, provider, model) summed up by name, and the models that have tokens and no price."""
    rows: dict[str, Row] = {}
    unpriced: dict[str, None] = {}
    for (name, provider, model), sums in lines:
        row = rows.setdefault(name, Row(name, Sums(), 0.0))
        row.sums = added(row.sums, sums)
        if not sums.input and not sums.output:
            continue
        price = price_of(prices, provider, model)
        if price is None:
            row.cost = None
            unpriced[model] = None
        elif row.cost is not None:
            row.cost += cost_of(price, sums)
    return list(rows.values()), list(unpriced)


def read(path: Path, by: str, since: str) -> list[Line]:
    """The lines of the ledger, none when nothing was counted yet; raises NotAnswered."""
    if not path.exists():
        return []
    try:
        with closing(read_only(path)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'usage'").fetchall():
                return []
            return report(connection, (by, "provider", "model"), since)
    except sqlite3.Error as problem:
        raise NotAnswered(f"{path}: {problem}") from None


def price_list(config: Config) -> PriceList | None:
    """The prices that the configuration names, by a path from its own folder; raises ConfigError or OSError."""
    if config.usage.prices is None:
        return None
    path = Path(config.path or "").parent / Path(config.usage.prices).expanduser()
    return load_prices(path.read_bytes(), str(path))


def _prices(config: Config) -> PriceList | None:
    """The prices; raises SystemExit with the problem."""
    try:
        return price_list(config)
    except ConfigError as problem:
        print(problem, file=sys.stderr)
    except OSError as problem:
        print(f"llmux: {problem.filename}: {problem.strerror}", file=sys.stderr)
    raise SystemExit(1)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--by", choices=tuple(DIMENSIONS), default="model", help="what the rows are (default: model)")
    parser.add_argument("--since", type=_since, metavar="DAY", help="first day (UTC), or 7d for the last 7")
    add_config(parser)


def _run(options: argparse.Namespace) -> int:
    config = configuration(options.config)
    prices = _prices(config)
    lines = read(state_file(config.path, os.environ), options.by, options.since or "")
    rows, unpriced = rows_of(lines, prices.prices if prices else ())
    if options.by != "day":
        rows.sort(key=weight, reverse=True)
    total, _ = rows_of((Line(("total", *line.names[1:]), line.sums) for line in lines), prices.prices if prices else ())
    if options.json:
        print_json(
            {
                "by": options.by,
                "since": options.since,
                "currency": prices.currency if prices else None,
                "rows": [as_json(row, prices is not None) for row in rows],
                "total": as_json(total[0], prices is not None) if total else None,
                "without_price": unpriced if prices else [],
            }
        )
        return 0
    if not rows:
        print("no request was counted" + (f" since {options.since}" if options.since else " yet"))
        return 0
    print("\n".join(table(options.by, rows, total[0], prices.currency if prices else None)))
    if prices and unpriced:
        print(f"no price for {', '.join(unpriced)}")
    sums = total[0].sums
    silent = sums.requests - sums.metered - sums.errors - sums.aborted
    if silent > 0:
        print(f"{silent} complete answers told no token counts")
    return 0


def as_json(row: Row, priced: bool) -> dict[str, Any]:
    """One row for programs; times in seconds."""
    sums = row.sums
    found: dict[str, Any] = {"name": row.name, **sums._asdict()}
    del found["first_byte_us"], found["first_byte_max_us"], found["first_bytes"]
    found["first_byte_mean"] = sums.first_byte_us / sums.first_bytes / MILLION if sums.first_bytes else None
    found["first_byte_max"] = sums.first_byte_max_us / MILLION if sums.first_bytes else None
    if priced:
        found["cost"] = None if row.cost is None else round(row.cost, 6)
    return found


def weight(row: Row) -> tuple[int, int]:
    """What rows are compared by: tokens, then requests."""
    return row.sums.input + row.sums.output, row.sums.requests


def table(by: str, rows: Sequence[Row], total: Row, currency: str | None) -> Iterable[str]:
    """The table for people: numbers to the right, a bar for each row's share of the largest."""
    header = [by, "requests", "errors", "aborted", "input", "cached", "output", "reasoning", "first byte"]
    if currency is not None:
        header.append(currency)
    cells = [header, *([*_cells(row), *([_money(row.cost)] if currency is not None else [])] for row in [*rows, total])]
    widths = [max(len(line[place]) for line in cells) for place in range(len(header))]
    largest = max(weight(row) for row in rows)
    which = 0 if largest[0] else 1
    bars = ["", *(bar(weight(row)[which], largest[which]) for row in rows), ""]
    lines = [
        [line[0], *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)), drawn]
        for line, drawn in zip(cells, bars, strict=True)
    ]
    return columns(lines)


def _cells(row: Row) -> list[str]:
    sums = row.sums
    numbers = (sums.requests, sums.errors, sums.aborted, sums.input, sums.cached, sums.output, sums.reasoning)
    mean = f"{sums.first_byte_us / sums.first_bytes / MILLION:.2f}s" if sums.first_bytes else "-"
    return [row.name or "-", *(f"{number:,}" for number in numbers), mean]


def _money(cost: float | None) -> str:
    if cost is None:
        return "?"
    return f"{cost:,.2f}" if cost >= 1 or not cost else f"{cost:.4f}"


def bar(value: int, largest: int) -> str:
    """A bar in eighths of a character; whatever is there is seen."""
    if not value or not largest:
        return ""
    whole, rest = divmod(max(1, round(value / largest * BAR * 8)), 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


COMMAND = Command("usage", "sum up tokens, requests, waits and costs", _add, _run)
