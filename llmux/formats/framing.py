"""Messages in and out of the bytes of a stream: event streams, and Gemini's streamed JSON array (TRANSLATION 3.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

from llmux.rewrite.sse import EVENT_LIMIT, EventReader

_STRUCTURE = re.compile(rb'["\\{}]')

InMessage = tuple[str | None, bytes]


class TooLong(Exception):
    """One message of the stream is longer than anybody's."""


class Reader(Protocol):
    """Cuts a stream into messages (event name or None, data). Raises TooLong."""

    def feed(self, chunk: bytes) -> list[InMessage]:
        """The messages that `chunk` completes."""

    def close(self) -> list[InMessage]:
        """What is left at the end of the stream."""


class EventStreamReader:
    """Reads an event stream."""

    __slots__ = ("_reader",)

    def __init__(self) -> None:
        self._reader = EventReader()

    def feed(self, chunk: bytes) -> list[InMessage]:
        """The messages that `chunk` completes."""
        if self._reader.between and len(chunk) <= EVENT_LIMIT:
            plain = _plain_events(chunk)
            if plain is not None:
                return plain
        out: list[InMessage] = []
        for event in self._reader.feed(chunk):
            if event.data is not None:
                out.append((event.name.decode("utf-8", "replace") if event.name else None, event.data))
            elif len(event.raw) > EVENT_LIMIT:
                raise TooLong
        return out

    def close(self) -> list[InMessage]:
        """What is left at the end: an event without its blank line is one."""
        return [(event.name.decode("utf-8", "replace"), event.data) for event in self._reader.close() if event.data]


def _plain_events(chunk: bytes) -> list[InMessage] | None:
    """The messages of nearly every piece of nearly every stream: whole events, each with one line of data."""
    if chunk[-2:] != b"\n\n" or b"\r" in chunk:
        return None
    if chunk[:6] == b"data: " and chunk.count(b"\n") == 2 * chunk.count(b"\n\ndata: ") + 2:
        return [(None, data) for data in chunk[6:-2].split(b"\n\ndata: ")]
    out: list[InMessage] = []
    for event in chunk[:-2].split(b"\n\n"):
        name = None
        if event[:7] == b"event: ":
            line, _, event = event.partition(b"\n")
            name = line[7:].decode("utf-8", "replace") or None
        if event[:6] != b"data: " or b"\n" in event:
            return None
        out.append((name, event[6:]))
    return out


class ArrayReader:
    """Reads a JSON array of objects as it comes; what stands between the objects is passed over."""

    __slots__ = ("_buffer", "_depth", "_quoted", "_scanned")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._depth = 0
        self._quoted = False

    def feed(self, chunk: bytes) -> list[InMessage]:
        """The objects that `chunk` completes."""
        buffer = self._buffer
        buffer += chunk
        out: list[InMessage] = []
        begin = 0
        at = self._scanned
        while (found := _STRUCTURE.search(buffer, at)) is not None:
            mark = buffer[found.start()]
            at = found.end()
            if mark == 0x5C:  # a backslash: the next byte of the string means nothing
                if not self._quoted:
                    continue
                if at == len(buffer):
                    at -= 1
                    break
                at += 1
            elif mark == 0x22:
                self._quoted = not self._quoted
            elif self._quoted:
                continue
            elif mark == 0x7B:
                if self._depth == 0:
                    begin = found.start()
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    out.append((None, bytes(buffer[begin:at])))
                    begin = at
        else:
            at = len(buffer)
        if self._depth == 0 and not self._quoted:
            begin = at
        del buffer[:begin]
        self._scanned = max(0, at - begin)
        if len(buffer) > EVENT_LIMIT:
            raise TooLong
        return out

    def close(self) -> list[InMessage]:
        """Nothing: an object that has not ended is none."""
        return []


class EventStreamWriter:
    """Writes an event stream."""

    content_type = b"text/event-stream"

    def write(self, messages: Sequence[tuple[str | None, bytes]]) -> bytes:
        """The bytes of some messages."""
        if len(messages) == 1:
            name, data = messages[0]
            return b"data: %s\n\n" % data if name is None else b"event: %s\ndata: %s\n\n" % (name.encode(), data)
        return b"".join(
            [
                b"data: %s\n\n" % data if name is None else b"event: %s\ndata: %s\n\n" % (name.encode(), data)
                for name, data in messages
            ]
        )

    def end(self) -> bytes:
        """The bytes after the last message."""
        return b""


class ArrayWriter:
    """Writes a JSON array, for Gemini clients that did not ask for `alt=sse`."""

    content_type = b"application/json"

    def __init__(self) -> None:
        self._begun = False

    def write(self, messages: Sequence[tuple[str | None, bytes]]) -> bytes:
        """The bytes of some messages."""
        out = bytearray()
        for _, data in messages:
            out += b",\r\n" if self._begun else b"["
            out += data
            self._begun = True
        return bytes(out)

    def end(self) -> bytes:
        """The bytes after the last message."""
        return b"]" if self._begun else b"[]"
