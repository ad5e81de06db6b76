"""A request as its handler sees it, and the answer that the handler writes into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, ITransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from llmux.headers import RawHeaders
from llmux.wire.body import RequestBody
from llmux.wire.request_head import RequestHead
from llmux.wire.response_writing import CHUNKED, CLOSE, field_lines, head_bytes, status_line

if TYPE_CHECKING:
    from llmux.wire.channel import ServerChannel

# How the client finds the end of the answer.
NO_CONTENT, BY_LENGTH, BY_CHUNKS, BY_CLOSE = range(4)


class Source(Protocol):
    """Who produces the answer and can be told to wait while the client's transport is full."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Tunnel(Protocol):
    """Who receives the bytes of a connection that left HTTP."""

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...


_FORGOTTEN: tuple[RawHeaders, dict[bytes, bytes]] = ([], {})


class Request:
    """One request, from its head to the end of its answer.

    Answer with `respond`, or with `start`, `write` and `finish`, or give up with `break_off`. Once `gone` is true
    (the client left, or the wire had to answer itself) or `broken` (the answer was cut) everything that writes does
    nothing.
    """

    __slots__ = (
        "_callbacks",
        "_channel",
        "_finished",
        "_first",
        "_framing",
        "_head",
        "_left",
        "body",
        "broken",
        "bytes_sent",
        "close",
        "ended",
        "gone",
        "headers",
        "http10",
        "method",
        "postpath",
        "prepath",
        "source",
        "status",
        "upgrade",
        "uri",
    )
    log = Logger()
    prepath: list[bytes]
    postpath: list[bytes]

    def __init__(self, channel: ServerChannel, head: RequestHead, body: RequestBody) -> None:
        self.method, self.uri, self.http10, self.headers, self._first, _, _, self.close, self.upgrade = head
        self.body = body
        self.status = 0
        self.bytes_sent = 0
        self.ended = False
        self.broken = False
        self.gone = False
        self.source: Source | None = None
        self._channel = channel
        self._callbacks: list[Callable[[], None]] | None = None
        self._finished: list[Deferred[None]] | None = None
        self._head: bytes | None = None
        self._framing = NO_CONTENT
        self._left = 0

    @property
    def peer(self) -> str:
        """The client's IP address, without a port; empty for a Unix socket."""
        return self._channel.peer

    @property
    def draining(self) -> bool:
        """True when the server is going to stop."""
        return self._channel.factory.draining

    def header(self, lower_name: bytes) -> bytes | None:
        """Return the first value of a field, by its name in lower case."""
        return self._first.get(lower_name)

    def respond(self, status: int, headers: RawHeaders, body: bytes = b"") -> None:
        """Send a whole answer in one write; Content-Length is the body's, except for HEAD and 304."""
        if self.gone or self.broken:
            return
        self._begin(status, 200)
        lines, length = field_lines(headers)
        empty = self._is_empty(status)
        if not empty or (length is None and status not in (204, 304)):
            length = len(body)
        head = self._serialize(status, None, lines, length)
        self.status = status
        if not empty:
            self.bytes_sent = len(body)
            head += body
        self._channel.send(head)
        self._end()

    def forget_head(self) -> None:
        """Let go of the header fields, for an answer that may last for hours and needs them no more."""
        self.headers, self._first = _FORGOTTEN

    def start(self, status: int, headers: RawHeaders, reason: bytes | None = None) -> None:
        """Begin a streaming answer: its head leaves with the first body bytes of this turn, or when the turn ends.

        A Content-Length among the headers is binding: writing more or finishing short breaks the connection off.
        Raises ValueError for a head that cannot be sent; then nothing has been sent.
        """
        if self.gone or self.broken:
            return
        self._begin(status, 200)
        lines, length = field_lines(headers)
        if self._is_empty(status):
            framing = NO_CONTENT
        elif length is not None:
            framing = BY_LENGTH
        elif self.http10:
            framing = BY_CLOSE
        else:
            framing = BY_CHUNKS
            lines.append(CHUNKED)
        self._head = self._serialize(status, reason, lines, length)
        self._framing, self._left = framing, length or 0
        self.status = status
        self._channel.at_end_of_turn(self._send_head)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send a piece of the body."""
        size = len(data)
        if self.gone or not size:
            return
        if not self.status or self.ended:
            self._refuse_use()
            return
        framing = self._framing
        if framing == NO_CONTENT:
            return
        if framing == BY_CHUNKS:
            piece = b"%x\r\n%b\r\n" % (size, data)  # type: ignore[str-format]  # any buffer will do
        else:
            if framing == BY_LENGTH:
                if size > self._left:
                    self.log.error("an answer of {status} is longer than its Content-Length", status=self.status)
                    self.abandon()
                    return
                self._left -= size
            piece = data if type(data) is bytes else bytes(data)
        self.bytes_sent += size
        head = self._head
        if head is not None:
            self._head = None
            piece = head + piece
        self._channel.send(piece)

    def finish(self, trailers: RawHeaders | tuple[()] = ()) -> None:
        """End a streaming answer; trailers are sent only where the answer is chunked."""
        if self.gone:
            return
        if not self.status or self.ended:
            self._refuse_use()
            return
        framing = self._framing
        if framing == BY_LENGTH and self._left:
            self.log.error("an answer of {status} is shorter than its Content-Length", status=self.status)
            self.abandon()
            return
        end = self._head or b""
        if framing == BY_CHUNKS:
            end += b"0\r\n" + (head_bytes(field_lines(trailers)[0]) if trailers else b"\r\n")
        self._head = None
        if end:
            self._channel.send(end)
        self._end()

    def break_off(self) -> None:
        """End the connection so that the client sees a cut: what was written leaves, the answer's end does not.

        A close-delimited answer is cut by RST, since FIN is its end. Before the head there is nothing to send.
        """
        if self.gone or self.ended:
            return
        self.ended = self.broken = True
        self._callbacks = None
        head, self._head = self._head, None
        if head is not None:
            self._channel.send(head)
        self._channel.request_broken(self, reset=not self.status or self._framing == BY_CLOSE)

    def interim(self, status: int, headers: RawHeaders) -> None:
        """Send an informational answer, 102 to 199, before the head; HTTP/1.0 clients are spared."""
        if self.gone or self.broken or self.http10:
            return
        if status > 199:
            raise ValueError("not an interim status")
        self._begin(status, 102)
        self._channel.send(head_bytes([status_line(status), *field_lines(headers)[0]]))

    def when_gone(self, callback: Callable[[], None]) -> None:
        """Call back, once and synchronously, when the client leaves before the answer ended; at once if it has left."""
        if self.gone:
            callback()
        elif not self.ended:
            if self._callbacks is None:
                self._callbacks = []
            self._callbacks.append(callback)

    def flow(self, source: Source | None) -> None:
        """Name who is paused while the client's transport is full; None takes the name back."""
        self.source = source
        if source is not None and self._channel.full:
            source.pause()

    def take_over(self, status: int, headers: RawHeaders) -> tuple[ITransport, bytes]:
        """Answer an upgrade and leave HTTP: return the transport and the bytes that came behind the request.

        The headers go out as they are; Connection and Upgrade are added if missing. Set the receiver of further bytes
        with `set_tunnel`; the transport's producer is free to register. `when_gone` callbacks are dropped.
        """
        if self.gone or self.ended or self.status or self.upgrade is None or not self.body.complete:
            raise RuntimeError("this request cannot be taken over")
        names = {name.lower() for name, _ in headers}
        lines = [status_line(status), *(b"%b: %b\r\n" % field for field in headers)]
        if b"connection" not in names:
            lines.append(b"Connection: Upgrade\r\n")
        if b"upgrade" not in names:
            lines.append(b"Upgrade: %b\r\n" % self.upgrade)
        head = head_bytes(lines)
        self.status = status
        self._callbacks = None
        self._channel.send(head)
        return self._channel.leave_http()

    def set_tunnel(self, tunnel: Tunnel) -> None:
        """Name who receives `dataReceived` and `connectionLost` after `take_over`."""
        self._channel.set_tunnel(tunnel)

    def abandon(self) -> None:
        """Cut an answer that cannot be completed, and tell those who produce it."""
        callbacks, self._callbacks = self._callbacks, None
        self.break_off()
        self._callbacks = callbacks
        self.lose()

    def lose(self) -> None:
        """Take notice that no answer can be sent any more; the channel calls this."""
        self.gone = True
        callbacks, self._callbacks = self._callbacks, None
        self.source = None
        self._head = None
        for callback in callbacks or ():
            try:
                callback()
            except Exception:
                self.log.failure("in a callback for a client that left")
        finished, self._finished = self._finished, None
        for waiting in finished or ():
            waiting.errback(Failure(ConnectionDone()))

    def _begin(self, status: int, least: int) -> None:
        if self.status or self.ended:
            raise RuntimeError("the answer has begun before")
        if not least <= status <= 999:
            raise ValueError("not a status to answer with")

    def _end(self) -> None:
        self.ended = True
        self._callbacks = None
        self._channel.request_done(self)
        finished, self._finished = self._finished, None
        for waiting in finished or ():
            waiting.callback(None)

    def _refuse_use(self) -> None:
        if not self.broken:
            raise RuntimeError("there is no answer under way")

    def _is_empty(self, status: int) -> bool:
        return status in (204, 304) or self.method == b"HEAD"

    def _serialize(self, status: int, reason: bytes | None, lines: list[bytes], length: int | None) -> bytes:
        """Return the head, having decided whether the connection outlives the answer."""
        if length is not None and status != 204:  # RFC 9110 8.6: 204 has no Content-Length
            lines.append(b"Content-Length: %d\r\n" % length)
        lines.insert(0, status_line(status, reason))
        if self.close or self.draining or not self.body.complete:
            self.close = True
            lines.append(CLOSE)
        return head_bytes(lines)

    def _send_head(self) -> None:
        head, self._head = self._head, None
        if head is not None:
            self._channel.send(head)

    # What Klein asks of a request. Made when asked for: the common path does not.

    if not TYPE_CHECKING:  # or every misspelt attribute would be typed Any

        def __getattr__(self, name: str) -> list[bytes]:
            if name == "prepath":
                self.prepath = []
                return self.prepath
            if name == "postpath":
                self.postpath = self.path.split(b"/")[1:]
                return self.postpath
            raise AttributeError(name)

    @property
    def path(self) -> bytes:
        """The target without its query, as sent."""
        return self.uri.partition(b"?")[0]

    def getHeader(self, name: bytes) -> bytes | None:
        return self._first.get(name.lower())

    def isSecure(self) -> bool:
        return self._channel.is_secure()

    def getHost(self) -> IAddress:
        host: IAddress = self._channel.transport.getHost()
        return host

    def getRequestHostname(self) -> bytes:
        host = self._first.get(b"host", b"")
        return host[: host.find(b"]") + 1] if host.startswith(b"[") else host.partition(b":")[0]

    def notifyFinish(self) -> Deferred[None]:
        """Return a Deferred that fires when the answer has ended and fails when the client leaves before."""
        waiting: Deferred[None] = Deferred()
        if self._finished is None:
            self._finished = []
        self._finished.append(waiting)
        return waiting
