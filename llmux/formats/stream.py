"""One translated stream, bytes to bytes: the decoder of one format joined to the encoder of another (TRANSLATION 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from llmux.formats import failures
from llmux.formats.client import ClientCtx
from llmux.formats.codecs import ANSWERS
from llmux.formats.events import Delta, End, Error, Event, Fail, Ping, Start, Usage, Use
from llmux.formats.framing import ArrayReader, ArrayWriter, EventStreamReader, EventStreamWriter, Reader, TooLong
from llmux.formats.lenient import parse
from llmux.formats.neutral import Format
from llmux.formats.restoring import Restorer
from llmux.formats.stream_encoder import Message
from llmux.formats.vaulting import BlobCollector, Entry

Source = Literal["sse", "array", "json"]
Sink = Literal["sse", "array"]
MAX_JSON = 64 * 1024 * 1024


class StreamTranslator:
    """Turns a provider's answer into the stream that the client asked for. `feed` and `close` never raise.

    `source` is what the provider sends: an event stream, Gemini's streamed array, or one JSON object, which is
    unfolded at `close`. `sink` is what the client wants. `first_event_known`: the head may leave (TRANSLATION 2.1.6).
    When `error` is set, the bytes returned end with the error in the client's form, and the client's connection must
    be cut behind them; `started` False then means that nothing else was returned, so that a real status can be sent.
    """

    content_type: bytes

    def __init__(
        self, upstream: Format, client: Format, ctx: ClientCtx, source: Source = "sse", sink: Sink = "sse"
    ) -> None:
        self._client = client
        self._upstream = upstream
        self._decoder = ANSWERS[upstream].decoder()
        self._encoder = ANSWERS[client].encoder(ctx)
        self._restorer = Restorer(ctx, wraps=upstream == "anthropic")
        self._reader: Reader | None = None
        self._json = bytearray()
        if source != "json":
            self._reader = ArrayReader() if source == "array" else EventStreamReader()
        self._writer = ArrayWriter() if sink == "array" else EventStreamWriter()
        self.content_type = self._writer.content_type
        self._collector = BlobCollector(ctx) if client == "chat" else None
        self.started = False
        self.ended = False
        self.error: Error | None = None
        self.usage = Usage()

    @property
    def first_event_known(self) -> bool:
        """Whether the provider has said anything that concerns the client."""
        return self.started or self.error is not None

    @property
    def failed(self) -> bool:
        """Whether the client's connection must be cut after the bytes returned so far (DESIGN D-49)."""
        return self.error is not None

    @property
    def warnings(self) -> list[str]:
        """Codes that arose while the stream ran; too late for a header, so for the log (TRANSLATION 2.4)."""
        return [*self._decoder.warnings, *self._encoder.warnings]

    @property
    def vault_entries(self) -> Mapping[str, Entry]:
        """For Chat clients: call id -> the thinking that must go back before that call."""
        return self._collector.entries if self._collector else {}

    def feed(self, chunk: bytes) -> bytes:
        """The client's bytes for some bytes of the provider."""
        if self.ended or self.error is not None:
            return b""
        if self._reader is None:
            self._json += chunk
            return self._abort(failures.TOO_MUCH) if len(self._json) > MAX_JSON else b""
        try:
            messages = self._reader.feed(chunk)
        except TooLong:
            return self._abort(failures.TOO_MUCH)
        return self._translate(self._decoder.feed(*messages[0])) if len(messages) == 1 else self._take(messages)

    def close(self) -> bytes:
        """The client's bytes at the end of the provider's stream."""
        if self.ended or self.error is not None:
            return b""
        if self._reader is None:
            return self._translate(self._unfold())
        out = self._take(self._reader.close())
        return out + self._translate(self._decoder.close())

    def abort(self, error: Error) -> bytes:
        """The client's bytes when the provider's connection broke, or a clock of llmux ran out."""
        return self._abort(error) if not self.ended and self.error is None else b""

    def ping(self) -> bytes:
        """What the client's format takes for a sign of life (TRANSLATION 3.8, DESIGN D-52); nothing once it is over."""
        if self.ended or self.error is not None:
            return b""
        if self._client == "gemini":
            return b"\n"
        return b'event: ping\ndata: {"type":"ping"}\n\n' if self._client == "anthropic" else b": ping\n\n"

    def _abort(self, error: Error) -> bytes:
        return self._translate(self._decoder.abort(error))

    def _take(self, messages: list[Message]) -> bytes:
        out: list[bytes] = []
        said: list[Message] = []  # what pieces of text one after the other became
        for name, data in messages:
            events = self._decoder.feed(name, data)
            if len(events) == 1 and type(events[0]) is Delta and self._collector is None:
                said += self._encoder.feed(events[0])
                continue
            if said:
                out.append(self._writer.write(said))
                said.clear()
            out.append(self._translate(events))
            if self.ended or self.error is not None:
                break
        if said:
            out.append(self._writer.write(said))
        return b"".join(out)

    def _unfold(self) -> list[Event]:
        try:
            body = parse(bytes(self._json))
        except ValueError:
            body = None
        self._json.clear()
        if type(body) is not dict:
            return [Fail(failures.NOT_JSON)]
        events, warnings = ANSWERS[self._upstream].decode_response(body)
        self._decoder.warnings += warnings
        return events

    def _translate(self, events: list[Event]) -> bytes:
        if not events:
            return b""
        if len(events) == 1 and type(events[0]) is Delta:  # most of a stream, and nothing that is restored or noted
            if self._collector is not None:
                self._collector.watch(events)
            return self._writer.write(self._encoder.feed(events[0]))
        messages: list[Message] = []
        pings = b""
        restored = self._restorer.feed(events)
        if self._collector is not None:
            self._collector.watch(restored)
        try:
            for event in restored:
                kind = type(event)
                if kind is Ping:
                    pings = self.ping() if self.started else b""
                    continue
                messages += self._encoder.feed(event)
                if kind is Start or kind is Use or kind is End or kind is Fail:
                    self._note(event)
        except RecursionError:  # arguments nested deeper than the writer goes
            if self.error is None:
                self.error = failures.NOT_JSON
                messages = self._encoder.feed(Fail(failures.NOT_JSON))
        out = self._writer.write(messages) if messages else b""
        return out + self._writer.end() if self.ended or self.error is not None else out + pings

    def _note(self, event: Event) -> None:
        if isinstance(event, Start):
            self.started = True
            self.usage = event.usage or self.usage
        elif isinstance(event, Use):
            self.usage = event.usage
        elif isinstance(event, Fail):
            self.error = event.error
        else:
            self.ended = True
