"""Targets of the wire: request heads, a whole client connection, chunked bodies, and what an upstream may answer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import httptools
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from zope.interface import implementer

from llmux.wire.chunked import ChunkedDecoder, FramingError
from llmux.wire.request import Request
from llmux.wire.request_head import Refusal, RequestHead, never_a_head, read_head
from llmux.wire.server import ServerSettings
from tests.fuzz.target import Target, cut, dice, single
from tests.serving import Serving
from tests.upstreams import Upstream

_KNOWN_METHODS = frozenset(b"GET HEAD POST PUT DELETE OPTIONS PATCH TRACE".split())
_SMALL = ServerSettings(header_bytes=2000, header_fields=20, target=300)
_HEAD_WORDS = (
    b"\r\n\r\n",
    b"Host: h\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity, chunked\r\n",
    b"transfer_encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: close, Upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"Upgrade: h2c\r\n",
    b" folded\r\n",
    b"HTTP/1.0",
    b"HTTP/2.0",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"5;x=y\r\nhello\r\n",
    b"00000005\r\n",
    b"0\r\nX: y\r\n\r\n",
)


@implementer(ILogObserver)
class Log:
    """Collects what is logged at error level or above while a target runs: a caught traceback is a finding, too."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __enter__(self) -> Log:
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(self, *_: object) -> None:
        globalLogPublisher.removeObserver(self)

    def __call__(self, event: LogEvent) -> None:
        if event["log_level"] >= LogLevel.error and "log_failure" in event:
            self.events.append(event)

    def check(self) -> None:
        """Raise the first logged exception."""
        if self.events:
            raise AssertionError(self.events[0]["log_format"]) from self.events[0]["log_failure"].value


def request_head(data: bytes) -> None:
    """A head is refused or means the same when written again, which another strict parser reads in the same way."""
    head = read_head(data, 100, 5000)
    if isinstance(head, Refusal):
        assert 400 <= head.status < 600 and head.reason
        return
    assert not any(never_a_head(data[:end]) for end in range(0, len(data), max(1, len(data) // 50)))
    lines = [head.method + b" " + head.target + (b" HTTP/1.0" if head.http10 else b" HTTP/1.1")]
    lines += [name + b": " + value for name, value in head.headers]
    again = b"\r\n".join([*lines, b"", b""])
    assert read_head(again, 100, 5000) == head
    if head.method in _KNOWN_METHODS:
        _agrees(again, head)


class _Second:
    """What httptools makes of a head."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.complete = True


def _agrees(data: bytes, head: RequestHead) -> None:
    second = _Second()
    parser = httptools.HttpRequestParser(second)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        return
    except httptools.HttpParserError as problem:
        raise AssertionError(f"the other parser refuses what is accepted: {problem}") from problem
    assert second.complete and second.url == head.target and parser.get_method() == head.method
    assert second.headers == head.headers


@dataclass
class _Seen:
    """The requests of one connection whose bodies were complete, and how it ended."""

    requests: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)
    answered: bytes = b""
    closed: str = ""


def _serve(pieces: list[bytes]) -> _Seen:
    seen = _Seen()

    def handler(request: Request) -> None:
        def collected(body: bytearray) -> None:
            seen.requests.append((request.method, request.uri, bytes(body)))
            request.respond(200, [], b"ok")

        request.body.collect(5000).addCallbacks(collected, lambda _: request.break_off())

    serving = Serving(handler, _SMALL)
    for piece in pieces:
        if serving.closed != "open":
            break
        serving.channel.dataReceived(piece)
        serving.turn()
    serving.turn()
    seen.closed = serving.closed
    seen.answered = serving.sent()
    serving.leave()
    assert serving.server.busy == 0 and serving.server.budget.held == 0 and not serving.server.connections
    return seen


def connection(data: bytes) -> None:
    """A client's bytes give the same requests however they are cut, and nothing is left behind."""
    with Log() as log:
        whole = _serve([data])
        for pieces in (cut(data, dice(data)), single(data)):
            seen = _serve(pieces)
            assert seen.requests == whole.requests, (seen, whole)
            assert seen.answered.count(b"200 OK") == whole.answered.count(b"200 OK")
        log.check()


_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")


def _slow_chunked(data: bytes) -> tuple[bytes, int] | None:
    """The content of a valid body and where its trailers begin; None when it is not valid up to there."""
    content, at = b"", 0
    while (match := _CHUNK.match(data, at)) is not None:
        size = int(match[1], 16)
        if not size:
            return content, match.end()
        content += data[match.end() : match.end() + size]
        at = match.end() + size + 2
        if data[at - 2 : at] != b"\r\n" or len(data) < at:
            return None
    return None


def _dechunk(pieces: list[bytes]) -> tuple[bytes, int, Any] | str:
    decoder = ChunkedDecoder()
    content, consumed = b"", 0
    for piece in pieces:
        try:
            found, taken = decoder.feed(piece)
        except FramingError:
            return "malformed"
        content += b"".join(found)
        consumed += taken
        if decoder.done:
            return content, consumed, decoder.trailers
        assert taken == len(piece)
    return "unfinished"


def chunked(data: bytes) -> None:
    """A chunked body is the same for every cut, and the same as a slow reading of the grammar."""
    whole = _dechunk([data])
    for pieces in (cut(data, dice(data)), single(data)):
        assert _dechunk(pieces) == whole
    if isinstance(whole, tuple):
        slow = _slow_chunked(data)
        assert slow is not None and slow[0] == whole[0] and slow[1] <= whole[1] <= len(data)


def _answered(pieces: list[bytes], method: bytes, end: str) -> tuple[Any, ...]:
    upstream = Upstream()
    sent, peer = upstream.exchange(method)
    peer.take()
    for piece in pieces:
        if peer.down:
            break
        peer.says(piece)
    if not peer.down:
        peer.fin() if end == "fin" else peer.rst()
    else:
        peer.lost()
    taker = sent.taker
    assert (sent.head is None) == (sent.failure is not None), "neither a head nor a failure, or both"
    if sent.head is not None:
        assert taker.ends == 1, "the body has no end, or two"
    assert upstream.pool.open == 0
    complete = sent.head is not None and taker.failure is None
    return (complete, sent.head.status, taker.content, taker.trailers) if complete and sent.head else (complete,)


def response(data: bytes) -> None:
    """An upstream's bytes give a whole answer or a failure, once, and the same one for every cut."""
    random = dice(data)
    method = random.choice((b"GET", b"GET", b"HEAD"))
    end = random.choice(("fin", "rst"))
    with Log() as log:
        whole = _answered([data], method, end)
        assert _answered(cut(data, random), method, end) == whole
        assert _answered(single(data), method, end) == whole
        log.check()


TARGETS = (
    Target("request_head", request_head, _HEAD_WORDS),
    Target("connection", connection, _HEAD_WORDS),
    Target("chunked", chunked, (*_HEAD_WORDS[-5:], b"\r\n", b"FFFFFFFF\r\n", b"1\r\na\r\n")),
    Target(
        "response",
        response,
        (
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n",
            b"HTTP/1.0 200 OK\r\n",
            b"Connection: close\r\n",
            *_HEAD_WORDS,
        ),
    ),
)
