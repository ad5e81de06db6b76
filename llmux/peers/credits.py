"""How many paid requests went to the upstream today (DESIGN D-46)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class CreditLedger(Protocol):
    """Where the counts are kept, by UTC day as `YYYY-MM-DD`."""

    def read(self, day: str) -> int:
        """Give the count of a day, 0 for an unknown one."""

    def add(self, day: str, requests: int) -> int:
        """Add to the count of a day, which does not fall below 0, and give the new one."""


class MemoryLedger:
    """Keeps the counts for as long as the process lives; only the newest days."""

    _MOST_DAYS = 8

    def __init__(self) -> None:
        self._days: dict[str, int] = {}

    def read(self, day: str) -> int:
        """Give the count of a day."""
        return self._days.get(day, 0)

    def add(self, day: str, requests: int) -> int:
        """Add to the count of a day."""
        self._days[day] = max(0, self._days.get(day, 0) + requests)
        while len(self._days) > self._MOST_DAYS:
            del self._days[min(self._days)]
        return self._days[day]


class DailyCredits:
    """Counts paid requests per UTC day; `seconds` gives epoch seconds."""

    def __init__(self, seconds: Callable[[], float], ledger: CreditLedger | None = None) -> None:
        self._seconds = seconds
        self._ledger: CreditLedger = ledger if ledger is not None else MemoryLedger()

    def _today(self) -> str:
        return datetime.fromtimestamp(self._seconds(), UTC).strftime("%Y-%m-%d")

    def spent(self) -> int:
        """Paid requests of today."""
        return self._ledger.read(self._today())

    def left(self, limit: int | None) -> int | None:
        """How many more a daily limit permits today, None without a limit."""
        return None if limit is None else max(0, limit - self.spent())

    def charge(self, limit: int | None = None) -> bool:
        """Count one request if the limit permits it; False, and nothing is counted, if it does not."""
        if self.left(limit) == 0:
            return False
        self._ledger.add(self._today(), 1)
        return True

    def refund(self) -> None:
        """Take one request back that never reached the upstream."""
        self._ledger.add(self._today(), -1)
