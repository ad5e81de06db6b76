"""The ledger of tokens and requests: summed up in memory, handed to the store once a second, never waited for.

Rows are sums, so while the disk is full they stay in memory at little cost and no request is lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from llmux.config.model import UsageConfig
from llmux.config.secret import Secret, mask
from llmux.formats.events import Usage
from llmux.peers.names import BoundedNames
from llmux.peers.usage_table import ADD, FORGET

WRITE_SECONDS = 1.0
MOST_ROWS_A_WRITE = 2_000
NEW_NAMES_A_DAY = 200
MOST_NAMES = 5_000
MOST = 1 << 52  # what a provider says may be absurd, and the file adds it up in 64 bits
DAY = 86400  # seconds


class Writer(Protocol):
    """The store: `write` returns at once and never fails, `failing` says that the disk does not take it."""

    failing: bool

    def write(self, statement: str, parameters: Sequence[str | int | float | None] = ()) -> None: ...


_Place = tuple[int, str, str, str, Secret | None, str | None]


class Ledger:
    """Counts requests that are over, by UTC day; `clock` gives epoch seconds.

    With the first request of a day the days beyond the retention are forgotten.
    """

    def __init__(self, store: Writer, clock: IReactorTime) -> None:
        self.enabled = True
        self._retention_days = UsageConfig().retention_days
        self._store = store
        self._clock = clock
        self._rows: dict[_Place, list[int]] = {}
        self._timer: IDelayedCall | None = None
        self._today = 0
        self._names = BoundedNames(MOST_NAMES, NEW_NAMES_A_DAY)

    @property
    def unwritten(self) -> int:
        """How many requests the store has not been given yet."""
        return sum(row[0] for row in self._rows.values())

    @property
    def failing(self) -> bool:
        """Whether the disk takes nothing at the moment."""
        return self._store.failing

    def configure(self, config: UsageConfig) -> None:
        """Take a new configuration; the retention holds from the next day on, and from the start."""
        self.enabled = config.enabled
        self._retention_days = config.retention_days

    def _begin_day(self) -> None:
        self._today = today = int(self._clock.seconds()) // DAY
        self._names.renew()
        days = self._retention_days
        self._store.write(FORGET, (date(today - days), f"-{days - 1} days", date(today)))

    def add(
        self,
        route_type: str,
        provider: str,
        model: str,
        credential: Secret | None,
        client: str | None,
        *,
        failed: bool,
        aborted: bool,
        usage: Usage | None,
        first_byte: float | None,
    ) -> None:
        """Count one request; `first_byte` in seconds, `usage` None or empty when nobody told the counts."""
        if not self.enabled:
            return
        day = int(self._clock.seconds()) // DAY
        if day != self._today:
            self._begin_day()
        place = (day, route_type, provider, self._names.name(model, not failed), credential, client)
        row = self._rows.get(place)
        if row is None:
            row = self._rows[place] = [0] * 12
        row[0] += 1
        if failed:
            row[1] += 1
        if aborted:
            row[2] += 1
        if usage is not None and (usage.input is not None or usage.output is not None):
            row[3] += 1
            row[4] += usage.input or 0
            row[5] += usage.cache_read or 0
            row[6] += usage.cache_write or 0
            row[7] += usage.output or 0
            row[8] += usage.reasoning or 0
        if first_byte is not None:
            microseconds = max(0, int(first_byte * 1_000_000))
            row[9] += 1
            row[10] += microseconds
            if microseconds > row[11]:
                row[11] = microseconds
        if self._timer is None:
            self._timer = self._clock.callLater(WRITE_SECONDS, self._write)

    def _write(self) -> None:
        """Hand rows to the store; while the disk takes nothing they are better kept as sums."""
        self._timer = None
        if not self._store.failing:
            self._hand_over(MOST_ROWS_A_WRITE)
        if self._rows:
            self._timer = self._clock.callLater(WRITE_SECONDS, self._write)

    def _hand_over(self, most: int) -> None:
        for place in list(self._rows)[:most]:
            row = self._rows.pop(place)
            day, route_type, provider, model, key, client_key = place
            credential = "" if key is None else str(key)
            client = "" if client_key is None else mask(client_key)
            self._store.write(
                ADD, (date(day), route_type, provider, model, credential, client, *(min(value, MOST) for value in row))
            )

    def close(self) -> None:
        """Hand over what is left, before the store is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._hand_over(len(self._rows))


def date(day: int) -> str:
    """A day since the epoch as people and the table write it."""
    return datetime.fromtimestamp(day * DAY, UTC).strftime("%Y-%m-%d")
