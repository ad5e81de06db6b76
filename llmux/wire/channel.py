"""One client connection: requests one at a time, answers in order, and a clock for everything the client owes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from llmux.wire.body import NO_BODY, RequestBody
from llmux.wire.chunked import ChunkedDecoder, FramingError
from llmux.wire.link import BODY, BUSY, HEAD, IDLE, LINGER, LOST, NEVER, PIPELINE, TUNNEL, Link
from llmux.wire.request import Request, Tunnel
from llmux.wire.request_head import Refusal, RequestHead, never_a_head, read_head
from llmux.wire.response_writing import CLOSE, field_lines, head_bytes, status_line

if TYPE_CHECKING:
    from llmux.wire.server import HTTPServer

PIPELINED = 65536  # bytes of later requests that may wait
_IN_A_ROW = 32  # pipelined requests begun before others get their turn
HALF_CLOSE = 0.05  # seconds within which a FIN may belong to the request before it; who sends one later has left
_EMPTY_LINES = re.compile(rb"(?:\r\n)++")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class ServerChannel(Link):
    """The protocol of an accepted connection, made by `HTTPServer`."""

    __slots__ = ("_asked", "_decoder", "_expect", "_lingered", "_pumping", "_seen", "request", "tunnel")

    def __init__(self, factory: HTTPServer, peer: str) -> None:
        super().__init__(factory, peer)
        self.request: Request | None = None
        self.tunnel: Tunnel | None = None
        self._decoder: ChunkedDecoder | None = None
        self._asked = 0.0  # when the last request of the client was complete
        self._expect = False  # the client waits for 100 Continue
        self._lingered = 0  # bytes swallowed
        self._pumping = False
        self._seen = 0  # bytes of the buffer that were looked at

    def logPrefix(self) -> str:
        return "http"

    def dataReceived(self, data: bytes) -> None:
        phase = self._phase
        if phase <= HEAD:
            self._buffer = self._buffer + data if self._buffer else data
            self._pump()
        elif phase == BUSY:
            request = self.request
            if request is not None and not request.body.complete:
                self._feed_body(request, data)
            else:
                self._buffer += data
                if len(self._buffer) > PIPELINED:
                    self._hold(PIPELINE, True)
        elif phase == TUNNEL:
            if self.tunnel is None:
                self._buffer += data
            else:
                self.tunnel.dataReceived(data)
        elif phase == LINGER:
            self._lingered += len(data)
            if self._lingered > self.factory.settings.linger_bytes:
                self._lose()

    def _pump(self) -> None:
        """Begin requests from the buffer for as long as each is answered at once."""
        if self._pumping:
            return
        self._pumping = True
        begun = 0
        try:
            while self._buffer and self._phase <= HEAD and not self.full:
                if begun == _IN_A_ROW:
                    self.factory.clock.callLater(0, self._pump)
                    return
                if not self._begin():
                    return
                begun += 1
        finally:
            self._pumping = False

    def _begin(self) -> bool:
        """Begin the request at the start of the buffer; return False if there is no whole head yet."""
        settings = self.factory.settings
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):  # RFC 9112 2.2; the idle clock goes on
            buffer = self._buffer = buffer[cast(re.Match[bytes], _EMPTY_LINES.match(buffer)).end() :]
            self._seen = 0
        end = buffer.find(b"\r\n\r\n", 0, settings.header_bytes) + 4
        if end < 4:
            self._wait_for_head(buffer)
            return False
        size = len(buffer)
        head = read_head(buffer if end == size else buffer[:end], settings.header_fields, settings.target)
        if type(head) is Refusal:
            self._refuse(head.status, head.reason)
            return False
        self._buffer = b""
        self._seen = 0
        self._start_request(cast(RequestHead, head), buffer[end:] if end < size else b"")
        return True

    def _wait_for_head(self, buffer: bytes) -> None:
        settings = self.factory.settings
        size = len(buffer)
        if size > settings.target + 64 and buffer.find(b"\r\n") < 0:
            self._refuse(414, "the request target is too long")
        elif size >= settings.header_bytes:
            self._refuse(431, "the request head is too long")
        elif size and never_a_head(buffer, self._seen):
            self._refuse(400, "the request head is malformed")
        else:
            self._seen = size
            if self._holds:
                self._hold_for_pipeline()
            if size and self._phase == IDLE:
                self._phase = HEAD
                self.deadline = self.factory.after(settings.header_timeout)

    def _start_request(self, head: RequestHead, rest: bytes) -> None:
        factory = self.factory
        if head.length == 0:
            body: RequestBody = NO_BODY
            self._buffer = rest
            if head.close:
                self._asked = factory.clock.seconds()
        else:
            body = RequestBody(self, head.length, factory.budget)
            if head.length is None:
                self._decoder = ChunkedDecoder()
            self._expect = head.expect
            self._due = factory.after(factory.settings.body_idle_timeout)
        self.request = request = Request(self, head, body)
        self._phase = BUSY
        self._stalled = 0.0
        factory.busy += 1
        self.deadline = factory.now + factory.check_period
        if rest:
            if body is not NO_BODY:
                self._feed_body(request, rest)
                if self.request is not request:
                    return
            elif len(rest) > PIPELINED:
                self._hold(PIPELINE, True)
        try:
            factory.handler(request)
        except Exception:
            self.log.failure("in the handler of a request")
            self._fail(request, 500, "the request could not be handled")

    def _feed_body(self, request: Request, data: bytes) -> None:
        body, decoder = request.body, self._decoder
        self._expect = False
        rest = b""
        if decoder is None:
            left = cast(int, body.length) - body.received
            if len(data) > left:
                data, rest = data[:left], data[left:]
            complete = len(data) == left
            trailers = []
        else:
            try:
                pieces, consumed = decoder.feed(data)
            except FramingError:
                self._fail(request, 400, "the request body is malformed")
                return
            complete = decoder.done
            trailers = decoder.trailers
            if complete:
                rest = data[consumed:]
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if complete:
            self._decoder = None
            self._buffer = rest
            if request.close:
                self._asked = self.factory.clock.seconds()
        else:
            self._due = self.factory.after(self.factory.settings.body_idle_timeout)
        if data:
            body.feed(data)
        if complete and not body.lost:
            self._hold_for_pipeline()
            body.finish(trailers)

    def _hold_for_pipeline(self) -> None:
        """Once there is no body to wait for, only the bytes of later requests can be too many."""
        if self._holds or len(self._buffer) > PIPELINED:
            self._hold(PIPELINE, len(self._buffer) > PIPELINED)
            self._hold(BODY, False)

    # what the body and the request call

    def want_body(self) -> None:
        """Somebody reads the body: let the client send it."""
        if self._expect and self.request is not None and not self.request.status:
            self._expect = False
            self._due = self.factory.after(self.factory.settings.body_idle_timeout)
            self.send(_CONTINUE)

    def hold_body(self, hold: bool) -> None:
        """Stop or go on reading for the sake of the body's reader."""
        if self._phase == BUSY:
            self._hold(BODY, hold)

    def request_done(self, request: Request) -> None:
        """The answer is written: go on with the next request, or end the connection."""
        self._forget_request(request)
        body = request.body
        if request.close or self.factory.draining:
            if not body.complete or self._buffer:
                self._linger()
            else:
                self._lose()
            body.lose()
            return
        self._phase = IDLE
        self.deadline = self.factory.now + self.factory.settings.keep_alive
        if self._holds:
            self._hold_for_pipeline()
        if self._buffer:
            self._pump()

    def request_broken(self, request: Request, reset: bool) -> None:
        """The answer is cut: what was written leaves, then the connection ends, by RST if FIN would look complete."""
        self._forget_request(request)
        if not request.status:
            self.abort()
        elif reset:
            self._reset_after_written()
        else:
            self._lose()
        request.body.lose()

    def leave_http(self) -> tuple[ITransport, bytes]:
        """Hand the transport to a tunnel, with what was received behind the request."""
        self._phase = TUNNEL
        self.deadline = NEVER
        self.full = False
        self.transport.unregisterProducer()
        self._hold(PIPELINE, False)
        leftover, self._buffer = self._buffer, b""
        return self.transport, leftover

    def set_tunnel(self, tunnel: Tunnel) -> None:
        """Name who receives the bytes from now on."""
        self.tunnel = tunnel
        if self._buffer:
            data, self._buffer = self._buffer, b""
            tunnel.dataReceived(data)

    def _forget_request(self, request: Request) -> None:
        self.request = None
        self._decoder = None
        request.source = None
        factory = self.factory
        factory.busy -= 1
        request.body.release()
        if factory.over is not None:
            factory.over(request)

    # the transport's flow control

    def pauseProducing(self) -> None:
        self.full = True
        if self.request is not None and self.request.source is not None:
            self.request.source.pause()

    def resumeProducing(self) -> None:
        self.full = False
        if self._reset:
            self.abort()
        elif self.request is not None:
            if self.request.source is not None:
                self.request.source.resume()
        elif self._buffer:
            self._pump()

    # failures and ends

    def _refuse(self, status: int, reason: str) -> None:
        """Answer a head that is no request, and close."""
        self.log.debug(
            "refused a request from {peer}: {status}, {reason}", peer=self.peer, status=status, reason=reason
        )
        target = self._buffer[:256].split(b" ", 2)[1:2]
        self._write_refusal(status, target[0] if target else b"", reason, self._buffer.startswith(b"HEAD "))
        self._linger()

    def _fail(self, request: Request, status: int, reason: str) -> None:
        """Answer in the handler's place if it has not begun, cut the answer otherwise."""
        if request.ended or request.gone:
            return
        if request.status:
            request.abandon()
            return
        request.status = status
        request.lose()
        self._write_refusal(status, request.uri, reason, request.method == b"HEAD")
        self._forget_request(request)
        self._linger()
        request.body.lose()

    def _write_refusal(self, status: int, target: bytes, reason: str, empty: bool) -> None:
        headers, body = self.factory.refuse(status, target, reason)
        length = b"Content-Length: %d\r\n" % len(body)
        head = head_bytes([status_line(status), *field_lines(headers)[0], length, CLOSE])
        self.send(head if empty else head + body)

    def close_if_idle(self) -> None:
        """End a connection on which nothing is under way."""
        if self._phase == IDLE and not self._buffer:
            self._lose()

    def readConnectionLost(self) -> None:
        """The client sent FIN: with a request under way it has left, an answer already written still goes out.

        A client that announced the end with its request (`Connection: close`, HTTP/1.0) and closes its half right after
        it waits for the answer, as those do who pipe a request into a socket.
        """
        tunnel = self.tunnel
        if tunnel is not None:
            half_closed = getattr(tunnel, "readConnectionLost", None)
            if half_closed is not None:
                half_closed()
            else:
                self.transport.loseConnection()
        elif self.request is None:
            self._lose()
        elif not self._waits_half_closed(self.request):
            self._request_lost(self.request)
            self.abort()

    def _waits_half_closed(self, request: Request) -> bool:
        if not request.close or request.status or not request.body.complete:
            return False
        return self.factory.clock.seconds() - self._asked <= HALF_CLOSE

    def connectionLost(self, reason: Failure) -> None:
        request, tunnel = self.request, self.tunnel
        tunnelled = self._phase == TUNNEL
        self._phase = LOST
        self.deadline = NEVER
        self._buffer = b""
        self.factory.forget(self)
        if request is not None:
            if tunnelled:
                request.ended = True
                self._forget_request(request)
            else:
                self._request_lost(request)
        if tunnel is not None:
            self.tunnel = None
            tunnel.connectionLost(reason)

    def _request_lost(self, request: Request) -> None:
        request.lose()
        request.body.lose()
        self._forget_request(request)

    def expire(self, now: float) -> None:
        """Act on what the client failed to do in time; called within a tick after `deadline`."""
        phase = self._phase
        if phase == BUSY:
            self._check_request(now)
        elif phase in (IDLE, LINGER):
            self._lose()
        elif phase == HEAD:
            self._refuse(408, "the request head took too long")
        else:
            self.deadline = now + self.factory.check_period
            if self._takes_nothing(now):
                self.abort()

    def _check_request(self, now: float) -> None:
        factory, request = self.factory, cast(Request, self.request)
        self.deadline = now + factory.check_period
        left = False
        if self._holds:
            self._due = factory.after(factory.settings.body_idle_timeout)
            self.deadline = now
            left = self._client_left_unseen()
        elif not request.body.complete and not self._expect and now >= self._due:
            self._fail(request, 408, "the request body took too long")
            return
        if left or self._takes_nothing(now):
            self._request_lost(request)
            self.abort()
