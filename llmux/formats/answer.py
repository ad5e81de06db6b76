"""One translated JSON answer, and the fold of a stream into one (TRANSLATION 2.1.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from llmux.formats import failures
from llmux.formats.client import ClientCtx
from llmux.formats.codecs import ANSWERS
from llmux.formats.events import Args, Cite, Delta, Error, Event, Fail, PartStart, PartStop, Sign, Start, Usage, Use
from llmux.formats.framing import ArrayReader, EventStreamReader, Reader, TooLong
from llmux.formats.lenient import dump
from llmux.formats.neutral import Format
from llmux.formats.restoring import Restorer
from llmux.formats.vaulting import BlobCollector, Entry
from llmux.headers import RawHeaders

MAX_EVENTS = 1_000_000
MAX_JSON = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client gets: `headers` hold no more than the type and what an error brings; `error` is set for those.

    `warnings` are codes for `x-llmux-warning`; `vault_entries` as in `stream.StreamTranslator`.
    """

    status: int
    headers: RawHeaders
    body: bytes = field(repr=False)
    warnings: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    error: Error | None = None
    vault_entries: Mapping[str, Entry] = field(default_factory=dict, repr=False)


def translate_response(
    status: int, headers: RawHeaders, body: bytes, upstream: Format, client: Format, ctx: ClientCtx
) -> Answer:
    """A provider's JSON answer in the client's format; an error becomes an error, also one under a status of 200."""
    codec = ANSWERS[upstream]
    if status >= 400:
        return error_answer(codec.decode_error(status, headers, body), client)
    found = failures.error_body(body)
    if found is None:
        return error_answer(failures.not_json(status, headers), client)
    events, warnings = codec.decode_response(found)
    if events and isinstance(events[-1], Fail):
        if found.get("error"):  # the headers of the answer say how long to wait
            return error_answer(codec.decode_error(status, headers, body), client)
        return error_answer(events[-1].error, client)
    return fold(events, warnings, upstream, client, ctx)


def error_answer(error: Error, client: Format) -> Answer:
    """An error in the client's format."""
    status, headers, body = ANSWERS[client].encode_error(error)
    return Answer(status, [(b"content-type", b"application/json"), *headers], dump(body), error=error)


def fold(events: list[Event], warnings: list[str], upstream: Format, client: Format, ctx: ClientCtx) -> Answer:
    """The events of a whole answer as one JSON answer."""
    if not events or isinstance(events[-1], Fail):
        failed = events[-1] if events else None
        return error_answer(failed.error if isinstance(failed, Fail) else failures.TRUNCATED, client)
    restored = without_empty_parts(Restorer(ctx, wraps=upstream == "anthropic").feed(events))
    collector = BlobCollector(ctx) if client == "chat" else None
    if collector is not None:
        collector.watch(restored)
    usage = Usage()
    for event in restored:
        if isinstance(event, Use) or (isinstance(event, Start) and event.usage is not None):
            usage = event.usage or usage
    try:
        body, more = ANSWERS[client].encode_response(restored, ctx)
        data = dump(body)
    except RecursionError:
        return error_answer(failures.NOT_JSON, client)
    codes = tuple(dict.fromkeys([*warnings, *more]))
    entries = collector.entries if collector is not None else {}
    return Answer(200, [(b"content-type", b"application/json")], data, codes, usage, vault_entries=entries)


def without_empty_parts(events: Iterable[Event]) -> list[Event]:
    """The events without the texts and thoughts that hold nothing: they make no block, item or part."""
    known = list(events)
    filled = {event.i for event in known if isinstance(event, Delta | Args | Sign | Cite)}
    empty = {
        event.i
        for event in known
        if isinstance(event, PartStart) and event.kind != "call" and event.signature is None and event.i not in filled
    }
    return [event for event in known if not (isinstance(event, PartStart | PartStop) and event.i in empty)]


class StreamFolder:
    """Reads a provider's stream for a client that wants one JSON answer. `feed` never raises."""

    def __init__(self, upstream: Format, client: Format, ctx: ClientCtx, array: bool = False) -> None:
        self._formats = (upstream, client)
        self._ctx = ctx
        self._decoder = ANSWERS[upstream].decoder()
        self._reader: Reader = ArrayReader() if array else EventStreamReader()
        self._events: list[Event] = []
        self._size = 0

    @property
    def over(self) -> bool:
        """Whether the provider's stream has ended or failed; `close` has the answer."""
        return self._decoder.over

    def feed(self, chunk: bytes) -> None:
        """Take some bytes of the provider."""
        self._size += len(chunk)
        try:
            for name, data in self._reader.feed(chunk):
                self._events += self._decoder.feed(name, data)
        except TooLong:
            self._events += self._decoder.abort(failures.TOO_MUCH)
        if len(self._events) > MAX_EVENTS or self._size > MAX_JSON:
            self._events = self._decoder.abort(failures.TOO_MUCH)

    def close(self, error: Error | None = None) -> Answer:
        """The client's answer; `error` says that the provider's connection broke."""
        if error is not None:
            self._events += self._decoder.abort(error)
        else:
            for name, data in self._reader.close():
                self._events += self._decoder.feed(name, data)
            self._events += self._decoder.close()
        return fold(self._events, self._decoder.warnings, *self._formats, self._ctx)
