"""Structured records in Twisted's log: written with every request, so that they cost what they must and no more."""

from __future__ import annotations

from collections.abc import Mapping
from time import time

from twisted.logger import LogEvent, Logger, LogLevel


class Records:
    """Records in the name of a class; `least` is the least important level that anybody reads.

    An event is what `Logger.emit` makes of the same arguments, without its look through all levels there are. Its own
    fields are there a second time as `log_fields`, so that nobody has to tell them from Twisted's.
    """

    __slots__ = ("_logger", "least")

    def __init__(self, owner: type) -> None:
        self._logger = Logger(f"{owner.__module__}.{owner.__name__}")
        self.least = LogLevel.debug

    def emit(self, level: LogLevel, message: str, fields: Mapping[str, object]) -> None:
        """Log one record; `message` is a format whose names are keys of `fields`."""
        logger = self._logger
        event: LogEvent = {
            "log_logger": logger,
            "log_level": level,
            "log_namespace": logger.namespace,
            "log_source": None,
            "log_format": message,
            "log_time": time(),
            "log_fields": fields,
            **fields,
        }
        logger.observer(event)
