"""What the four stream decoders share: the book of parts, the bounds, the end of a stream (TRANSLATION 2.3, 5.1)."""

from __future__ import annotations

from typing import Any

import msgspec

from llmux.formats import failures
from llmux.formats.events import Args, End, Error, Event, Fail, PartStart, PartStop, Start, Usage
from llmux.formats.lenient import parse

MAX_ARGUMENTS = 8 * 1024 * 1024
MAX_ALL_ARGUMENTS = 8 * MAX_ARGUMENTS
MAX_PARTS = 4096
MAX_CHOICES = 128
_decode = msgspec.json.Decoder().decode


class StreamFailed(Exception):
    """Raised by a decoder's own code where the stream cannot go on; becomes the last event."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.kind)
        self.error = error


class Decoder:
    """Base of the stream decoders: `feed` never raises, and after `End` or `Fail` it returns nothing.

    `warnings` collects codes of TRANSLATION 2.4 for the log. A subclass reads one JSON object per `_read`.
    """

    __slots__ = ("_arguments", "_call_ids", "_next", "_out", "_sizes", "_spoiled", "over", "started", "warnings")

    def __init__(self) -> None:
        self.started = False
        self.over = False
        self.warnings: list[str] = []
        self._out: list[Event] = []
        self._next = 0
        self._call_ids: set[tuple[int, str]] = set()
        self._sizes: dict[int, int] = {}
        self._arguments = 0
        self._spoiled = False

    def feed(self, event: str | None, data: bytes | str) -> list[Event]:
        """The events of one message of the stream; `event` is its name where the format has names."""
        if self.over:
            return []
        try:
            chunk = _decode(data)
        except (ValueError, RecursionError):
            try:
                chunk = parse(data)
            except ValueError:
                return self._not_an_object(data)
        if type(chunk) is not dict:
            return self._not_an_object(b"")
        return self._object(event, chunk)

    def feed_object(self, event: str | None, chunk: Any) -> list[Event]:
        """As `feed`, for a message that is parsed already."""
        if self.over:
            return []
        return self._object(event, chunk) if type(chunk) is dict else self._not_an_object(b"")

    def _object(self, event: str | None, chunk: dict[str, Any]) -> list[Event]:
        try:
            self._read(event, chunk)
        except StreamFailed as problem:
            self._fail(problem.error)
        except RecursionError:  # of an object that the parser let pass and that is written as text again
            self._fail(failures.NOT_JSON)
        out = self._out
        self._out = []
        return out

    def close(self) -> list[Event]:
        """The events that the end of the stream brings: `End`, or `Fail` when nothing had said that it was complete."""
        if self.over:
            return []
        try:
            self._at_end()
        except StreamFailed as problem:
            self._fail(problem.error)
        return self._taken()

    def abort(self, error: Error) -> list[Event]:
        """The events of a stream that broke for a reason the caller knows."""
        if self.over:
            return []
        self._fail(error)
        return self._taken()

    def _read(self, event: str | None, chunk: dict[str, Any]) -> None:
        raise StreamFailed(failures.NOT_JSON)

    def _at_end(self) -> None:
        raise StreamFailed(failures.TRUNCATED)

    def _not_an_object(self, data: bytes | str) -> list[Event]:
        # One line of rubbish is a hiccup of some gateway; two mean that this is no such stream.
        if not self._spoiled:
            self._spoiled = True
            return []
        self._fail(failures.NOT_JSON)
        return self._taken()

    def _taken(self) -> list[Event]:
        out = self._out
        self._out = []
        return out

    def _fail(self, error: Error) -> None:
        self.over = True
        self._out.append(Fail(error))

    def _end(self) -> None:
        self.over = True
        self._out.append(End())

    def _start(
        self, id: str | None, model: str | None, created: int | None, usage: Usage | None, tier: str | None = None
    ) -> None:
        self.started = True
        self._out.append(Start(id, model, created, usage, tier))

    def _open(self, part: PartStart) -> int:
        if part.i >= MAX_PARTS:
            raise StreamFailed(failures.TOO_MUCH)
        self._next = part.i + 1
        self._out.append(part)
        return part.i

    def _unique(self, call_id: str | None, choice: int = 0) -> str | None:
        """The id of a call, changed when another call of the choice has it already."""
        while call_id is not None and (choice, call_id) in self._call_ids:
            call_id = f"{call_id}_{self._next}"
        if call_id is not None:
            self._call_ids.add((choice, call_id))
        return call_id

    def _stop(self, i: int) -> None:
        self._sizes.pop(i, None)
        self._out.append(PartStop(i))

    def _args(self, i: int, text: str) -> None:
        self._count(i, len(text))
        self._out.append(Args(i, text))

    def _count(self, i: int, characters: int) -> None:
        """Bound what encoders may have to hold; `i` < 0 stands for all else that is kept."""
        size = self._sizes.get(i, 0) + characters
        self._sizes[i] = size
        self._arguments += characters
        if size > MAX_ARGUMENTS or self._arguments > MAX_ALL_ARGUMENTS:
            raise StreamFailed(failures.TOO_MUCH)
