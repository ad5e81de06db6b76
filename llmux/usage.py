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
from llmux.rewrite.sse import parse_event

HELD = 256 * 1024
TAIL = 64 * 1024
WINDOW = 8 * 1024
UNPACKED = 4 * 1024 * 1024  # bytes that one piece of a gzip stream may unpack to
_BLANK = (b"\n\n", b"\n\r\n", b"\r\r")
NOTHING = Usage()
_NO_BEGINNING = b" \t\r\n\xef\xbb\xbf"
_BETWEEN = re.compile(rb"\r?\n\r?\n|\r\r")
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
            document = self.format.decode(data)
        except (msgspec.MsgspecError, RecursionError, ValueError):
            return False
        self._note(document)
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

    def told(self) -> Usage:
        return self.format.read(self.raw) if self.raw else NOTHING


class Watching(Protocol):
    """Sees an answer of one kind; `see` never raises."""

    def see(self, data: bytes) -> None: ...

    @property
    def usage(self) -> Usage: ...


class Watcher:
    """Sees every piece of an answer as it came, and has its token counts; `see` never raises.

    Whether it is an event stream, one JSON document or either of them packed by gzip is told by its first bytes.
    """

    __slots__ = ("_protocol", "_unpacked", "_watching")

    def __init__(self, protocol: str, unpacked: bool = False) -> None:
        self._protocol = protocol
        self._unpacked = unpacked
        self._watching: Watching | None = None

    def see(self, data: bytes) -> None:
        """Take notice of a piece."""
        watching = self._watching
        if watching is None:
            first = data.lstrip(_NO_BEGINNING)[:1]
            if not first:
                return
            if first in (b"{", b"["):
                self._watching = BodyWatcher(self._protocol, data)
                return
            if first == b"\x1f" and not self._unpacked:  # once: there are files that unpack to themselves
                watching = GzipWatcher(self._protocol)
            else:
                watching = StreamWatcher(self._protocol)
            self._watching = watching
        watching.see(data)

    @property
    def usage(self) -> Usage:
        """The counts so far; those of a JSON document are known at its end."""
        return NOTHING if self._watching is None else self._watching.usage


class BodyWatcher(_Counts):
    """Watches one JSON document, or Gemini's streamed array; of one beyond 256 kB it keeps the tail."""

    __slots__ = ("_looked_at", "_pieces", "_size", "_whole")

    def __init__(self, protocol: str, first: bytes) -> None:
        super().__init__(protocol)
        self._pieces = [first]
        self._size = len(first)
        self._looked_at = 0
        self._whole = True

    def see(self, data: bytes) -> None:
        """Take notice of a piece."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size > HELD:
            self._whole = False
            while self._size - len(self._pieces[0]) > TAIL:
                self._size -= len(self._pieces.pop(0))

    @property
    def usage(self) -> Usage:
        """The counts, when all of the body was seen."""
        if self._looked_at != self._size:
            self._looked_at = self._size
            body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
            if not (self._whole and (self.take(body) or self.take_array(body))):
                self.take_last(body)
        return self.told()


class StreamWatcher(_Counts):
    """Watches an event stream. Counts stand in its first event and in its last ones, so of a long piece the end is
    looked at, and of a piece that ends within an event the end is kept for the next look.
    """

    __slots__ = ("_begun", "_marker", "_tail")

    def __init__(self, protocol: str) -> None:
        super().__init__(protocol)
        self._marker = self.format.marker
        self._begun = False
        self._tail = b""

    def see(self, data: bytes) -> None:
        """Take notice of a piece; a short one of whole events without counts costs a search."""
        if len(data) > WINDOW or self._tail or not data.endswith(_BLANK):
            data = self._window(data)
        if data.find(self._marker) >= 0:
            self._look(data)
        self._begun = True

    def _window(self, data: bytes) -> bytes:
        """What is to be looked at when it is not just the piece."""
        if not self._begun and len(data) > WINDOW:
            self._look(data[:WINDOW])
        whole = data.endswith(_BLANK)
        data = data[-WINDOW:] if len(data) >= WINDOW else (self._tail + data)[-WINDOW:]
        self._tail = b"" if whole else data
        return data

    def _look(self, events: bytes) -> None:
        """Read the lines with a marker, which are whole documents nearly always."""
        at = events.find(self._marker)
        while at >= 0:
            start = events.rfind(b"\n", 0, at) + 1
            end = events.find(b"\n", at)
            if end < 0:
                end = len(events)
            line = events[start:end]
            if line[:5] != b"data:" or not self.take(line[5:]):
                self._look_closely(events)
                return
            at = events.find(self._marker, end)

    def _look_closely(self, events: bytes) -> None:
        """Read what is spread over several lines, has lost its beginning, or has no end yet."""
        for raw in _BETWEEN.split(events):
            if raw.find(self._marker) >= 0:
                data = parse_event(raw).data
                if data is None or not self.take(data):
                    self.take_last(raw)

    @property
    def usage(self) -> Usage:
        """The counts so far."""
        return self.told()


class GzipWatcher:
    """Unpacks for a watcher of its own; what cannot be unpacked is seen no more."""

    __slots__ = ("_gunzip", "_inner")

    def __init__(self, protocol: str) -> None:
        self._inner = Watcher(protocol, unpacked=True)
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
