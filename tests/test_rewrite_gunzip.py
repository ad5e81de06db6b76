"""`llmux.rewrite.gunzip`, and the header functions of `llmux.rewrite.media`."""

from __future__ import annotations

import gzip

from twisted.trial import unittest

from llmux.headers import media_type
from llmux.rewrite.gunzip import BadGzip, Gunzip, TooLarge, gunzip, plain_request, request_headers
from llmux.rewrite.media import Form, encoding, is_json, sniff, value


class GunzipTests(unittest.SynchronousTestCase):
    """Members, bounds and faults."""

    def test_membersInAnyPiecesAreUnpacked(self) -> None:
        packed = gzip.compress(b"one") + gzip.compress(b"") + gzip.compress(b"two") + b"\0\0"
        for size in (1, 2, 3, 7, 1000):
            decoder = Gunzip(100)
            out = b"".join(decoder.feed(packed[i : i + size]) for i in range(0, len(packed), size))
            decoder.close()
            self.assertEqual(out, b"onetwo")

    def test_whatIsNotWholeGzipIsRefused(self) -> None:
        packed = gzip.compress(b"one")
        for body in (packed[:-1], packed + b"\x1f", packed + b"x", b"x", packed[:-8] + b"\0" * 8):
            self.assertIsNone(gunzip(body, 100))
        self.assertRaises(BadGzip, Gunzip(1).feed, b"no")

    def test_theLimitIsExact(self) -> None:
        packed = gzip.compress(b"x" * 1000)
        self.assertEqual(gunzip(packed, 1000), b"x" * 1000)
        self.assertRaises(TooLarge, gunzip, packed, 999)
        self.assertRaises(TooLarge, gunzip, packed + packed, 1999)

    def test_aStreamIsBoundedPieceByPiece(self) -> None:
        decoder = Gunzip(1)
        decoder.per_feed(1000)
        for _ in range(5):
            self.assertEqual(decoder.feed(gzip.compress(b"x" * 1000)), b"x" * 1000)
        self.assertRaises(TooLarge, decoder.feed, gzip.compress(b"x" * 1001))

    def test_requestsAreReadPlainAndKeptRawWhenTheyCannotBe(self) -> None:
        headers = [(b"content-encoding", b" GZip ")]
        self.assertEqual(plain_request(headers, gzip.compress(b"{}"), 100), (b"{}", True))
        self.assertEqual(plain_request(headers, b"{}", 100), (b"{}", False))
        self.assertEqual(plain_request(headers, b"", 100), (b"", False))
        body = bytearray(b"{}")
        self.assertIs(plain_request([], body, 100)[0], body)
        self.assertRaises(TooLarge, plain_request, headers, gzip.compress(b"x" * 1000), 100)

    def test_theHeadersOfAChangedRequestFollowIt(self) -> None:
        before = [(b"A", b"1"), (b"content-length", b"9"), (b"Content-Encoding", b"gzip"), (b"content-md5", b"x")]
        self.assertEqual(request_headers(before, 4, True), [(b"A", b"1"), (b"Content-Length", b"4")])
        self.assertIn((b"Content-Encoding", b"gzip"), request_headers(before, 4, False))


class MediaTests(unittest.SynchronousTestCase):
    """What headers say."""

    def test_typesAndCodingsIgnoreCaseAndParameters(self) -> None:
        self.assertEqual(media_type([(b"CONTENT-TYPE", b" Application/JSON ;x=y")]), b"application/json")
        self.assertEqual((media_type([]), encoding([]), value([], b"x")), (b"", b"", None))
        self.assertEqual(encoding([(b"Content-Encoding", b"Identity")]), b"")
        self.assertEqual(encoding([(b"content-encoding", b"gzip"), (b"content-encoding", b"br")]), b"gzip, br")
        self.assertTrue(is_json(b"application/problem+json"))
        self.assertFalse(is_json(b"application/jsonl"))

    def test_sniffingWaitsOnlyWhileItMust(self) -> None:
        for beginning in (b"", b"d", b"data", b"eve", b"\xef", b"\xef\xbb\xbfda"):
            self.assertIsNone(sniff(b"", beginning, ended=False))
            self.assertIsNone(sniff(b"text/plain", beginning, ended=False))
        self.assertIs(sniff(b"application/json", b" ", ended=False), Form.DOCUMENT)
        self.assertIs(sniff(b"application/json", b"data: ", ended=False), Form.STREAM)
        self.assertIs(sniff(b"text/plain", b" {", ended=False), Form.VERBATIM)
        self.assertIs(sniff(b"", b"\n [", ended=False), Form.DOCUMENT)
        self.assertIs(sniff(b"", b"id: 3", ended=False), Form.VERBATIM)
        self.assertIs(sniff(b"", b"", ended=True), Form.VERBATIM)
