"""Heads that mean one thing are read, all others are refused."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.wire import request_head
from llmux.wire.request_head import Refusal, RequestHead, never_a_head, read_head

REFUSED = {
    "SpaceBeforeColon": (400, b"X-A : 1"),
    "TabBeforeColon": (400, b"X-A\t: 1"),
    "NoColon": (400, b"X-A"),
    "NoName": (400, b": v"),
    "NulInValue": (400, b"X-A: a\x00b"),
    "NulInName": (400, b"X\x00A: b"),
    "BareCr": (400, b"X-A: a\rb"),
    "BareLf": (400, b"X-A: a\nX-B: b"),
    "Fold": (400, b"X-A: a\r\n b"),
    "FoldByTab": (400, b"X-A: a\r\n\tb"),
    "LeadingSpace": (400, b" X-A: a"),
    "Parenthesis": (400, b"X(A): b"),
    "HighByteInName": (400, b"X-\xe9: b"),
    "ControlInValue": (400, b"X-A: a\x01b"),
    "DelInValue": (400, b"X-A: a\x7fb"),
    "SecondHost": (400, b"Host: other"),
    "SecondHostInOtherCase": (400, b"hOST: h"),
    "LengthWithPlus": (400, b"Content-Length: +5"),
    "LengthWithMinus": (400, b"Content-Length: -5"),
    "LengthInHex": (400, b"Content-Length: 0x5"),
    "LengthWithUnderscore": (400, b"Content-Length: 0_5"),
    "LengthWithSpace": (400, b"Content-Length: 5 5"),
    "EmptyLength": (400, b"Content-Length:"),
    "LengthList": (400, b"Content-Length: 5, 5"),
    "LengthInArabicDigits": (400, "Content-Length: \u0665".encode()),
    "HugeLength": (400, b"Content-Length: 18446744073709551621"),
    "LengthOfManyDigits": (400, b"Content-Length: " + b"0" * 4999 + b"5"),
    "SameLengthTwice": (400, b"Content-Length: 5\r\nContent-Length: 5"),
    "OtherLengthTwice": (400, b"Content-Length: 5\r\ncontent-length: 6"),
    "LengthAndCoding": (400, b"Content-Length: 5\r\nTransfer-Encoding: chunked"),
    "CodingTwice": (400, b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "OtherCoding": (501, b"Transfer-Encoding: xchunked"),
    "CodingList": (501, b"Transfer-Encoding: gzip, chunked"),
    "CodingIdentity": (501, b"Transfer-Encoding: chunked, identity"),
    "CodingWithParameter": (501, b"Transfer-Encoding: chunked;q=1"),
    "QuotedCoding": (501, b'Transfer-Encoding: "chunked"'),
    "CodingAfterNbsp": (501, b"Transfer-Encoding: \xa0chunked"),
    "CodingAfterVt": (400, b"Transfer-Encoding:\x0bchunked"),
    "EmptyCoding": (501, b"Transfer-Encoding:"),
    "OtherExpectation": (417, b"Expect: tea"),
    "ExpectationList": (417, b"Expect: y 100-continue"),
    "TwoExpectations": (417, b"Expect: 100-continue\r\nExpect: tea"),
}

LINES = {
    "TwoSpaces": (400, b"GET  / HTTP/1.1"),
    "Tab": (400, b"GET\t/ HTTP/1.1"),
    "SpaceInTarget": (400, b"GET /a b HTTP/1.1"),
    "TrailingSpace": (400, b"GET / HTTP/1.1 "),
    "Http2": (505, b"GET / HTTP/2.0"),
    "Http12": (505, b"GET / HTTP/1.2"),
    "Http111": (400, b"GET / HTTP/11.1"),
    "LowerCaseVersion": (400, b"GET / http/1.1"),
    "NoVersion": (400, b"GET / "),
    "Http09": (400, b"GET /"),
    "Http2Preface": (505, b"PRI * HTTP/2.0"),
    "MethodWithParenthesis": (400, b"GE(T / HTTP/1.1"),
    "MethodWithNul": (400, b"GE\0T / HTTP/1.1"),
    "LongMethod": (400, b"A" * 33 + b" / HTTP/1.1"),
    "NulInTarget": (400, b"GET /\0 HTTP/1.1"),
    "DelInTarget": (400, b"GET /\x7f HTTP/1.1"),
    "HighByteInTarget": (400, b"GET /\xe9 HTTP/1.1"),
    "LfInTarget": (400, b"GET /\nX: y HTTP/1.1"),
    "Fragment": (400, b"GET /#f HTTP/1.1"),
    "Backslash": (400, b"GET /a\\b HTTP/1.1"),
    "AbsoluteForm": (400, b"GET http://h/ HTTP/1.1"),
    "AuthorityForm": (400, b"CONNECT h:80 HTTP/1.1"),
    "Connect": (501, b"CONNECT /a HTTP/1.1"),
    "Asterisk": (400, b"OPTIONS * HTTP/1.1"),
    "LongTarget": (414, b"GET /" + b"a" * 12288 + b" HTTP/1.1"),
    "TlsHello": (400, b"\x16\x03\x01\x00\xc8\x01"),
}

NAMES = st.from_regex(rb"[A-Za-z-]{1,12}", fullmatch=True)
HOSTS = [b"", b"a/b", b"a@b", b"a b", b"a,b", b"a:99999x", b"a:", b"a:123456", b"[::1", b"a\\b", b"a?b"]


class RequestHeadTests(SynchronousTestCase):
    def read(self, lines: bytes, line: bytes = b"POST /p HTTP/1.1", host: bytes = b"Host: h\r\n") -> RequestHead:
        head = read_head(line + b"\r\n" + host + lines + b"\r\n")
        assert isinstance(head, RequestHead), head
        return head

    def refused(self, head: bytes) -> int:
        refusal = read_head(head)
        assert isinstance(refusal, Refusal), refusal
        return refusal.status

    def test_aPlainHeadIsReadAsSent(self) -> None:
        head = self.read(b"X-Mixed-Case:  two words \t\r\nEmpty:\r\nX-mixed-case: b\r\n")
        self.assertEqual((head.method, head.target, head.http10), (b"POST", b"/p", False))
        self.assertEqual(
            head.headers,
            [(b"Host", b"h"), (b"X-Mixed-Case", b"two words"), (b"Empty", b""), (b"X-mixed-case", b"b")],
        )
        self.assertEqual(head.first, {b"host": b"h", b"x-mixed-case": b"two words", b"empty": b""})
        self.assertEqual((head.length, head.expect, head.close, head.upgrade), (0, False, False, None))

    def test_methodsNobodyHeardOfAreLeftToTheHandler(self) -> None:
        self.assertEqual(self.read(b"", b"X-FROB /p HTTP/1.1").method, b"X-FROB")

    def test_highBytesInAValueAreKept(self) -> None:
        self.assertEqual(self.read(b"X-A: caf\xe9\r\n").first[b"x-a"], b"caf\xe9")

    def test_bodiesAreFramedByLengthOrChunks(self) -> None:
        self.assertEqual(self.read(b"Content-Length: 005\r\n").length, 5)
        self.assertIsNone(self.read(b"Transfer-Encoding: CHUNKED\r\n").length)
        self.assertEqual(self.read(b"Transfer_Encoding: chunked\r\n").length, 0)

    def test_codingInHttp10IsRefused(self) -> None:
        self.assertEqual(
            self.refused(b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"),
            400,
        )

    def test_expectCountsOnlyWithABodyAndInHttp11(self) -> None:
        self.assertTrue(self.read(b"Expect: 100-Continue\r\nContent-Length: 1\r\n").expect)
        self.assertFalse(self.read(b"Expect: 100-continue\r\n").expect)
        self.assertFalse(self.read(b"Expect: tea\r\nContent-Length: 1\r\n", b"POST / HTTP/1.0").expect)

    def test_closeIsFoundInAnyConnectionField(self) -> None:
        self.assertTrue(self.read(b"Connection: x\r\nconnection: y ,\tCLOSE\r\n").close)
        self.assertFalse(self.read(b"Connection: closed\r\n").close)
        self.assertTrue(self.read(b"Connection: keep-alive\r\n", b"GET / HTTP/1.0").close)

    def test_upgradeNeedsToBeListedInConnection(self) -> None:
        self.assertEqual(self.read(b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n").upgrade, b"websocket")
        self.assertIsNone(self.read(b"Upgrade: websocket\r\n").upgrade)
        self.assertIsNone(self.read(b"Connection: upgrade\r\n").upgrade)
        self.assertIsNone(self.read(b"Connection: upgrade\r\nUpgrade: h2c\r\n").upgrade)
        self.assertIsNone(self.read(b"Connection: upgrade\r\nUpgrade: a, H2C\r\n").upgrade)
        self.assertIsNone(self.read(b"Connection: upgrade\r\nUpgrade: x\r\n", b"GET / HTTP/1.0").upgrade)

    def test_hostIsNeededInHttp11Only(self) -> None:
        self.assertEqual(self.refused(b"GET / HTTP/1.1\r\n\r\n"), 400)
        self.assertTrue(self.read(b"", b"GET / HTTP/1.0", host=b"").http10)

    def test_hostsAreNamesOrAddressesWithAPort(self) -> None:
        for host in (b"localhost:8317", b"[::1]:80", b"127.0.0.1", b"a.b-c_d"):
            self.assertEqual(self.read(b"", host=b"Host: " + host + b"\r\n").first[b"host"], host)
        for host in HOSTS:
            self.assertEqual(self.refused(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"), 400, host)

    def test_fieldsAreCounted(self) -> None:
        lines = b"".join(b"X-%d: y\r\n" % n for n in range(199))
        self.assertEqual(len(self.read(lines).headers), 200)
        self.assertEqual(self.refused(b"GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n" + lines + b"\r\n"), 431)

    def test_limitsAreParameters(self) -> None:
        head = b"GET /abc HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n"
        self.assertIsInstance(read_head(head, 2, 4), RequestHead)
        self.assertEqual(read_head(head, 1, 4), Refusal(431, "too many header fields"))
        self.assertEqual(read_head(head, 2, 3), Refusal(414, "the request target is too long"))

    def test_uselessBeginningsAreKnownEarly(self) -> None:
        for beginning in (
            b"GET / HTTP/1.1\n",
            b"GET / HTTP/1.1\r\nX: a\nb",
            b"GET /\0",
            b"\x16\x03",
            b" GET",
            b"X: \ra",
        ):
            self.assertTrue(never_a_head(beginning), beginning)
        for beginning in (b"GET / HTTP/1.1\r\nX: a\r", b"G", b"\r", b"GET / HTTP/1.1\r\n\r"):
            self.assertFalse(never_a_head(beginning), beginning)
        self.assertTrue(never_a_head(b"GET / HTTP/1.1\r\nX: a\n", 20))
        self.assertFalse(never_a_head(b"GET /\0", 6 + 1))

    @given(st.lists(st.tuples(NAMES, st.binary(max_size=12).filter(lambda value: b"\n" not in value)), max_size=6))
    @settings(max_examples=100, deadline=None)
    def test_whatIsReadIsWhatWasWritten(self, fields: list[tuple[bytes, bytes]]) -> None:
        fields = [(b"X-" + name, value) for name, value in fields]
        block = b"".join(b"%b: %b\r\n" % field for field in fields)
        head = read_head(b"GET / HTTP/1.1\r\nHost: h\r\n" + block + b"\r\n")
        clean = not any((byte < 32 and byte != 9) or byte == 127 for _, value in fields for byte in value)
        self.assertEqual(isinstance(head, RequestHead), clean)
        if isinstance(head, RequestHead):
            self.assertEqual(head.headers[1:], [(name, value.strip(b" \t")) for name, value in fields])


class KnownHeadTests(SynchronousTestCase):
    """A head that is known but for its length reads as if nobody had seen it before."""

    def setUp(self) -> None:
        request_head._known.clear()
        self.addCleanup(request_head._known.clear)

    def fresh(self, head: bytes, *limits: int) -> RequestHead | Refusal:
        """What is read of a head by who knows none."""
        request_head._known.clear()
        return read_head(head, *limits)

    @given(
        st.permutations([b"Host: h", b"X-A: b", b"x-a: c", b"Connection: close", b"Expect: 100-continue"]),
        st.integers(0, 5),
        st.lists(st.sampled_from([b"0", b"7", b"07", b"123456789012345", b"1234567890123456", b"x", b""]), min_size=2),
        st.sampled_from([b"Content-Length: ", b"content-length: ", b"CONTENT-LENGTH: ", b"Content-Length:"]),
        st.integers(1, 6),
    )
    @settings(max_examples=300, deadline=None)
    def test_whateverCameBefore(self, lines: list[bytes], taken: int, sizes: list[bytes], name: bytes, at: int) -> None:
        kept = lines[:taken]
        heads = []
        for size in sizes:
            fields = [*kept[:at], name + size, *kept[at:]]
            heads.append(b"POST /p HTTP/1.1\r\n" + b"\r\n".join(fields) + b"\r\n\r\n")
        request_head._known.clear()
        read = [read_head(head) for head in heads]
        self.assertEqual(read, [self.fresh(head) for head in heads])

    def head(self, size: int, more: bytes = b"") -> bytes:
        return b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n%bX: y\r\n\r\n" % (size, more)

    def test_whoeverChangesWhatHeWasGivenChangesNobodysElse(self) -> None:
        for _ in range(2):
            read = read_head(self.head(5))
            assert isinstance(read, RequestHead)
            read.headers.append((b"Evil", b"1"))
            read.first[b"evil"] = b"1"
        self.assertEqual(read_head(self.head(6)), self.fresh(self.head(6)))

    def test_lowerLimitsHoldForKnownHeadsAsWell(self) -> None:
        read_head(self.head(5))
        self.assertEqual(read_head(self.head(6), 2), self.fresh(self.head(6), 2))
        read_head(self.head(5))
        self.assertEqual(read_head(self.head(6), 200, 1), self.fresh(self.head(6), 200, 1))

    def test_theyAreFewAndShort(self) -> None:
        for number in range(3 * request_head._MOST_KNOWN):
            read_head(self.head(1, b"Id: %d\r\n" % number))
            self.assertLessEqual(len(request_head._known), request_head._MOST_KNOWN)
        request_head._known.clear()
        read_head(self.head(1, b"Long: " + b"x" * request_head._LONGEST_KNOWN + b"\r\n"))
        self.assertEqual(request_head._known, {})


def _refused(status: int, head: bytes):  # type: ignore[no-untyped-def]  # a method made at import
    def test(self: RequestHeadTests) -> None:
        self.assertEqual(self.refused(head), status, head[:80])

    return test


for _name, (_status, _lines) in REFUSED.items():
    _test = _refused(_status, b"POST /p HTTP/1.1\r\nHost: h\r\n" + _lines + b"\r\n\r\n")
    setattr(RequestHeadTests, f"test_{_name[0].lower()}{_name[1:]}IsRefused", _test)
for _name, (_status, _lines) in LINES.items():
    _test = _refused(_status, _lines + b"\r\nHost: h\r\n\r\n")
    setattr(RequestHeadTests, f"test_aRequestLineWith{_name}IsRefused", _test)
