"""Event streams cut into events, whatever the chunks they come in (SPEC 9; WHATWG HTML 9.2.6).

A blank line ends an event the moment its first byte is there: after a CR nothing is waited for, and a LF that belongs
to it travels with what comes next. So the bytes that leave, joined, are the same for every way of cutting the input.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

from llmux.rewrite.spans import BOM, Buffer
from llmux.rewrite.splice import Edit, splice

EVENT_LIMIT = 16 * 1024 * 1024

_BLANK_LINES = (b"\n\n", b"\n\r", b"\r\r", b"\n\r\n", b"\r\r\n")
_BLANK_LINE = re.compile(rb"\n[\n\r]|\r\r")
_LINE_END = re.compile(rb"\r\n?|\n")
_DATA_LINE = re.compile(rb"(?:\A|[\r\n])data(?::\x20?([^\r\n]*+))?(?=[\r\n]|\Z)")
# Lines before the first data line of an event, and an unfinished line that cannot become one: no edit names them.
_NO_DATA = re.compile(rb"(?:(?!data(?:[:\r\n]|\Z)|d(?:at?)?\Z)[^\r\n]*+(?:[\r\n]|\Z))*+")
_SIMPLE_EVENT = re.compile(rb"(?:event: ?([^\n]*+)\n)?data: ?([^\n]*+)\n\n")
_LF, _CR = b"\n\r"
_SMALL = 16 * 1024


class Event(NamedTuple):
    """One event: the last `event` field (b"" without one), the joined `data` (None without one), and its bytes.

    The `raw` parts of a stream joined are the stream. Bytes that are not read (a byte order mark, the pieces of an
    event above the limit) are events without data.
    """

    name: bytes
    data: bytes | None
    raw: bytes


class EventFramer:
    """Holds back the unfinished event at the end of what came in.

    An event longer than `limit` bytes (up to the first byte of its blank line) is let through unread and complete.
    """

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._pending = bytearray()
        self._begun = False
        self._oversize_end: bytes | None = None  # last byte sent of an event above the limit that has not ended

    @property
    def between(self) -> bool:
        """Whether the stream has begun and nothing is held: the next chunk begins an event."""
        return self._begun and not self._pending and self._oversize_end is None

    def take(self, chunk: bytes) -> tuple[bytes, bytes]:
        """`(unread, events)`: bytes to pass on as they are, then whole events, which may be long or blank."""
        pending = self._pending
        unread = b""
        if not self._begun:
            chunk = bytes(pending) + chunk
            pending.clear()
            if len(chunk) < len(BOM) and BOM.startswith(chunk):
                pending += chunk
                return b"", b""
            self._begun = True
            if chunk.startswith(BOM):
                unread, chunk = BOM, chunk[3:]
        if len(pending) > self._limit:
            unread = bytes(pending)
            pending.clear()
            self._oversize_end = unread[-1:]
        if self._oversize_end is not None:
            rest = self._after_oversize(chunk)
            unread += chunk[: len(chunk) - len(rest)]
            chunk = rest
        if not chunk:
            return unread, b""
        if not pending:
            if chunk.endswith(_BLANK_LINES):
                return unread, chunk
            cut = _last_end(chunk, 0)
            if not cut and chunk[0] in (_LF, _CR):
                cut = len(chunk) - len(chunk.lstrip(b"\r\n"))
            pending += chunk[cut:] if cut else chunk
            return unread, chunk[:cut]
        searched = len(pending) - 1
        pending += chunk
        cut = _last_end(pending, searched)
        if not cut:
            return unread, b""
        with memoryview(pending) as view:
            events = bytes(view[:cut])
        del pending[:cut]
        return unread, events

    def rest(self) -> tuple[bytes, bytes]:
        """`(unread, event)` at the end of the stream: an event without its blank line is an event (SPEC R-SS-6)."""
        left = bytes(self._pending)
        self._pending.clear()
        if len(left) > self._limit or not self._begun:
            return left, b""
        return b"", left

    def too_long(self, raw: bytes) -> bool:
        """Whether an event is above the limit; the same answer however its bytes came."""
        if len(raw) <= self._limit:
            return False
        start = len(raw) - len(raw.lstrip(b"\r\n"))
        blank = _BLANK_LINE.search(raw, max(start, len(raw) - 4))
        end = len(raw) if blank is None else blank.end()
        return end - start > self._limit

    def _after_oversize(self, chunk: bytes) -> bytes:
        assert self._oversize_end is not None
        joined = self._oversize_end + chunk
        blank = _BLANK_LINE.search(joined)
        if blank is None:
            self._oversize_end = joined[-1:]
            return b""
        self._oversize_end = None
        return joined[blank.end() :]


class EventReader(EventFramer):
    """The events of a stream one by one, for whoever needs what they say."""

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that `chunk` completes."""
        return self._read(*self.take(chunk))

    def close(self) -> list[Event]:
        """What is left at the end of the stream."""
        return self._read(*self.rest())

    def _read(self, unread: bytes, events: bytes) -> list[Event]:
        read = [Event(b"", None, unread)] if unread else []
        pos = 0
        carriages = b"\r" in events
        while pos < len(events):
            end = _event_end(events, pos, carriages)
            raw = events[pos:end]
            read.append(Event(b"", None, raw) if self.too_long(raw) else parse_event(raw))
            pos = end
        return read


class StreamEditor(EventFramer):
    """Edits the JSON in the data of events, and passes on every byte that no edit names.

    `edits` gets the data of one event and gives the edits in it. It is asked only about events in which one of
    `needles` occurs, so these must be such that an event without any of them needs no edit. An event is held from its
    first data line on; what stands before that leaves at once, however it is cut, and does not count for the limit.
    """

    def __init__(
        self,
        edits: Callable[[bytes], Sequence[Edit]],
        needles: tuple[bytes, ...],
        limit: int = EVENT_LIMIT,
    ) -> None:
        super().__init__(limit)
        self._edits = edits
        self._needles = needles
        self._within = False  # a line of which a part has left
        self.changed = False

    def feed(self, chunk: bytes) -> bytes:
        """The events that `chunk` completes, edited."""
        passed = b""
        if self._within:
            line_end = _LINE_END.search(chunk)
            if line_end is None:
                return chunk
            self._within = False
            passed, chunk = chunk[: line_end.end()], chunk[line_end.end() :]
        unread, events = self.take(chunk)
        out = passed + unread + self._edit(events) if passed or unread else self._edit(events)
        return out + self._ahead() if self._pending else out

    def _ahead(self) -> bytes:
        """What of the unfinished event no edit can name."""
        pending = self._pending
        found = _NO_DATA.match(pending) if self._begun else None
        if found is None or not (end := found.end()):
            return b""
        ahead = bytes(pending[:end])
        del pending[:end]
        self._within = ahead[-1] not in (_LF, _CR)
        return ahead

    def too_long(self, raw: bytes) -> bool:
        """Whether an event is above the limit, from its first data line on."""
        ahead = _NO_DATA.match(raw)
        return super().too_long(raw if ahead is None else raw[ahead.end() :])

    def close(self) -> bytes:
        """The rest, edited when it is a whole event but for its blank line."""
        unread, event = self.rest()
        return unread + self._edit(event)

    def _edit(self, events: bytes) -> bytes:
        at = self._next(events, 0)
        if at < 0:
            return events
        carriages = b"\r" in events
        if not carriages and len(events) < _SMALL and events.find(b"\n\n") == len(events) - 2:
            edited = self._event(events, carriages)
            self.changed = self.changed or edited is not events
            return edited
        pieces: list[bytes] = []
        done = 0
        while at >= 0:
            start = max(done, _last_end(events, done, at))
            end = _event_end(events, at, carriages)
            raw = events[start:end] if start or end < len(events) else events
            edited = self._event(raw, carriages)
            if edited is not raw:
                self.changed = True
                if done < start:
                    pieces.append(events[done:start])
                pieces.append(edited)
                done = end
            at = self._next(events, end) if end < len(events) else -1
        if not done:
            return events
        if done < len(events):
            pieces.append(events[done:])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _next(self, events: bytes, pos: int) -> int:
        best = -1
        for needle in self._needles:
            at = events.find(needle, pos) if best < 0 else events.find(needle, pos, best)
            if at >= 0:
                best = at
        return best

    def _event(self, raw: bytes, carriages: bool) -> bytes:
        if len(raw) > self._limit and self.too_long(raw):
            return raw
        span = _single_data(raw, carriages)
        if span is None:
            return self._lines(raw)
        start, end = span
        document = raw[start:end]
        if document[:1] != b"{" and document.lstrip(b" \t")[:1] != b"{":
            return raw
        edits = self._edits(document)
        if not edits:
            return raw
        if len(edits) == 1 and len(raw) < _SMALL:
            left, right, new = edits[0]
            return raw[: start + left] + new + raw[start + right :]
        return bytes(splice(raw, [(start + left, start + right, new) for left, right, new in edits]))

    def _lines(self, raw: bytes) -> bytes:
        """Edit a document spread over several data lines; no edit spans a line end, as no JSON string does."""
        lines = [match.span(1) if match[1] is not None else (match.end(), match.end()) for match in _data_lines(raw)]
        document = b"\n".join([raw[start:end] for start, end in lines])
        if document.lstrip(b" \t\r\n")[:1] != b"{":
            return raw
        edits = self._edits(document)
        if not edits:
            return raw
        begins: list[int] = []
        total = 0
        for start, end in lines:
            begins.append(total)
            total += end - start + 1
        moved: list[Edit] = []
        for left, right, new in edits:
            line = bisect_right(begins, left) - 1
            shift = lines[line][0] - begins[line]
            moved.append((left + shift, right + shift, new))
        return bytes(splice(raw, moved))


def parse_event(raw: bytes) -> Event:
    """Read one event from its bytes, with or without the blank line."""
    simple = _SIMPLE_EVENT.fullmatch(raw) if b"\r" not in raw else None
    if simple is not None:
        return Event(simple[1] or b"", simple[2], raw)
    name = b""
    data: list[bytes] = []
    for line in _LINE_END.split(raw):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return Event(name, b"\n".join(data) if data else None, raw)


def _single_data(raw: bytes, carriages: bool) -> tuple[int, int] | None:
    """The span of the payload when there is exactly one data line with a colon; None asks for the slow way."""
    if raw.startswith(b"data:"):
        start = 5
    else:
        start = raw.find(b"\ndata:") + 6
        if start == 5 or raw.startswith(b"data") or raw.find(b"\rdata", 0, start) >= 0:
            return None
    if raw[start : start + 1] == b" ":
        start += 1
    end = raw.find(b"\n", start)
    if end < 0:
        end = len(raw)
    if carriages:
        carriage = raw.find(b"\r", start, end)
        if carriage >= 0:
            end = carriage
        if raw.find(b"\rdata", end) >= 0:
            return None
    return None if raw.find(b"\ndata", end) >= 0 else (start, end)


def _data_lines(raw: bytes) -> list[re.Match[bytes]]:
    return list(_DATA_LINE.finditer(raw))


def _last_end(data: Buffer, start: int, stop: int | None = None) -> int:
    """Where the last blank line in the range ends; 0 when there is none.

    Searching for one byte is ten times as fast as for two, and unfinished events have few lines.
    """
    stop = len(data) if stop is None else stop
    if data.find(b"\r", start, stop) < 0:
        end = data.rfind(b"\n", start, stop)
        while end > start and data[end - 1] != _LF:
            end = data.rfind(b"\n", start, end)
        return end + 1 if end > start else 0
    end = max([data.rfind(pair, start, stop) for pair in (b"\n\n", b"\n\r", b"\r\r")]) + 2
    if end == 1:
        return 0
    if end < stop and data[end] == _LF and data[end - 1] == _CR:
        end += 1
    return end


def _event_end(data: bytes, start: int, carriages: bool) -> int:
    """Where the event ends that has a byte of a line at `start` (or begins there, blank lines before it included)."""
    last = len(data)
    if data[start] in (_LF, _CR):
        start = last - len(data[start:].lstrip(b"\r\n"))
    if not carriages:
        end = data.find(b"\n", start) + 1
        while 0 < end < last and data[end] != _LF:
            end = data.find(b"\n", end) + 1
        return end + 1 if 0 < end < last else last
    while True:
        end = data.find(b"\n", start)
        carriage = data.find(b"\r", start, last if end < 0 else end)
        if carriage >= 0:
            end = carriage + 1 if carriage + 1 == end else carriage
        if end < 0:
            return last
        start = end + 1
        if start < last and data[start] in (_LF, _CR):
            return start + (2 if data[start] == _CR and data[start + 1 : start + 2] == b"\n" else 1)
        if start >= last:
            return last
