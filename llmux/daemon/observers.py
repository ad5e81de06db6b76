"""Where log events go: lines for people or JSON for programs, to the terminal, a file or journald.

The level is checked before anything is formatted, so that a record below it costs a comparison. While the reactor runs,
records wait for others for a moment, to be formatted and written together: that is cheaper, and no client waits for it.
Warnings and errors leave at once. A value with line breaks stays on its line (SPEC R-LG-2).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import IO, Any, cast

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from zope.interface import implementer

from llmux.routing.record import stamp

LEVELS = {
    "debug": LogLevel.debug,
    "info": LogLevel.info,
    "warn": LogLevel.warn,
    "error": LogLevel.error,
}
_ORDER = {level: rank for rank, level in enumerate((*LEVELS.values(), LogLevel.critical))}
_AT_ONCE = _ORDER[LogLevel.warn]
HOLD_SECONDS = 0.05
MOST_HELD = 256  # records
_ESCAPES = str.maketrans({"\n": "\\n", "\r": "\\r", "\x1b": "\\x1b", "\x00": "\\x00"})
_LEFT_OUT = frozenset(("message", "time", "format", "isError", "system"))
_encode = msgspec.json.Encoder(enc_hook=str).encode


def message(event: LogEvent) -> str:
    """The event's text; most formats are plain, and Twisted's own formatter is for those that call something."""
    form = event.get("log_format")
    if type(form) is str and "(" not in form:
        try:
            return form.format_map(event)
        except Exception:
            return formatEvent(event)
    return formatEvent(event)


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return "" if failure is None else str(failure.getTraceback())


def text_line(event: LogEvent) -> str:
    """`time level namespace message`, one line; a traceback follows on lines of its own."""
    level = event.get("log_level", LogLevel.info).name
    said = message(event).translate(_ESCAPES)
    line = f"{stamp(event['log_time'])} {level:<5} {event.get('log_namespace', '-')} {said}\n"
    trace = _traceback(event)
    return line + trace + ("\n" if trace and not trace.endswith("\n") else "")


def json_line(event: LogEvent) -> str:
    """One JSON object: time, level, message and the event's own fields."""
    fields = event.get("log_fields")  # of a record of ours, which is nothing else
    if fields is None:
        fields = {key: value for key, value in event.items() if key[:4] != "log_" and key not in _LEFT_OUT}
    record: dict[str, Any] = {
        "time": stamp(event["log_time"]),
        "level": event.get("log_level", LogLevel.info).name,
        "namespace": event.get("log_namespace", "-"),
        "message": message(event),
        **fields,
    }
    if "log_failure" in event:
        record["traceback"] = _traceback(event)
    try:
        return _encode(record).decode() + "\n"
    except (UnicodeEncodeError, OverflowError):
        return json.dumps(record, default=str) + "\n"  # half of a character, as an escape


@implementer(ILogObserver)
class LevelledObserver:
    """Writes the events of at least one level to a file as lines."""

    def __init__(self, out: IO[str], level: LogLevel, line: Callable[[LogEvent], str]) -> None:
        self._out = out
        self._least = _ORDER[level]
        self._line = line
        self._clock: IReactorTime | None = None
        self._held: list[str | LogEvent] = []

    def begin(self, clock: IReactorTime) -> None:
        """The reactor runs: from now on records may wait for others."""
        self._clock = clock

    def end(self) -> None:
        """The reactor stops: every line leaves at once again."""
        self._clock = None
        self._flush()

    def __call__(self, event: LogEvent) -> None:
        """Write one event; a full disk or a closed pipe loses the line and nothing else."""
        rank = _ORDER[event.get("log_level") or LogLevel.info]
        if rank < self._least:
            return
        held = self._held
        # A record of ours is plain text and numbers; what other events hold may be something else by and by.
        held.append(event if "log_fields" in event else self._line(event))
        if self._clock is None or rank >= _AT_ONCE or len(held) >= MOST_HELD:
            self._flush()
        elif len(held) == 1:
            self._clock.callLater(HOLD_SECONDS, self._flush)

    def _flush(self) -> None:
        held, self._held = self._held, []
        if not held:
            return
        lines = "".join([line if type(line) is str else self._line(cast(LogEvent, line)) for line in held])
        try:
            try:
                self._out.write(lines)
            except UnicodeEncodeError:
                self._out.write(lines.encode("utf-8", "backslashreplace").decode())
            self._out.flush()
        except (OSError, ValueError):
            return


def observer(form: str, level: str, out: IO[str] | None = None) -> LevelledObserver:
    """The observer for `--log-format` and `--log-level`; to standard output unless told otherwise."""
    return LevelledObserver(out or sys.stdout, LEVELS[level], json_line if form == "json" else text_line)
