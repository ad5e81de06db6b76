"""A provider's answer in the client's format: streams event by event, bodies and errors as a whole (TRANSLATION)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from llmux.formats import failures
from llmux.formats.answer import Answer as Translated
from llmux.formats.answer import StreamFolder, error_answer, translate_response
from llmux.formats.events import Error, Usage
from llmux.formats.jsontext import LONG_BODY
from llmux.formats.stream import Sink, Source, StreamTranslator
from llmux.formats.vaulting import Entry
from llmux.headers import RawHeaders, media_type
from llmux.peers.saved import Exchange
from llmux.peers.translation import Translation
from llmux.rewrite.amp_shape import ShapeFixes, ToolNames
from llmux.rewrite.answer import AnswerEditor
from llmux.rewrite.gunzip import BadGzip, Gunzip, TooLarge
from llmux.rewrite.media import encoding, is_gzip
from llmux.rewrite.sse import StreamEditor
from llmux.web.vigil import Vigil
from llmux.wire.outgoing import UpstreamFailure
from llmux.wire.relay import Outcome
from llmux.wire.request import Request
from llmux.wire.response_head import ResponseHead

MOST_NAMED = 32
"""How many losses a header names: a client may have thousands of tools that nobody else has."""
_DESCRIBES_THE_OLD_BODY = frozenset(
    (b"content-type", b"content-length", b"content-encoding", b"digest", b"content-digest", b"repr-digest", b"etag")
)
# Nobody can reach the rest of this answer, so it is a 502 as for a provider that speaks the client's format (R-ER-13).
BROKEN_OFF = Error("server", failures.TRUNCATED.message, 502)
# What these say is the request's own fault, and no reason to leave the provider alone.
_BLAMELESS = frozenset(("invalid", "context", "policy", "too_large", "not_found"))
_BLOCK = b'"content_block"'  # without it no event of ours has what the shape fixes look at
_TIMED_OUT = {
    "idle-timeout": Error("timeout", "the provider fell silent in the middle of its answer (timeouts.idle)", 504),
    "total-timeout": Error("timeout", "the provider did not finish its answer in time (timeouts.total)", 504),
}


class TranslatedAnswer:
    """Receives a provider's answer and writes the client's; `done` fires once with the outcome and does not fail.

    The head leaves when the first event is known, so that a provider that fails at once still gets a real status
    (TRANSLATION 2.1.6). When a stream fails later, its error is written and the connection is cut (DESIGN D-49).
    `in_thread` translates a long body that cannot leave before its end, since other streams must go on meanwhile.
    `names` asks for the shape fixes of SPEC 10.
    """

    log = Logger()

    def __init__(
        self,
        request: Request,
        exchange: Exchange,
        head: ResponseHead,
        translation: Translation,
        headers: RawHeaders,
        said: RawHeaders,
        limit: int,
        in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
        vigil: Vigil | None = None,
        watch: Callable[[bytes], None] | None = None,
        names: ToolNames | None = None,
    ) -> None:
        self.done: Deferred[Outcome] = Deferred()
        self.vault_entries: dict[str, Entry] = {}
        self._request = request
        self._exchange = exchange
        self._head = head
        self._translation = translation
        self._headers = [header for header in headers if header[0].lower() not in _DESCRIBES_THE_OLD_BODY]
        self._said = said
        self._limit = limit
        self._in_thread = in_thread
        self._received = 0
        self._held = 0
        self._holds = True
        self._over = False
        self._gunzip = Gunzip(limit) if is_gzip(encoding(head.headers)) else None
        self._body = bytearray()
        self._folder: StreamFolder | None = None
        self._stream: StreamTranslator | None = None
        self._vigil = vigil
        self._watch = watch
        # Thinking stays beside tool calls, unlike in SPEC R-CP-3: here it is signed, and its vendor wants it back.
        self._shape = None if names is None else AnswerEditor(None, ShapeFixes(names, keep_thinking=True))
        self._editor = None if self._shape is None else StreamEditor(self._shape.event, self._shape.needles)
        self._usage = Usage()
        self._choose()
        request.when_gone(self._client_gone)
        if not self._over:
            request.flow(exchange)
            exchange.relay(self)

    @property
    def usage(self) -> Usage:
        """The token counts as far as they are known."""
        return self._usage if self._stream is None else self._stream.usage

    def _choose(self) -> None:
        """A stream is what both say it is; the content type of a successful answer decides what was sent."""
        translation = self._translation
        if self._head.status >= 400:
            return
        streamed = media_type(self._head.headers) == b"text/event-stream"
        if translation.stream:
            source: Source = "sse" if streamed else "json"
            sink: Sink = "array" if translation.array else "sse"
            self._stream = StreamTranslator(translation.upstream, translation.client, translation.ctx, source, sink)
            self._holds = source == "json"
            if self._vigil is not None:
                self._vigil.ping = self._stream.ping
        elif streamed:
            self._folder = StreamFolder(translation.upstream, translation.client, translation.ctx)

    def data(self, data: bytes) -> None:
        """Take a piece of the provider's body."""
        if self._over:
            return
        self._received += len(data)
        if self._vigil is not None:
            self._vigil.stirred = True
        if self._watch is not None:
            self._watch(data)
        if self._gunzip is not None:
            try:
                data = self._gunzip.feed(data)
            except (BadGzip, TooLarge):
                self._give_up(failures.NOT_JSON)
                return
        if self._holds:
            self._held += len(data)
        if self._stream is not None:
            self._write(self._stream.feed(data))
        elif self._folder is not None:
            self._folder.feed(data)
        else:
            self._body += data
            if len(self._body) > self._limit:
                self._give_up(Error("server", "the provider's answer is too long to be translated", 502))

    def end(self, trailers: RawHeaders) -> None:
        """Take the end of the provider's body."""
        if self._over:
            return
        if self._held < LONG_BODY:
            self._finish(self._rest())
        else:
            self._in_thread(self._rest).addCallback(self._finish).addErrback(self._broken)

    def _rest(self) -> Translated | bytes:
        """What the end of the body brings: the answer, or the last bytes of a stream. May run in a thread."""
        if self._stream is not None:
            return self._stream.close()
        if self._folder is not None:
            return self._folder.close()
        translation = self._translation
        return translate_response(
            self._head.status,
            self._head.headers,
            bytes(self._body),
            translation.upstream,
            translation.client,
            translation.ctx,
        )

    def _finish(self, rest: Translated | bytes) -> None:
        if self._over:
            return
        if isinstance(rest, Translated):
            self._respond(rest)
            self._end(complete=True)
            return
        self._write(rest)
        if self._stream is not None and not self._over:
            self._keep(self._stream.vault_entries)
            self._tell(self._stream.warnings)
            self._start()
            self._request.finish()
            self._end(complete=True)

    def _broken(self, failure: Failure) -> None:
        self.log.failure("while an answer was translated", failure)
        if self._over:
            return
        if self._request.status:
            self._request.break_off()
            self._end(failure=UpstreamFailure("protocol", "the answer could not be translated", answered=True))
        else:
            self._give_up(Error("server", "the provider's answer could not be translated", 502))

    def failed(self, failure: UpstreamFailure) -> None:
        """The provider broke off: say so in the client's format, and cut what has begun."""
        if self._over:
            return
        error = _TIMED_OUT.get(failure.kind, BROKEN_OFF)
        if self._stream is not None:
            self._write(self._stream.abort(error), failure)
        if not self._over:
            self._give_up(error, failure)

    def _write(self, out: bytes, failure: UpstreamFailure | None = None) -> None:
        stream = self._stream
        if stream is None:
            return
        if self._editor is not None and _BLOCK in out:
            out = self._editor.feed(out)  # whole events, of which it holds nothing back
        if stream.error is None:
            if out:
                if not self._request.status:
                    self._start()
                self._request.write(out)
            return
        if not stream.started:
            self._give_up(stream.error, failure)
            return
        self._start()
        self._request.write(out)
        self._request.break_off()
        self._exchange.abort()
        kind = "protocol" if stream.error.kind in _BLAMELESS else "cut"
        self._end(failure=failure or UpstreamFailure(kind, f"{stream.error.kind} in the stream", answered=True))

    def _give_up(self, error: Error, failure: UpstreamFailure | None = None) -> None:
        """Answer with a real error: nothing has been sent yet."""
        self._exchange.abort()
        self._respond(error_answer(error, self._translation.client))
        self._end(failure=failure or UpstreamFailure("protocol", f"{error.kind} before the answer", answered=True))

    def _start(self) -> None:
        if self._request.status or self._stream is None or self._request.gone:
            return
        kind = (b"Content-Type", self._stream.content_type)
        self._request.start(200, [*self._headers, kind, *self._said, *self._warnings(())])

    def _respond(self, answer: Translated) -> None:
        self._keep(answer.vault_entries)
        self._tell(answer.warnings)
        self._usage = answer.usage
        # What the formats made of a provider's `retry-after` replaces it: two values are none to a client.
        made = {name.lower() for name, _ in answer.headers}
        kept = [header for header in self._headers if header[0].lower() not in made]
        said = [*self._said, *self._warnings(answer.warnings)]
        body = answer.body if self._shape is None else bytes(self._shape.body(answer.body))
        self._request.respond(answer.status, [*kept, *answer.headers, *said], body)

    def _warnings(self, more: tuple[str, ...]) -> RawHeaders:
        return warned(tuple(dict.fromkeys((*self._translation.warnings, *more))))

    def _tell(self, codes: Iterable[str]) -> None:
        """Log what the answer lost; in a stream it is too late for the header (TRANSLATION 2.4)."""
        named = ", ".join(dict.fromkeys(codes))
        if named:
            self.log.info(
                "the answer for {model} is not quite the provider's: {codes}",
                model=self._translation.ctx.model,
                codes=named,
            )

    def _keep(self, entries: object) -> None:
        if isinstance(entries, dict):
            self.vault_entries = entries

    def _client_gone(self) -> None:
        if not self._over:
            if self._stream is not None:
                self._keep(self._stream.vault_entries)  # some hang up as soon as they know which tools to run
            self._exchange.abort()
            self._end(client_gone=True)

    def _end(
        self, *, complete: bool = False, client_gone: bool = False, failure: UpstreamFailure | None = None
    ) -> None:
        self._over = True
        self._request.flow(None)
        self.done.callback(Outcome(complete, client_gone, failure, self._received))


def warned(codes: tuple[str, ...]) -> RawHeaders:
    """The header that names what a request or its answer lost (TRANSLATION 2.4), if it lost anything."""
    return [(b"x-llmux-warning", ", ".join(codes[:MOST_NAMED]).encode("ascii"))] if codes else []
