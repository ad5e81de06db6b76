"""The table of the usage ledger: sums by UTC day, route type, provider, model and masked keys (SQL, no clock)."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import NamedTuple

KEYS = ("day", "route_type", "provider", "model", "credential", "client")


class Sums(NamedTuple):
    """What is summed up: `metered` are the requests whose tokens are known, times are in microseconds.

    `input` counts all that the model read, `cached` and `cache_write` what of it a cache had or took; `output` counts
    all that it wrote, `reasoning` included. `first_bytes` are the requests whose time to the first byte is summed up.
    """

    requests: int = 0
    errors: int = 0
    aborted: int = 0
    metered: int = 0
    input: int = 0
    cached: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int = 0
    first_bytes: int = 0
    first_byte_us: int = 0
    first_byte_max_us: int = 0


_MAXIMUM = "first_byte_max_us"
_TOTALS = ", ".join(f"max({name})" if name == _MAXIMUM else f"sum({name})" for name in Sums._fields)


_COLUMNS = [f"{key} TEXT NOT NULL" for key in KEYS] + [f"{field} INTEGER NOT NULL" for field in Sums._fields]
_UPDATES = ", ".join(
    f"{field} = max({field}, excluded.{field})" if field == _MAXIMUM else f"{field} = {field} + excluded.{field}"
    for field in Sums._fields
)
TABLE = f"CREATE TABLE usage ({', '.join(_COLUMNS)}, PRIMARY KEY ({', '.join(KEYS)})) WITHOUT ROWID"
ADD = f"INSERT INTO usage VALUES ({', '.join('?' * len(_COLUMNS))}) ON CONFLICT DO UPDATE SET {_UPDATES}"
# Takes a day, a modifier as `-400 days`, and today. What is old is so by the last day before today that was counted,
# too: a clock that is far ahead for a day must not cost the history.
FORGET = "DELETE FROM usage WHERE day < ? AND day < (SELECT date(max(day), ?) FROM usage WHERE day < ?)"

DIMENSIONS: Mapping[str, str] = {
    "model": "model",
    "provider": "provider",
    "client": "client",
    "credential": "credential",
    "route": "route_type",
    "day": "day",
}


class Line(NamedTuple):
    """The sums of one group; `names` are its particulars in the order asked for."""

    names: tuple[str, ...]
    sums: Sums


def report(connection: sqlite3.Connection, by: Iterable[str], since: str = "") -> list[Line]:
    """Sums from a day on, grouped by names of DIMENSIONS and sorted by them; raises sqlite3.Error."""
    columns = [DIMENSIONS[name] for name in by]
    names = "".join(f"{column}, " for column in columns)
    order = ", ".join(map(str, range(1, len(columns) + 1)))
    found = connection.execute(
        f"SELECT {names}{_TOTALS} FROM usage WHERE day >= ? GROUP BY {order} ORDER BY {order}", (since,)
    )
    split = len(columns)
    return [Line(tuple(row[:split]), Sums(*row[split:])) for row in found]
