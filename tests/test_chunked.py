"""The chunked coding: strict grammar, any cut, bounded memory (RFC 9112 7.1, HOSTILE P5 and P15)."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.wire.chunked import ChunkedDecoder, ChunkLimits, FramingError


def encode(pieces: list[bytes], trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n" + trailers + b"\r\n"


def decode(data: bytes, cuts: list[int] | None = None, limits: ChunkLimits | None = None) -> tuple[bytes, bool, int]:
    """Feed `data` cut at the given places; return content, whether the end was reached, and the bytes consumed."""
    decoder = ChunkedDecoder(limits) if limits else ChunkedDecoder()
    content, consumed = b"", 0
    edges = sorted({0, len(data), *(cut for cut in cuts or [] if 0 < cut < len(data))})
    for start, stop in pairwise(edges):
        pieces, used = decoder.feed(data[start:stop])
        content += b"".join(pieces)
        consumed += used
        if decoder.done:
            break
        assert used == stop - start
    return content, decoder.done, consumed


INVALID = {
    "prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "leading space": b" 5\r\nhello\r\n0\r\n\r\n",
    "trailing space": b"5 \r\nhello\r\n0\r\n\r\n",
    "empty size": b"\r\nhello\r\n0\r\n\r\n",
    "junk": b"5z\r\nhello\r\n0\r\n\r\n",
    "nine digits": b"000000005\r\nhello\r\n0\r\n\r\n",
    "overflow": b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "bare LF after the content": b"5\r\nhello\n0\r\n\r\n",
    "bare CR after the size": b"5\rXhello\r\n0\r\n\r\n",
    "content too long": b"5\r\nhelloXX\r\n0\r\n\r\n",
    "no line end after the content": b"5\r\nhelloXX0\r\n\r\n",
    "LF in an extension": b"5;a\nX\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
    "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "trailer without colon": b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n",
    "trailer with a space before the colon": b"0\r\nX-A : b\r\n\r\n",
    "folded trailer": b"0\r\nX-A: a\r\n b\r\n\r\n",
    "bare LF in a trailer": b"0\r\nX-A: a\nX-B: b\r\n\r\n",
    "NUL in a trailer": b"0\r\nX-A: \x00\r\n\r\n",
}


class ChunkedTests(SynchronousTestCase):
    def test_chunksAreContentInOrder(self) -> None:
        decoder = ChunkedDecoder()
        self.assertEqual(decoder.feed(b"3\r\nabc\r\n2\r\nde\r\n"), ([b"abc", b"de"], 15))
        self.assertFalse(decoder.done)
        self.assertEqual(decoder.feed(b"0\r\n\r\n"), ([], 5))
        self.assertTrue(decoder.done)

    def test_bytesBehindTheBodyAreLeft(self) -> None:
        decoder = ChunkedDecoder()
        data = encode([b"hello"])
        self.assertEqual(decoder.feed(data + b"HTTP/1.1 200 OK"), ([b"hello"], len(data)))
        self.assertEqual(decoder.feed(b"more"), ([], 0))

    def test_bytesBehindAnEndThatCameInPiecesAreLeft(self) -> None:
        decoder = ChunkedDecoder()
        decoder.feed(b"5\r\nhello\r\n0\r\n\r")
        self.assertEqual(decoder.feed(b"\nGET /"), ([], 1))
        self.assertTrue(decoder.done)

    def test_contentOfOneReadInsideAChunkIsTheReadItself(self) -> None:
        decoder = ChunkedDecoder()
        decoder.feed(b"ffff\r\n")
        data = b"x" * 1000
        pieces, _ = decoder.feed(data)
        self.assertIs(pieces[0], data)

    def test_trailersAreCollected(self) -> None:
        decoder = ChunkedDecoder()
        decoder.feed(b"0\r\nX-T:  v \r\nExpires: never\r\n\r\n")
        self.assertEqual(decoder.trailers, [(b"X-T", b"v"), (b"Expires", b"never")])

    def test_extensionsAndLeadingZerosAreLegal(self) -> None:
        self.assertEqual(decode(b'5;a=b\r\nhello\r\n0003;c="d"\r\nabc\r\n000\r\n\r\n')[:2], (b"helloabc", True))

    def test_digitsHaveNoCase(self) -> None:
        self.assertEqual(decode(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n")[0], b"0123456789" * 2)

    def test_aLongBurstIsTakenApart(self) -> None:
        events = [b"data: %d\n\n" % number for number in range(5000)]
        self.assertEqual(decode(encode(events))[:2], (b"".join(events), True))

    def test_aBurstWithLineEndsInItsContentIsTakenApart(self) -> None:
        events = [b"data: %d\r\n\r\n" % number if number % 3 else b"\r\n5\r\n" for number in range(500)]
        self.assertEqual(decode(encode(events))[:2], (b"".join(events), True))

    def test_aLieInTheMiddleOfABurstIsFound(self) -> None:
        good = b"5\r\nhello\r\n" * 100
        for lie in (b"4\r\nhello\r\n", b"6\r\nhello\r\n"):
            with self.assertRaises(FramingError):
                decode(good + lie + good + b"0\r\n\r\n")

    def test_aMissingTerminatorIsNotAnEnd(self) -> None:
        whole = encode([b"hello", b"world"], b"X-T: v\r\n")
        for stop in range(len(whole)):
            self.assertFalse(decode(whole[:stop])[1], stop)

    def test_theGrammarIsStrict(self) -> None:
        for name, data in INVALID.items():
            for cuts in ([], list(range(len(data)))):
                with self.assertRaises(FramingError, msg=name):
                    decode(data, cuts)

    def test_aBadSizeIsFoundBeforeItsLineEnds(self) -> None:
        for data in (b"zz", b"5 ", b"123456789", b"5\n"):
            with self.assertRaises(FramingError):
                ChunkedDecoder().feed(data)

    def test_sizeLinesAreBounded(self) -> None:
        for data in (b"5;a=" + b"x" * 2000, b"5;a=" + b"x" * 2000 + b"\r\nhello\r\n"):
            with self.assertRaises(FramingError):
                decode(data)

    def test_allExtensionsTogetherAreBounded(self) -> None:
        chunk = b"1;" + b"x" * 900 + b"\r\na\r\n"
        decode(chunk * 10)
        with self.assertRaises(FramingError):
            decode(chunk * 30)

    def test_trailersAreBounded(self) -> None:
        for trailers in (b"X: " + b"y" * 9000, b"X: y\r\n" * 65 + b"\r\n", b"X: %b\r\n\r\n" % (b"y" * 9000)):
            with self.assertRaises(FramingError):
                decode(b"0\r\n" + trailers)

    def test_errorsQuoteNothing(self) -> None:
        with self.assertRaises(FramingError) as caught:
            decode(b"secret\r\n")
        self.assertNotIn("secret", str(caught.exception))

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.binary(max_size=40) | st.just(b"\r\n") | st.just(b"0\r\n\r\n"), max_size=40),
        st.lists(st.integers(1, 400), max_size=12),
        st.binary(max_size=8),
    )
    def test_everyCutGivesTheSameContent(self, pieces: list[bytes], cuts: list[int], behind: bytes) -> None:
        data = encode(pieces, b"X-T: v\r\n")
        whole = decode(data + behind)
        self.assertEqual(whole, (b"".join(pieces), True, len(data)))
        self.assertEqual(decode(data + behind, cuts), whole)

    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from((b"5", b"0", b"a", b"\r\n", b"\n", b"\r", b";", b"hello", b"X: y", b" ")), max_size=30
        ),
        st.lists(st.integers(1, 60), max_size=8),
    )
    def test_aBurstAndADripAgree(self, parts: list[bytes], cuts: list[int]) -> None:
        def outcome(cuts: list[int]) -> object:
            try:
                return decode(data, cuts)
            except FramingError:
                return None

        data = b"5\r\nhello\r\n" * 60 + b"".join(parts)
        self.assertEqual(outcome([]) is None, outcome(list(range(len(data)))) is None)
        if outcome([]) is not None:
            self.assertEqual(outcome(cuts), outcome([]))

    @settings(max_examples=150, deadline=None)
    @given(st.binary(max_size=200))
    def test_arbitraryBytesRaiseNothingElse(self, data: bytes) -> None:
        try:
            _, done, consumed = decode(data)
        except FramingError:
            return
        self.assertTrue(not done or data[:consumed].endswith(b"\r\n\r\n") or data[:consumed].endswith(b"0\r\n\r\n"))
