"""How long a provider asks to be left alone, read from an answer's headers and body; pure."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from llmux.headers import RawHeaders

_LARGEST_BODY = 64 * 1024
_LONGEST_VALUE = 64
_LONGEST_WAIT = 366 * 86400.0
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e12
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_DURATIONS = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+")
_RESETS = re.compile(r"(?:anthropic-ratelimit|x-ratelimit|ratelimit)-.*reset.*|ratelimit-reset")


def _date(text: str) -> float | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            when = parse(text)
            return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            continue
    return None


def seconds_until(text: str, now: float) -> float | None:
    """Read a delay in any of the forms services use: seconds, `6m2.5s`, epoch seconds or milliseconds, a date.

    `now` is in epoch seconds. Gives None for what is unreadable or already past.
    """
    text = text.strip()
    if not text or len(text) > _LONGEST_VALUE:
        return None
    delay: float | None
    try:
        delay = float(text)
    except ValueError:
        if _DURATIONS.fullmatch(text):
            delay = sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text))
        else:
            when = _date(text)
            delay = None if when is None else when - now
    else:
        if delay >= _EPOCH_MILLISECONDS:
            delay = delay / 1000 - now
        elif delay >= _EPOCH_SECONDS:
            delay -= now
    if delay is None or not math.isfinite(delay) or delay <= 0:
        return None
    return min(delay, _LONGEST_WAIT)


def _retry_after(named: dict[str, str], now: float) -> float | None:
    milliseconds = named.get("retry-after-ms")
    if milliseconds is not None:
        delay = seconds_until(milliseconds.strip() + "ms", now)
        if delay is not None:
            return delay
    return seconds_until(named.get("retry-after", ""), now)


def _resets(named: dict[str, str], now: float) -> float | None:
    """Give the latest reset of the limits that are used up, or the earliest when none says so."""
    used_up: list[float] = []
    others: list[float] = []
    for name, value in named.items():
        if not _RESETS.fullmatch(name):
            continue
        delay = seconds_until(value, now)
        if delay is not None:
            remaining = named.get(name.replace("reset", "remaining"), "").strip()
            (used_up if remaining in ("0", "0.0") else others).append(delay)
    if used_up:
        return max(used_up)
    return min(others) if others else None


def _retry_info(body: bytes, now: float) -> float | None:
    if b"retryDelay" not in body or len(body) > _LARGEST_BODY:
        return None
    try:
        parsed: Any = json.loads(body)
        if isinstance(parsed, list):
            parsed = parsed[0]
        delays = [str(detail["retryDelay"]) for detail in parsed["error"]["details"] if "retryDelay" in detail]
        return seconds_until(delays[0], now)
    except (ValueError, RecursionError, LookupError, TypeError):
        return None


def wait_of(headers: RawHeaders, body: bytes, now: float, *, rate_limited: bool) -> float | None:
    """Give the seconds a provider asks for, None when it does not say; `now` is in epoch seconds.

    Looks at `retry-after-ms`, `retry-after` and Google's `RetryInfo` in the body; then, for a rate limit, at the resets
    that services send with every answer.
    """
    named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
    delay = _retry_after(named, now)
    if delay is None:
        delay = _retry_info(body, now)
    if delay is None and rate_limited:
        delay = _resets(named, now)
    return delay
