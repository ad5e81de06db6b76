"""Watches over streams: signs of life while a provider thinks, and whether a stream ended as its format says.

A stream that ends without its format's own last words looks complete and is not (HOSTILE 2, rule 5): it is logged and
counted as cut. A silent provider with a living socket gets the client what its format tolerates (DESIGN D-52).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from llmux.headers import RawHeaders, media_type
from llmux.rewrite.media import encoding
from llmux.wire.request import Request

PINGS: Mapping[str, bytes] = {
    "anthropic": b'event: ping\ndata: {"type":"ping"}\n\n',
    "chat": b": keep-alive\n\n",
    "completions": b": keep-alive\n\n",
    "responses": b": keep-alive\n\n",
    "gemini": b"\r\n",
}
# Where the last words can stand in front of a long rest, every piece is looked at; elsewhere the last two suffice.
_LAST_WORDS: Mapping[str, tuple[bytes, ...]] = {
    "anthropic": (b"message_stop",),
    "chat": (b"[DONE]",),
    "completions": (b"[DONE]",),
    "responses": (b"response.completed", b"response.incomplete", b"response.failed"),
    "gemini": (b"finishReason", b"blockReason"),
}
_ERRORS = (b'"error"', b"event: error")
_FAILED = re.compile(rb'"type"\s*:\s*"(?:response\.failed|error)"')
_IN_ANY_PIECE = frozenset(("responses", "gemini"))
_BOUNDARIES = (b"\n\n", b"\r\n\r\n", b"\r\r")
_SEAM, _TAIL = 32, 256  # bytes: more than any last words have; more than the events that say them, mostly
_END = 4096  # bytes: of the piece before the last one so many are looked at for how the stream ended
_FIRST = b": keep-alive\n\n"  # before the first event a comment: nobody takes it for the message's beginning


class Vigil:
    """What is known of one stream: whether it moved since the last look, where it stands, and how it ended.

    `ping` gives the sign of life of a stream that is written here; without it the stream is the provider's own.
    `untouchable` is one into which nothing can be put: its length was announced, or it is compressed. `longest` is its
    longest silence so far, in seconds.
    """

    __slots__ = (
        "_before",
        "_early",
        "_last",
        "_protocol",
        "_untouchable",
        "longest",
        "ping",
        "quiet",
        "request",
        "silent",
        "stirred",
    )

    def __init__(
        self, protocol: str, request: Request, ping: Callable[[], bytes] | None = None, *, untouchable: bool = False
    ) -> None:
        self.request = request
        self._untouchable = untouchable
        self.stirred = True
        self.quiet = 0
        self.silent = 0
        self.longest = 0
        self.ping = ping
        self._protocol = protocol
        self._last = b""
        self._before = b""
        self._early = protocol not in _IN_ANY_PIECE

    def see(self, data: bytes) -> None:
        """Take note of a piece as it came from the provider."""
        self.stirred = True
        if not self._early:
            text = self._before[-_SEAM:] + self._last[-_SEAM:] + data
            self._early = any(words in text for words in _LAST_WORDS[self._protocol])
        if len(self._last) < _TAIL:
            self._last += data  # pieces may be single bytes
        else:
            self._before, self._last = self._last, data

    @property
    def ended_well(self) -> bool:
        """Whether the stream had its format's last words, or an error event instead."""
        if self._protocol in _IN_ANY_PIECE and self._early:
            return True
        return _says(self._end, _LAST_WORDS[self._protocol]) or _says(self._end, _ERRORS)

    @property
    def ended_in_error(self) -> bool:
        """Whether the provider's last words were that it failed."""
        if self._protocol == "responses":
            return _FAILED.search(self._end) is not None
        return not _says(self._end, _LAST_WORDS[self._protocol]) and _says(self._end, _ERRORS)

    @property
    def _end(self) -> bytes:
        return self._before[-_END:] + self._last

    @property
    def error(self) -> bytes:
        """The data of the last event where that says that the provider failed, else nothing."""
        return self._end.rpartition(b"data:")[2].strip() if self.ended_in_error else b""

    def sign_of_life(self) -> bytes:
        """What may be sent now, nothing in the middle of an event."""
        if self._untouchable:
            return b""
        if self.ping is not None:
            return self.ping()
        if not self._last:
            return PINGS[self._protocol] if self._protocol == "gemini" else _FIRST
        end = self._before[-3:] + self._last[-4:]
        return PINGS[self._protocol] if end.endswith(_BOUNDARIES) else b""


def _says(end: bytes, words: tuple[bytes, ...]) -> bool:
    """Whether one of these is there; last words are found at once from behind."""
    return any(end.rfind(word) >= 0 for word in words)


def over_stream(
    protocol: str,
    request: Request,
    status: int,
    headers: RawHeaders,
    *,
    translated: bool = False,
    untouchable: bool = False,
) -> Vigil | None:
    """Somebody to watch over an answer with these headers if it is a stream of a known format.

    The provider's own stream is left alone when it is compressed: its end cannot be read. `untouchable` concerns it,
    too, and not one that is `translated` here.
    """
    if status >= 400 or protocol not in PINGS or media_type(headers) != b"text/event-stream":
        return None
    if translated:
        return Vigil(protocol, request)
    return None if encoding(headers) else Vigil(protocol, request, untouchable=untouchable)


class Watch:
    """All streams under way; looks at them once a second."""

    log = Logger()

    def __init__(self, clock: IReactorTime, keepalive: Callable[[], float]) -> None:
        self.cut = 0
        self._keepalive = keepalive
        self._streams: set[Vigil] = set()
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    @property
    def open(self) -> int:
        """How many streams are under way."""
        return len(self._streams)

    def begin(self, vigil: Vigil) -> None:
        """Watch over a stream until `end`."""
        self._streams.add(vigil)
        if not self._looking.running:
            self._looking.start(1.0, now=False)

    def end(self, vigil: Vigil) -> None:
        """The stream is over."""
        self._streams.discard(vigil)
        if not self._streams and self._looking.running:
            self._looking.stop()

    def _look(self) -> None:
        seconds = self._keepalive()
        for vigil in [*self._streams]:
            if vigil.stirred:
                vigil.stirred, vigil.quiet, vigil.silent = False, 0, 0
                continue
            vigil.quiet += 1
            vigil.silent += 1
            if vigil.silent > vigil.longest:
                vigil.longest = vigil.silent
            request = vigil.request
            if not seconds or vigil.quiet < seconds or not request.status or request.ended or request.gone:
                continue
            vigil.quiet = 0
            try:
                request.write(vigil.sign_of_life())
            except Exception:
                self.log.failure("while keeping a stream alive")
