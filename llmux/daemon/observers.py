"""Where log events go: lines for people or JSON for programs, to the terminal, a file or journald.

The level is checked before anything is formatted, so that a record below it costs a comparison. A value with line
breaks stays on its line (SPEC R-LG-2).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

LEVELS = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
}
_ORDER = {level: rank for rank, level in enumerate((*LEVELS.values(), LogLevel.critical))}
_ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\x1b": "\\x1b", "\x00": "\\x00"})


def stamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return "" if failure is None else str(failure.getTraceback())


def text_line(event: LogEvent) -> str:
    """`time level namespace message`, one line; a traceback follows on lines of its own."""
    level = event.get("log_level", LogLevel.info).name
    message = formatEvent(event).translate(_ESCAPES)
    line = f"{stamp(event['log_time'])} {level:<5} {event.get('log_namespace', '-')} {message}\n"
    trace = _traceback(event)
    return line + trace + ("\n" if trace and not trace.endswith("\n") else "")


def json_line(event: LogEvent) -> str:
    """One JSON object: time, level, message and the event's own fields."""
    record: dict[str, Any] = {
        "time": stamp(event["log_time"]),
        "level": event.get("log_level", LogLevel.info).name,
        "namespace": event.get("log_namespace", "-"),
        "message": formatEvent(event),
    }
    for key, value in event.items():
        if not key.startswith("log_") and key not in ("message", "time", "format", "isError", "system"):
            record[key] = value if isinstance(value, str | int | float | bool | None) else str(value)
    trace = _traceback(event)
    if trace:
        record["traceback"] = trace
    return json.dumps(record, ensure_ascii=False) + "\n"


@implementer(ILogObserver)
class LevelledObserver:
    """Writes the events of at least one level to a file as lines."""

    def __init__(self, out: IO[str], level: LogLevel, line: Callable[[LogEvent], str]) -> None:
        self._out = out
        self._least = _ORDER[level]
        self._line = line

    def __call__(self, event: LogEvent) -> None:
        """Write one event; a full disk or a closed pipe loses the line and nothing else."""
        level = event.get("log_level") or LogLevel.info
        if _ORDER[level] < self._least:
            return
        try:
            self._out.write(self._line(event))
            self._out.flush()
        except (OSError, ValueError):
            return


def observer(form: str, level: str, out: IO[str] | None = None) -> LevelledObserver:
    """The observer for `--log-format` and `--log-level`; to standard output unless told otherwise."""
    return LevelledObserver(out or sys.stdout, LEVELS[level], json_line if form == "json" else text_line)
