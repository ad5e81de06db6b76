"""Takes token counts from answers as they pass, without holding or changing them (TRANSLATION 3.5)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from llmux.formats import usage
from llmux.formats.events import Usage
from llmux.rewrite.gunzip import BadGzip, Gunzip, TooLarge
from llmux.rewrite.sse import Event, EventReader

HELD = 256 * 1024
TAIL = 64 * 1024
UNPACKED = 4 * 1024 * 1024  # bytes that one piece of a gzip stream may unpack to
_BLANK = (b"\n\n", b"\n\r\n", b"\r\r")
_LONGEST_OBJECT = 16 * 1024


class _Holder(msgspec.Struct):
    usage: Any = None


class _Chat(msgspec.Struct):
    usage: Any = None


class _Anthropic(msgspec.Struct):
    usage: Any = None
    message: _Holder | None = None


class _Responses(msgspec.Struct):
    usage: Any = None
    response: _Holder | None = None


class _Gemini(msgspec.Struct):
    usage: Any = msgspec.field(default=None, name="usageMetadata")


def _replace(known: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    return raw


class _Format(NamedTuple):
    """How one format says it. `marker` is in every event with counts, and in few others.

    Inside a JSON string its quote would be escaped, so text never looks like a marker.
    """

    marker: bytes
    decode: Callable[[bytes], Any]
    several: Callable[[bytes], Any]
    key: re.Pattern[bytes]
    merge: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]
    read: Callable[[dict[str, Any]], Usage]


def _format(
    struct: type[msgspec.Struct],
    read: Callable[[dict[str, Any]], Usage],
    merge: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]] = _replace,
    marker: bytes = b'_tokens"',
    key: bytes = b"usage",
) -> _Format:
    one = msgspec.json.Decoder(struct).decode
    several = msgspec.json.Decoder(list[struct]).decode  # type: ignore[valid-type]  # a type made at run time
    return _Format(marker, one, several, re.compile(rb'"%b"\s*:\s*(?=\{)' % key), merge, read)


_CHAT = _format(_Chat, usage.from_chat)
_FORMATS: Mapping[str, _Format] = {
    "anthropic": _format(_Anthropic, usage.from_anthropic, usage.merge_anthropic),
    "chat": _CHAT,
    "completions": _CHAT,
    "responses": _format(_Responses, usage.from_responses),
    "gemini": _format(_Gemini, usage.from_gemini, usage.merge_gemini, b'TokenCount"', b"usageMetadata"),
}


class _Counts:
    """What one answer said so far, in the words of its format."""

    __slots__ = ("format", "raw")

    def __init__(self, protocol: str) -> None:
        self.format = _FORMATS[protocol]
        self.raw: dict[str, Any] = {}

    def take(self, data: bytes) -> bool:
        """Read one JSON object; False for what is none, and then nothing is known."""
        try:
            self._note(self.format.decode(data))
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return False
        return True

    def take_array(self, data: bytes) -> bool:
        """Read a JSON list of objects; False for what is none."""
        try:
            for document in self.format.several(data):
                self._note(document)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return False
        return True

    def take_last(self, data: bytes) -> None:
        """Read the last object with counts in a piece of a document."""
        start = -1
        for found in self.format.key.finditer(data):
            start = found.end()
        if start >= 0:
            text = data[start : start + _LONGEST_OBJECT].decode("utf-8", "replace")
            try:
                self._add(json.JSONDecoder().raw_decode(text)[0])
            except (ValueError, RecursionError):
                return

    def _note(self, document: Any) -> None:
        kind = type(document)
        if kind is _Anthropic:
            document = document.message or document
        elif kind is _Responses:
            document = document.response or document
        self._add(document.usage)

    def _add(self, raw: Any) -> None:
        if type(raw) is dict and raw:
            self.raw = self.format.merge(self.raw, raw)

    def usage(self) -> Usage:
        return self.format.read(self.raw) if self.raw else Usage()


class Watcher(Protocol):
    """Sees every piece of an answer as it came, and has its token counts; `see` never raises."""

    def see(self, data: bytes) -> None:
        """Take notice of a piece."""

    @property
    def usage(self) -> Usage:
        """The counts so far; those of a JSON body are known at its end."""


def watcher(protocol: str, stream: bool, gzip: bool = False) -> Watcher:
    """Somebody to watch an answer in one of the formats: an event stream, or else one JSON document."""
    watching: Watcher = StreamWatcher(protocol) if stream else BodyWatcher(protocol)
    return GzipWatcher(watching) if gzip else watching


class BodyWatcher:
    """Watches one JSON document, or Gemini's streamed array; beyond 256 kB it keeps no more than the tail."""

    __slots__ = ("_counts", "_pieces", "_size")

    def __init__(self, protocol: str) -> None:
        self._counts = _Counts(protocol)
        self._pieces: list[bytes] = []
        self._size = 0

    def see(self, data: bytes) -> None:
        """Take notice of a piece."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > HELD:
            body = b"".join(self._pieces)
            self._counts.take_last(body)
            self._pieces = [body[-TAIL:]]
            self._size = max(HELD - TAIL, 0)

    @property
    def usage(self) -> Usage:
        """The counts, when all of the body was seen."""
        if self._pieces:
            body = b"".join(self._pieces)
            counts = self._counts
            if body.find(counts.format.marker) >= 0 and not (counts.take(body) or counts.take_array(body)):
                counts.take_last(body)
            self._pieces.clear()
        return self._counts.usage()


class _Reader(EventReader):
    """The events of a stream, with a look at the one that has not ended."""

    @property
    def unfinished(self) -> bytes:
        return bytes(self._pending)

    @property
    def between(self) -> bool:
        """Whether no event has begun."""
        return not self._pending and self._oversize_end is None

    def split(self, events: bytes) -> list[Event]:
        return self._read(b"", events)


class StreamWatcher:
    """Watches an event stream; an event that has not ended is held up to 256 kB, of a longer one the tail."""

    __slots__ = ("_between", "_counts", "_marker", "_reader", "_tail")

    def __init__(self, protocol: str) -> None:
        self._counts = _Counts(protocol)
        self._marker = self._counts.format.marker
        self._reader = _Reader(HELD)
        self._between = True
        self._tail = b""

    def see(self, data: bytes) -> None:
        """Take notice of a piece; whole events without counts cost two searches."""
        if self._between and data.endswith(_BLANK) and data.find(self._marker) < 0:
            return
        unread, events = self._reader.take(data)
        self._between = self._reader.between
        if unread:
            self._tail = (self._tail + unread)[-TAIL:]
            if self._marker in self._tail:
                self._counts.take_last(self._tail)
        elif self._tail:
            self._tail = b""
        at = events.find(self._marker)
        if at >= 0:
            self._look(events, at)

    def _look(self, events: bytes, at: int) -> None:
        """Read the lines with a marker, which are whole documents nearly always."""
        while at >= 0:
            start = events.rfind(b"\n", 0, at) + 1
            end = events.find(b"\n", at)
            if end < 0:
                end = len(events)
            line = events[start:end]
            if line[:5] != b"data:" or not self._counts.take(line[5:]):
                self._look_closely(events)
                return
            at = events.find(self._marker, end)

    def _look_closely(self, events: bytes) -> None:
        for event in self._reader.split(events):
            if event.data is not None and event.data.find(self._marker) >= 0:
                self._counts.take(event.data)

    @property
    def usage(self) -> Usage:
        """The counts so far; the last event counts without its blank line, too."""
        if not self._between:
            unfinished = self._reader.unfinished
            at = unfinished.find(self._marker)
            if at >= 0:
                self._look(unfinished, at)
        return self._counts.usage()


class GzipWatcher:
    """Unpacks for another watcher; what cannot be unpacked is seen no more."""

    __slots__ = ("_gunzip", "_inner")

    def __init__(self, inner: Watcher) -> None:
        self._inner = inner
        self._gunzip: Gunzip | None = Gunzip(UNPACKED)
        self._gunzip.per_feed(UNPACKED)

    def see(self, data: bytes) -> None:
        """Take notice of a packed piece."""
        if self._gunzip is None:
            return
        try:
            unpacked = self._gunzip.feed(data)
        except (BadGzip, TooLarge):
            self._gunzip = None
        else:
            if unpacked:
                self._inner.see(unpacked)

    @property
    def usage(self) -> Usage:
        """The counts so far."""
        return self._inner.usage
