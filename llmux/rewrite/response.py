"""The transform that an answer's body goes through on its way to the client (SPEC 8, 9, 10, 14; DESIGN D-51)."""

from __future__ import annotations

from collections.abc import Callable

from llmux.headers import RawHeaders, media_type
from llmux.rewrite.amp_shape import ShapeFixes, ToolNames
from llmux.rewrite.answer import AnswerEditor
from llmux.rewrite.gunzip import BadGzip, Gunzip, TooLarge, gunzip
from llmux.rewrite.media import (
    Form,
    bodiless,
    changed_headers,
    encoding,
    is_gzip,
    is_json,
    sized_headers,
    sniff,
    value,
)
from llmux.rewrite.model import ModelRewriter
from llmux.rewrite.spans import Buffer
from llmux.rewrite.sse import EVENT_LIMIT, StreamEditor

BODY_LIMIT = 32 * 1024 * 1024

BodyEdit = Callable[[Buffer], Buffer]
_GZIP_MAGIC = b"\x1f\x8b"
_SNIFFED = 256
_STREAM_EXPANSION = 16 * 1024 * 1024  # bytes that one piece of a compressed stream may unpack to


class ResponseTransform:
    """Bytes of an answer in, bytes for the client out.

    `headers` are right once `settled` is true: at once for a labelled stream that is not compressed, for a compressed
    one when its first bytes could be unpacked; for other bodies at the latest when `close` returns, with
    `Content-Length` if the whole body was held. Until then `feed` gives b"". The head must not be sent before. A body
    that turns out not to be what its label says passes as it came, with the label (SPEC R-RJ-7). `changed` says whether
    a byte differs from what came, `overflowed` that a body was above the limit and went through unchanged (worth a
    warning, SPEC R-RJ-8). `feed` and `close` raise BadGzip or TooLarge when a compressed stream turns out bad after its
    head was sent: the client's connection must then be cut.
    """

    def __init__(
        self,
        headers: RawHeaders,
        form: Form | None,
        edit: BodyEdit,
        stream: Callable[[], StreamEditor] | None,
        limit: int = BODY_LIMIT,
    ) -> None:
        self.headers = headers
        self.settled = False
        self.overflowed = False
        self._original = headers
        self._media = media_type(headers)
        self._decoder = Gunzip(limit) if is_gzip(encoding(headers)) else None
        self._edit = edit
        self._open_stream = stream
        self._stream: StreamEditor | None = None
        self._limit = limit
        self._raw = bytearray()
        self._plain = bytearray() if self._decoder is not None else self._raw
        self._form = form
        self._changed = False
        if form is Form.STREAM and self._decoder is None:
            self._begin_stream()
        elif form is Form.STREAM and self._decoder is not None:
            self._decoder.per_feed(_STREAM_EXPANSION)

    @property
    def changed(self) -> bool:
        """Whether the client gets other bytes than the provider sent."""
        return self._changed or (self._stream is not None and self._stream.changed)

    @property
    def label(self) -> str:
        """The value of `x-llmux-body` so far; a stream that may still change counts as spliced (DESIGN 3)."""
        return "spliced" if self.changed or self._form is Form.STREAM else "identical"

    def feed(self, data: bytes) -> bytes:
        """The next bytes for the client; b"" while the body is held."""
        if self._stream is not None:
            return self._stream.feed(data if self._decoder is None else self._decoder.feed(data))
        if self._form is Form.VERBATIM:
            return data
        self._raw += data
        if self._decoder is not None:
            try:
                self._plain += self._decoder.feed(data)
            except BadGzip:
                return self._let_through()
            except TooLarge:
                self.overflowed = True
                return self._let_through()
        if self._form is None:
            self._form = sniff(self._media, bytes(self._plain[:_SNIFFED]), ended=False)
            if self._form is None and len(self._plain) >= _SNIFFED:
                self._form = Form.VERBATIM
        return self._proceed()

    def close(self) -> bytes:
        """The last bytes for the client."""
        if self._stream is not None:
            if self._decoder is not None:
                self._decoder.close()
            return self._stream.close()
        if self._form is Form.VERBATIM:
            return b""
        if self._decoder is not None:
            try:
                self._decoder.close()
            except BadGzip:
                return self._let_through()
        if self._form is None:
            self._form = sniff(self._media, bytes(self._plain[:_SNIFFED]), ended=True)
        if self._form is Form.STREAM:
            return self._proceed(ended=True) + self.close()
        if self._form is not Form.DOCUMENT:
            return self._let_through()
        edited = self._edit(self._plain)
        self.settled = True
        if edited is self._plain:
            self.headers = sized_headers(self._original, len(self._raw))
            edited = self._raw
        else:
            self._changed = True
            self.headers = changed_headers(self._original, len(edited), decoded=self._decoder is not None)
        self._form = Form.VERBATIM
        self._raw = self._plain = bytearray()
        return bytes(edited)

    def _proceed(self, ended: bool = False) -> bytes:
        if self._form is Form.VERBATIM:
            return self._let_through()
        if self._form is Form.STREAM and (self._plain or ended):
            plain = bytes(self._plain)
            self._begin_stream()
            assert self._stream is not None
            return self._stream.feed(plain)
        if len(self._raw) > self._limit:
            self.overflowed = True
            return self._let_through()
        return b""

    def _begin_stream(self) -> None:
        if self._open_stream is None:
            self._form = Form.VERBATIM
            return
        self._stream = self._open_stream()
        self._raw = self._plain = bytearray()
        self.settled = True
        self.headers = changed_headers(self._original, None, decoded=self._decoder is not None)
        if self._decoder is not None:
            self._decoder.per_feed(_STREAM_EXPANSION)
            self._changed = True

    def _let_through(self) -> bytes:
        """What came so far as it came; from now on every byte passes."""
        self._form = Form.VERBATIM
        self.settled = True
        held = bytes(self._raw)
        self._raw = self._plain = bytearray()
        return held


class GunzipTransform:
    """Unpacks a body that is gzip without saying so, and lets every other body through at once (SPEC 14).

    A gzip body is held until it has been unpacked whole: if that fails, or gives more than `limit` bytes, the client
    gets the original bytes and headers. `headers` and `settled` are as in ResponseTransform.
    """

    def __init__(self, headers: RawHeaders, limit: int = BODY_LIMIT) -> None:
        self.headers = headers
        self.settled = False
        self.overflowed = False
        self.changed = False
        self._limit = limit
        self._raw = bytearray()
        self._plain: list[bytes] = []
        self._decoder: Gunzip | None = None

    def feed(self, data: bytes) -> bytes:
        """The next bytes for the client; b"" while the body may be gzip."""
        if self.settled:
            return data
        self._raw += data
        if self._decoder is None:
            if len(self._raw) < 2:
                return b""
            if not self._raw.startswith(_GZIP_MAGIC):
                return self._let_through()
            self._decoder = Gunzip(self._limit)
            data = bytes(self._raw)
        try:
            self._plain.append(self._decoder.feed(data))
        except BadGzip:
            return self._let_through()
        except TooLarge:
            self.overflowed = True
            return self._let_through()
        return b""

    def close(self) -> bytes:
        """The unpacked body, or what was held."""
        if self.settled:
            return b""
        if self._decoder is not None:
            try:
                self._decoder.close()
            except BadGzip:
                return self._let_through()
            plain = b"".join(self._plain)
            self._plain.clear()
            self._raw = bytearray()
            self.settled = self.changed = True
            self.headers = changed_headers(self.headers, len(plain))
            return plain
        return self._let_through()

    def _let_through(self) -> bytes:
        self.settled = True
        held = bytes(self._raw)
        self._raw = bytearray()
        self._plain.clear()
        return held


def response_transform(
    status: int,
    method: bytes,
    headers: RawHeaders,
    *,
    rewrite_model: str | None,
    shape_fixes: bool,
    provider_is_anthropic: bool,
    tools: ToolNames | None = None,
    limit: int = BODY_LIMIT,
    event_limit: int = EVENT_LIMIT,
) -> tuple[RawHeaders, ResponseTransform | None]:
    """How an answer is changed for the client; None: its bytes and headers pass verbatim.

    `rewrite_model` is the name the client asked for, None when model fields stay (LOCAL_PROVIDER). The headers
    returned are final if there is no transform or it is `settled`; otherwise see ResponseTransform.
    """
    if bodiless(status, method) or (rewrite_model is None and not shape_fixes):
        return headers, None
    coding = encoding(headers)
    media = media_type(headers)
    form: Form | None
    if coding and not is_gzip(coding):
        return headers, None
    if media == b"text/event-stream":
        form = Form.STREAM
    elif not media or media == b"text/plain" or is_json(media):
        form = None
    else:
        return headers, None
    model = ModelRewriter(rewrite_model) if rewrite_model is not None else None
    shape = ShapeFixes(tools or ToolNames(), provider_is_anthropic) if shape_fixes else None
    editor = AnswerEditor(model, shape)
    transform = ResponseTransform(
        headers, form, editor.body, lambda: StreamEditor(editor.event, editor.needles, event_limit), limit
    )
    return transform.headers, transform


def body_transform(
    status: int, method: bytes, headers: RawHeaders, edit: BodyEdit, limit: int = BODY_LIMIT
) -> tuple[RawHeaders, ResponseTransform | GunzipTransform | None]:
    """The same for an answer of the upstream and one edit of a whole JSON body, as `features.remove_features` makes.

    A body that is gzip without saying so is unpacked as `gunzip_transform` does it, whatever its type (SPEC R-GZ-1).
    """
    headers, unlabelled = gunzip_transform(status, method, headers, limit)
    coding = encoding(headers)
    if bodiless(status, method) or (coding and not is_gzip(coding)) or not is_json(media_type(headers)):
        return headers, unlabelled

    def unpack_and_edit(body: Buffer) -> Buffer:
        try:
            plain = gunzip(body, limit) if body.startswith(_GZIP_MAGIC) else None
        except TooLarge:
            return body
        return edit(body if plain is None else plain)

    return headers, ResponseTransform(headers, Form.DOCUMENT, unpack_and_edit if unlabelled else edit, None, limit)


def gunzip_transform(
    status: int, method: bytes, headers: RawHeaders, limit: int = BODY_LIMIT
) -> tuple[RawHeaders, GunzipTransform | None]:
    """Whether an upstream's answer may be gzip without a label; None: it passes verbatim (SPEC R-GZ-2)."""
    media = media_type(headers)
    disposition = (value(headers, b"content-disposition") or b"").lstrip().lower()
    if (
        bodiless(status, method)
        or status == 206
        or (value(headers, b"content-encoding") or b"").strip()
        or media == b"text/event-stream"
        or _is_gzip_media(media)
        or disposition.startswith(b"attachment")
    ):
        return headers, None
    return headers, GunzipTransform(headers, limit)


def _is_gzip_media(media: bytes) -> bool:
    return b"gzip" in media or media.endswith((b"/x-gtar-compressed", b"/x-tgz", b"/x-compressed-tar"))
