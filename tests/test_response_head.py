"""The head of an answer: every leniency refused, everything valid taken (HOSTILE P3, rules 2 and 3)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.wire.response_head import BadHead, ResponseHead, find_head, parse_head

OK = b"HTTP/1.1 200 OK\r\n"

BAD = {
    "status with a letter": b"HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\n",
    "status with a sign": b"HTTP/1.1 +200 OK\r\n\r\n",
    "status of five digits": b"HTTP/1.1 20000 OK\r\n\r\n",
    "status 099": b"HTTP/1.1 099 X\r\n\r\n",
    "status 600": b"HTTP/1.1 600 X\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "ICY": b"ICY 200 OK\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\0K\r\n\r\n",
    "CR in the reason": b"HTTP/1.1 200 O\rK\r\n\r\n",
    "length of letters": OK + b"Content-Length: abc\r\n\r\n",
    "negative length": OK + b"Content-Length: -1\r\n\r\n",
    "signed length": OK + b"Content-Length: +5\r\n\r\n",
    "empty length": OK + b"Content-Length:\r\n\r\n",
    "list of lengths": OK + b"Content-Length: 5, 5\r\n\r\n",
    "length with underscore": OK + b"Content-Length: 1_0\r\n\r\n",
    "length of other digits": OK + "Content-Length: \u0665\r\n\r\n".encode(),
    "length of 16 digits": OK + b"Content-Length: 1234567890123456\r\n\r\n",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 3\r\n\r\n",
    "two spellings of one length": OK + b"Content-Length: 5\r\nContent-Length: 05\r\n\r\n",
    "unknown coding": OK + b"Transfer-Encoding: cow\r\n\r\n",
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "chunked twice": OK + b"Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
    "empty coding": OK + b"Transfer-Encoding:\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "length and coding": OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "NUL in a value": OK + b"X-A: a\0b\r\n\r\n",
    "CR in a value": OK + b"X-A: a\rX-Injected: 1\r\n\r\n",
    "LF in a value": OK + b"X-A: a\nX-Injected: 1\r\n\r\n",
    "control byte in a value": OK + b"X-A: \x01\r\n\r\n",
    "DEL in a value": OK + b"X-A: \x7f\r\n\r\n",
    "no colon": OK + b"nonsense\r\n\r\n",
    "no name": OK + b": v\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 2\r\n\r\n",
    "folded line": OK + b"X-A: a\r\n b\r\n\r\n",
    "folded line with a tab": OK + b"X-A: a\r\n\tb\r\n\r\n",
    "space in a name": OK + b"X A: b\r\n\r\n",
    "high byte in a name": OK + b"X-\xe9: b\r\n\r\n",
    "301 fields": OK + b"X: y\r\n" * 301 + b"\r\n",
}


def parse(head: bytes, method: bytes = b"GET") -> ResponseHead:
    end = find_head(head)
    assert end == len(head), end
    return parse_head(head, method)


class ResponseHeadTests(SynchronousTestCase):
    def test_statusReasonAndFieldsAreKeptAsTheyCame(self) -> None:
        head = parse(
            b"HTTP/1.1 404 Not  Found\xe9\r\ncontent-TYPE:\t a/b \t\r\nX-Empty:\r\n"
            b"Set-Cookie: a\r\nSet-Cookie: b\r\n\r\n"
        )
        self.assertEqual((head.status, head.reason), (404, b"Not  Found\xe9"))
        self.assertEqual(
            head.headers,
            [(b"content-TYPE", b"a/b"), (b"X-Empty", b""), (b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")],
        )

    def test_aReasonMayBeMissing(self) -> None:
        self.assertEqual(parse(b"HTTP/1.1 200\r\n\r\n").reason, b"")
        self.assertEqual(parse(b"HTTP/1.1 200 \r\n\r\n").reason, b"")

    def test_invalidHeadsAreRefused(self) -> None:
        for name, head in BAD.items():
            with self.assertRaises(BadHead, msg=name):
                parse(head)

    def test_refusalsQuoteNothing(self) -> None:
        with self.assertRaises(BadHead) as caught:
            parse(OK + b"X-Key sesame\r\n\r\n")
        self.assertNotIn("sesame", str(caught.exception))

    def test_bareLineFeedsAreNoHead(self) -> None:
        self.assertEqual(find_head(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"), -1)

    def test_theLengthIsRead(self) -> None:
        head = parse(OK + b"cOntent-lEngth: 0012\r\n\r\n")
        self.assertEqual((head.length, head.has_body, head.chunked, head.persistent), (12, True, False, True))

    def test_equalLengthsBecomeOne(self) -> None:
        head = parse(OK + b"Content-Length: 5\r\nX: y\r\ncontent-length: 5\r\n\r\n")
        self.assertEqual((head.length, head.headers), (5, [(b"Content-Length", b"5"), (b"X", b"y")]))

    def test_chunkedIsRead(self) -> None:
        head = parse(OK + b"Transfer-Encoding: Chunked\r\n\r\n")
        self.assertEqual((head.length, head.has_body, head.chunked, head.persistent), (None, True, True, True))

    def test_withoutFramingTheBodyLastsUntilTheClose(self) -> None:
        head = parse(OK + b"\r\n")
        self.assertEqual((head.length, head.has_body, head.chunked, head.persistent), (None, True, False, False))

    def test_someAnswersHaveNoBodyWhateverTheySay(self) -> None:
        for status in (100, 103, 204, 304):
            self.assertFalse(parse(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status).has_body, status)
        head = parse(OK + b"Content-Length: 1234\r\n\r\n", b"HEAD")
        self.assertEqual((head.length, head.has_body, head.persistent), (1234, False, True))

    def test_persistenceFollowsVersionAndConnection(self) -> None:
        for lines, persistent in [
            (b"", True),
            (b"Connection: keep-alive\r\n", True),
            (b"Connection: close\r\n", False),
            (b"Connection: x-closed, keep-alive\r\n", True),
            (b"connection: Keep-Alive\r\nCONNECTION: foo,\tClose\r\n", False),
        ]:
            self.assertEqual(parse(OK + lines + b"Content-Length: 0\r\n\r\n").persistent, persistent, lines)
        self.assertFalse(parse(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n").persistent)

    def test_headsAreBounded(self) -> None:
        big = OK + b"X: " + b"y" * 70000
        with self.assertRaises(BadHead):
            find_head(big)
        with self.assertRaises(BadHead):
            find_head(big + b"\r\n\r\n")
        fits = OK + b"X: " + b"y" * 60000 + b"\r\n\r\n"
        self.assertEqual(find_head(fits), len(fits))

    def test_whatIsNotHttpIsNoticedAtOnce(self) -> None:
        for start in (b"\0", b"x", b"HTTP/2", b"HTTQ", b"\r\n"):
            with self.assertRaises(BadHead, msg=start):
                find_head(start)
        for start in (b"", b"H", b"HTTP/1.", b"HTTP/1.1 200"):
            self.assertEqual(find_head(start), -1)

    def test_theEndIsFoundAcrossReads(self) -> None:
        head = OK + b"X: y\r\n\r\n"
        for cut in range(len(head)):
            self.assertEqual(find_head(head[:cut]), -1)
            self.assertEqual(find_head(bytearray(head + b"rest"), cut), len(head))

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=80), st.binary(max_size=30))
    def test_arbitraryBytesRaiseNothingElse(self, middle: bytes, start: bytes) -> None:
        for head in (OK + middle + b"\r\n\r\n", start + middle + b"\r\n\r\n"):
            try:
                end = find_head(head)
                parsed = parse_head(head[:end], b"GET")
            except BadHead:
                continue
            for name, value in parsed.headers:
                self.assertNotRegex(name + value, rb"[\x00\r\n]")
