"""The model of a request: every vector of `extract`, and what arbitrary bytes may not do."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.rewrite.cleaning import clean
from llmux.routing.extractor import LONG, ModelExtractor, Peek, peek_body
from tests import vectors

VECTORS = vectors.routing("extract")


def body_of(given: dict[str, Any]) -> bytes:
    """The request body that a vector describes."""
    if "body_latin1" in given:
        return str(given["body_latin1"]).encode("latin-1")
    if "body_gzip_of" in given:
        return gzip.compress(str(given["body_gzip_of"]).encode())
    if "body_parts" in given:
        return b"".join(str(text).encode() * count for text, count in given["body_parts"])
    return str(given.get("body", "")).encode()


class ExtractVectors(SynchronousTestCase):
    """SPEC 3 by example."""

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        unknown = set(given) - {
            *("body", "body_latin1", "body_gzip_of", "body_parts", "content_encoding", "params", "gemini_route")
        }
        self.assertEqual(unknown, set(), vector["id"])
        found = ModelExtractor().extract(
            body_of(given), given.get("content_encoding"), given.get("params", {}), given.get("gemini_route", False)
        )
        if "model_any_of" in expect:
            self.assertIn(found, expect["model_any_of"], f"{vector['id']}: {vector['why']}")
        else:
            self.assertEqual(found, expect["model"], f"{vector['id']}: {vector['why']}")


def _add(vector: dict[str, Any]) -> None:
    def test(self: ExtractVectors) -> None:
        self.check(vector)

    setattr(ExtractVectors, f"test_{vector['id'].replace('-', '_')}", test)


for _vector in VECTORS:
    _add(_vector)


def body_model(body: bytes) -> str | None:
    return ModelExtractor().extract(body)


class Spotless(SynchronousTestCase):
    """Whether a body has anything to clean, told by the same pass."""

    def peek(self, *turns: str) -> bool:
        """What is told of a short body, and of a long one in the same way."""
        told = set()
        for size in (1, LONG):
            filler = '{"role":"user","content":"' + "x" * size + '"}'
            body = '{"model":"m","messages":[' + ",".join((filler, *turns)) + "]}"
            found = peek_body(body.encode())
            self.assertEqual(found.model, "m")
            told.add(found.spotless)
        (spotless,) = told
        return spotless

    def test_textIsSpotlessWhoeverSaysWhat(self) -> None:
        self.assertTrue(self.peek())
        self.assertTrue(self.peek('{"role":"assistant","content":"\\"thinking\\" \\"signature\\""}'))
        self.assertTrue(self.peek('{"role":"user","content":[{"type":"thinking"}]}'))
        self.assertTrue(self.peek('{"role":"assistant","content":[{"type":"text","text":"hi"}]}'))

    def test_whatCouldBeCleanedIsNot(self) -> None:
        for block in ('{"type":"thinking"}', '{"type":"tool_use","signature":1}', '{"type":"think\\u0069ng"}'):
            self.assertFalse(self.peek('{"role":"assistant","content":[' + block + "]}"), block)
        self.assertFalse(self.peek('{"r\\u006fle":"assist\\u0061nt","cont\\u0065nt":[{"type":"thinking"}]}'))

    def test_nothingIsBuiltOfARoleThatIsNone(self) -> None:
        role = "[" + ",".join(["[]"] * 200_000) + "]"
        body = ('{"model":"m","messages":[{"role":' + role + ',"content":[{"type":"thinking"}]}]}').encode()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.assertEqual(peek_body(body), Peek("m", spotless=True, unsigned=True))
        self.assertLess(tracemalloc.get_traced_memory()[1], 3 * len(body))

    def test_otherShapesAreNotTold(self) -> None:
        for size in (1, LONG):
            odd = b'{"model":"m","messages":{"a":1},"x":"' + b"x" * size + b'"}'
            self.assertEqual(peek_body(odd), Peek("m", False, False))

    def test_aBodyWithoutMessagesHasNothingToClean(self) -> None:
        self.assertEqual(peek_body(b'{"model":"m","input":"thinking"}'), Peek("m", spotless=True))

    def test_cleaningAgreesWhereverItIsTold(self) -> None:
        for block in ('{"type":"text"}', '{"type":"thinking","signature":""}', '{"type":"tool_use","signature":null}'):
            filler = '{"role":"user","content":"' + "x" * LONG + '"}'
            turn = '{"role":"assistant","content":[{"type":"text","text":"a"},' + block + "]}"
            body = bytearray(('{"model":"m","messages":[' + filler + "," + turn + "]}").encode())
            if clean(body) is not body:
                self.assertFalse(peek_body(body).spotless)


class Bodies(SynchronousTestCase):
    """Names in the body."""

    def test_theLastDuplicateWins(self) -> None:
        self.assertEqual(body_model(b'{"model":"a","x":1,"model":"b"}'), "b")
        self.assertIsNone(body_model(b'{"model":"a","model":7}'))
        self.assertEqual(body_model(b'{"model":7,"model":"b"}'), "b")

    def test_aKeyMayBeWrittenWithEscapes(self) -> None:
        self.assertEqual(body_model(b'{"mo\\u0064el":"a"}'), "a")

    def test_aNestedOrDottedModelIsNone(self) -> None:
        self.assertIsNone(body_model(b'{"a":{"model":"x"},"a.model":"y","b":[{"model":"z"}]}'))

    def test_surroundingWhiteSpaceIsTrimmed(self) -> None:
        self.assertEqual(body_model(b'{"model":" \\n a b\\t"}'), "a b")

    def test_aByteOrderMarkIsTolerated(self) -> None:
        self.assertEqual(body_model(b'\xef\xbb\xbf{"model":"a"}'), "a")

    def test_whatIsNotStrictJsonHasNoModel(self) -> None:
        for tail in (b"", b",}", b'} {"model":"b"}', b"}x", b',"x":NaN}', b',"x":01}', b',"x":"\\q"}', b',"x":"a\nb"}'):
            self.assertIsNone(body_model(b'{"model":"a"' + tail), tail)

    def test_invalidUtf8HasNoModel(self) -> None:
        self.assertIsNone(body_model(b'{"model":"a","x":"\xff"}'))
        self.assertIsNone(body_model(b'{"\xff":1,"model":"a"}'))
        self.assertIsNone(body_model(b'{"model":"\xff","x":"' + b"y" * LONG + b'"}'))
        self.assertIsNone(body_model('{"model":"a"}'.encode("utf-16")))

    def test_theSameLookTellsWhetherMessagesMayBeSigned(self) -> None:
        for messages, unsigned in (
            ("[]", True),
            ('[{"role":"user","content":"extra_content"},"extra_content",1,null]', True),
            ('[{"tool_calls":[{"id":"a","function":{"arguments":"{}"}}]}]', True),
            ('[{"extra_content":{"google":{"thought_signature":"a"}}}]', False),
            ('[{"extra\\u005fcontent":{}}]', False),
            ('[{"tool_calls":[{"extra_content":{}}]}]', False),
            ('[{"tool_calls":[{"extra\\u005fcontent":{}}]}]', False),
            ('[["extra_content"]]', False),
            ("null", False),
        ):
            for size in (1, LONG):
                body = f'{{"model":"a","messages":{messages},"x":"{"y" * size}"}}'.encode()
                self.assertEqual(peek_body(body).unsigned, unsigned, messages)

    def test_aLongBodyIsNotLookedThroughForBytesThatAreNoText(self) -> None:
        self.assertEqual(body_model(b'{"model":"a","\xff":"' + b"y" * LONG + b'\xe6\xbc"}'), "a")

    def test_charactersAcrossPiecesAreValid(self) -> None:
        for pad in range(4):
            text = '{"x":"' + "y" * pad + "\U0001f600" * 40000 + '","model":"a"}'
            self.assertEqual(body_model(text.encode()), "a", pad)

    def test_halfASurrogatePairElsewhereDoesNotHideTheModel(self) -> None:
        for text in (
            rb"\ud83d",
            rb"a\ude00b",
            rb"\ud83d\n\ude00",
            rb"\\\ud83d",
            rb"\ud83d\\ude00",
            rb"\\ud83d\ude00",
            rb"\ud83d\ud83d\ude00",
        ):
            body = b'{"model":"a\\ud83d\\ude00","x":"' + text + b'"}'
            json.loads(body)
            self.assertEqual(body_model(body), "a\U0001f600", text)

    def test_halfASurrogatePairInTheNameBecomesAReplacementCharacter(self) -> None:
        self.assertEqual(body_model(b'{"model":"a\\ud83d"}'), "a\ufffd")
        self.assertIsNone(body_model(b'{"model":"\xed\xa0\x80"}'))

    def test_absurdNestingIsNoError(self) -> None:
        for bracket in (b"[", b'{"a":'):
            self.assertIsNone(body_model(b'{"model":"a","x":' + bracket * 200_000))
        self.assertIsNone(body_model(b'{"model":"a","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"))

    def test_everyKindOfBufferIsRead(self) -> None:
        body = b'\xef\xbb\xbf{"model":"\xc3\xa9","stream":true}'
        held = bytearray(body)
        for buffer in (body, held, memoryview(body), memoryview(held)):
            self.assertEqual(peek_body(buffer), Peek("\xe9", True, spotless=True))
        del buffer
        held += b" "  # raises BufferError if a view of it were still held

    def test_streamIsTrueOnlyWhenItIsWrittenSo(self) -> None:
        for value, stream in ((b"true", True), (b" true ", True), (b"false", False), (b"1", False), (b'"true"', False)):
            self.assertEqual(
                peek_body(b'{"stream":' + value + b',"model":"a"}'), Peek("a", stream, spotless=True), value
            )


class Compression(SynchronousTestCase):
    """Bodies in gzip."""

    def extract(self, body: bytes, encoding: str = "gzip", limit: int = 1000) -> str | None:
        return ModelExtractor(limit).extract(body, encoding)

    def test_aGzipBodyIsDecoded(self) -> None:
        body = b'{"model":"a"}'
        for encoding in ("gzip", "GZIP", " x-gzip "):
            self.assertEqual(self.extract(gzip.compress(body), encoding), "a", encoding)
        self.assertEqual(self.extract(gzip.compress(body[:5]) + gzip.compress(body[5:]) + b"\0\0"), "a")

    def test_aBodyThatGrowsBeyondTheLimitHasNoModel(self) -> None:
        body = b'{"model":"a"}' + b" " * 987
        self.assertEqual(self.extract(gzip.compress(body)), "a")
        self.assertIsNone(self.extract(gzip.compress(body + b" ")))
        self.assertIsNone(self.extract(gzip.compress(body[:600]) + gzip.compress(body[600:] + b" ")))

    def test_aDamagedGzipBodyIsReadAsItStands(self) -> None:
        whole = gzip.compress(b'{"model":"a"}')
        self.assertIsNone(self.extract(whole[:-3]))
        self.assertIsNone(self.extract(whole + b"junk"))
        self.assertIsNone(self.extract(gzip.compress(b"") * 16 + whole))
        self.assertEqual(self.extract(b'{"model":"plain"}'), "plain")

    def test_otherEncodingsAreNotDecoded(self) -> None:
        self.assertIsNone(self.extract(gzip.compress(b'{"model":"a"}'), "br"))
        self.assertIsNone(self.extract(zlib.compress(b'{"model":"a"}'), "deflate"))


class Paths(SynchronousTestCase):
    """Names in the path."""

    def extract(self, gemini: bool = True, body: bytes = b"{}", **params: str) -> str | None:
        return ModelExtractor().extract(body, None, params, gemini)

    def test_theLastColonEndsTheName(self) -> None:
        self.assertEqual(self.extract(action="a:b:generateContent"), "a:b")
        self.assertEqual(self.extract(path="models/a:b:generateContent"), "a:b")

    def test_percentEncodingIsDecodedBeforeTheNameIsCutOut(self) -> None:
        self.assertEqual(self.extract(action="a%2Db%3AgenerateContent"), "a-b")
        self.assertEqual(self.extract(path="publishers%2Fgoogle%2Fmodels%2Fa%20b:x"), "a b")

    def test_aResourceNameIsReducedOnGeminiRoutesOnly(self) -> None:
        self.assertEqual(self.extract(body=b'{"model":"models/a"}'), "a")
        self.assertEqual(self.extract(body=b'{"model":"x/models/a/b"}'), "a/b")
        self.assertEqual(self.extract(gemini=False, body=b'{"model":"models/a"}'), "models/a")
        self.assertEqual(self.extract(body=b'{"model":"mymodels/a"}'), "mymodels/a")

    def test_aBlankNameMovesOn(self) -> None:
        self.assertEqual(self.extract(body=b'{"model":"  "}', action=" :x", path="/models/c:x"), "c")
        self.assertEqual(self.extract(body=b'{"model":"models/"}', action="models/:x", path="/models/c:x"), "c")

    def test_aPathNeedsModelsAsASegmentAndAColonAfterIt(self) -> None:
        for path in ("mymodels/a:x", "a:x/models/b", "models", "", "/models/:x", "x/models:y"):
            self.assertIsNone(self.extract(path=path), path)
        self.assertEqual(self.extract(path="models/a:x"), "a")


def _attempt(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (ValueError, RecursionError):
        return None


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "stream", "x"]) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
_pairs = st.lists(st.tuples(st.sampled_from(["model", "stream", "Model", "x"]) | st.text(max_size=4), _values))


class Properties(SynchronousTestCase):
    """What holds for every body."""

    @settings(max_examples=200, deadline=None)
    @given(st.binary(), st.sampled_from([None, "gzip"]), st.text(), st.text(), st.booleans())
    def test_nothingRaises(self, body: bytes, encoding: str | None, action: str, path: str, gemini: bool) -> None:
        params = {"action": action, "path": path}
        for start in (b"", b'{"model":"', b'{"model":"a","x":"'):
            found = ModelExtractor().extract(start + body, encoding, params, gemini)
            self.assertTrue(found is None or found.strip() == found != "")

    @settings(max_examples=200, deadline=None)
    @given(_pairs, st.booleans(), st.integers(0, 3))
    def test_objectsReadAsTheStandardLibraryReadsThem(self, pairs: list[Any], ascii_only: bool, cut: int) -> None:
        members = ", ".join(
            f"{json.dumps(key, ensure_ascii=ascii_only)}: {json.dumps(value, ensure_ascii=ascii_only)}"
            for key, value in pairs
        )
        body = ("{" + members + "}").encode("utf-8", "surrogatepass")
        body = body[: len(body) - cut]
        reference = _attempt(lambda: json.loads(body.decode()))
        model = reference.get("model") if reference else None
        expected = model.strip() or None if isinstance(model, str) else None
        self.assertEqual(peek_body(body).stream, reference is not None and reference.get("stream") is True)
        self.assertEqual(peek_body(body).model, expected)
