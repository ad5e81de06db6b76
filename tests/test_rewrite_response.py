"""`llmux.rewrite.response`: what answers look like when they leave, by the vectors and by hand."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from twisted.trial import unittest

from llmux.headers import RawHeaders
from llmux.rewrite.amp_shape import ToolNames
from llmux.rewrite.features import remove_features
from llmux.rewrite.gunzip import BadGzip, TooLarge
from llmux.rewrite.response import (
    GunzipTransform,
    ResponseTransform,
    body_transform,
    gunzip_transform,
    response_transform,
)
from llmux.rewrite.sse import EventReader
from tests import vectors

Transform = ResponseTransform | GunzipTransform


def raw_headers(given: dict[str, str | None]) -> RawHeaders:
    return [(name.encode(), text.encode()) for name, text in given.items() if text is not None]


def header(headers: RawHeaders, name: str) -> str | None:
    found = [content for key, content in headers if key.lower() == name.lower().encode()]
    return found[0].decode() if found else None


def drive(headers: RawHeaders, transform: Transform | None, chunks: Sequence[bytes]) -> tuple[RawHeaders, list[bytes]]:
    """What a relay does: the output after each chunk and after the end, and the head that went before it."""
    if transform is None:
        return headers, [*chunks, b""]
    sent_head = transform.headers if transform.settled else None
    out: list[bytes] = []
    for chunk in chunks:
        out.append(transform.feed(chunk))
        if sent_head is None and transform.settled:
            sent_head = transform.headers
        assert sent_head is not None or not out[-1], "body before the head"
    out.append(transform.close())
    assert transform.settled
    return (transform.headers if sent_head is None else sent_head), out


def prepare(vector: dict[str, Any], status: int, headers: RawHeaders) -> tuple[RawHeaders, ResponseTransform | None]:
    given = vector["input"]
    route = given.get("route", "MODEL_MAPPING")
    request = given.get("request_body")
    return response_transform(
        status,
        given.get("method", "POST").encode(),
        headers,
        rewrite_model=given.get("requested_model", "ask-1") if route == "MODEL_MAPPING" else None,
        shape_fixes=route in ("MODEL_MAPPING", "LOCAL_PROVIDER"),
        provider_is_anthropic=given.get("provider_kind", "openai") == "anthropic",
        tools=ToolNames(request.encode() if request is not None else None),
    )


def response_body(response: dict[str, Any]) -> bytes:
    if "body_gzip_of" in response:
        return b"".join(
            gzip.compress(response[key].encode()) for key in ("body_gzip_of", "then_gzip_of") if key in response
        )
    if "body_gzip_truncated" in response:
        return gzip.compress(response["body_gzip_truncated"].encode())[: response["keep"]]
    if "body_parts" in response:
        return b"".join(expand(part, "utf-8") for part in response["body_parts"])
    if "body_latin1" in response:
        return str(response["body_latin1"]).encode("latin-1")
    return str(response["body"]).encode()


def expand(part: Any, encoding: str = "latin-1") -> bytes:
    if isinstance(part, dict):
        return str(part["text"]).encode(encoding) * int(part.get("repeat", 1))
    if isinstance(part, list):
        return str(part[0]).encode(encoding) * int(part[1])
    return str(part).encode(encoding)


class Vectors(unittest.SynchronousTestCase):
    """Shared checks."""

    def check_headers(self, expected: dict[str, Any], headers: RawHeaders, body: bytes) -> None:
        for name, content in expected.items():
            found = header(headers, name)
            if content == "auto":
                self.assertEqual(found, str(len(body)), name)
            else:
                self.assertEqual(found, None if content is None else str(content), name)

    def check_bytes(self, expect: dict[str, Any], body: bytes, original: bytes) -> None:
        if expect.get("unchanged") or expect.get("same_bytes"):
            self.assertEqual(body, original)
        if "body" in expect:
            self.assertEqual(body, expect["body"].encode())
        if "body_json" in expect:
            self.assertEqual(json.loads(body), expect["body_json"])
        for text in expect.get("contains", ()):
            self.assertIn(text.encode(), body)
        for text in expect.get("not_contains", ()):
            self.assertNotIn(text.encode(), body)


class JSONVectorTests(Vectors):
    """`rewrite_json`, the body in one piece and byte by byte."""

    def check(self, vector: dict[str, Any]) -> None:
        response = vector["input"]["response"]
        body = response_body(response)
        given: dict[str, str | None] = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        given.update(response.get("headers") or {})
        before = raw_headers(given)
        status = response.get("status", 200)
        for chunks in (
            [body] if body else [],
            [body[i : i + 1] for i in range(len(body))] if len(body) < 5000 else [body],
        ):
            headers, transform = prepare(vector, status, before)
            headers, out = drive(headers, transform, chunks)
            self.check_bytes(vector["expect"], b"".join(out), body)
            self.check_headers(vector["expect"].get("headers", {}), headers, b"".join(out))
            if transform is not None and header(headers, "Content-Encoding") is None:
                self.assertIn(header(headers, "Content-Length"), (None, str(len(b"".join(out)))))


class StreamVectorTests(Vectors):
    """`rewrite_sse`, in the vector's chunks, split at every place, and byte by byte (SPEC 21)."""

    def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        before = raw_headers(given.get("headers") or {"Content-Type": "text/event-stream"})
        chunks = [expand(chunk) for chunk in given["chunks"]]
        whole = b"".join(chunks)
        headers, out = drive(*prepare(vector, 200, before), chunks)
        body = b"".join(out)
        self.check_bytes(expect, body, whole)
        self.check_headers(expect.get("headers", {}), headers, body)
        if "bytes" in expect:
            self.assertEqual(body, expand(expect["bytes"]))
        if "events" in expect:
            self.check_events(expect["events"], body)
        for index, count in enumerate(expect.get("min_events_after", ())):
            seen = EventReader().feed(b"".join(out[: index + 1]))
            self.assertGreaterEqual(len([event for event in seen if event.data is not None]), count)
        for index, count in enumerate(expect.get("min_bytes_after", ())):
            self.assertGreaterEqual(len(b"".join(out[: index + 1])), count)
        if len(whole) <= 5000:
            splits = [[whole[:i], whole[i:]] for i in range(len(whole) + 1)]
            splits.append([whole[i : i + 1] for i in range(len(whole))])
        else:
            places = sorted(random.Random(3).sample(range(len(whole)), 300))
            splits = [[whole[s:e] for s, e in zip([0, *places], [*places, len(whole)], strict=True)]]
        for split in splits:
            again = drive(*prepare(vector, 200, before), split)[1]
            self.assertEqual(b"".join(again), body)

    def check_events(self, expected: list[dict[str, Any]], body: bytes) -> None:
        reader = EventReader()
        events = [event for event in [*reader.feed(body), *reader.close()] if event.data is not None]
        self.assertEqual(len(events), len(expected))
        for event, want in zip(events, expected, strict=True):
            assert event.data is not None
            if "event" in want:
                self.assertEqual(event.name.decode() or None, want["event"])
            if "data" in want:
                self.assertEqual(event.data, want["data"].encode())
            if "data_json" in want:
                self.assertEqual(json.loads(event.data), want["data_json"])
            for field in ("id", "retry"):
                if field in want:
                    self.assertIn(f"{field}: {want[field]}".encode(), event.raw)


class GzipVectorTests(Vectors):
    """`gzip`: bodies of the upstream that lack their label."""

    def check(self, vector: dict[str, Any]) -> None:
        response = vector["input"]["response"]
        body = response_body(response)
        given: dict[str, str | None] = {"Content-Length": str(len(body))}
        given.update(response.get("headers") or {})
        if "Transfer-Encoding" in given:
            del given["Content-Length"]
        before = raw_headers(given)
        method = vector["input"].get("method", "GET").encode()
        for chunks in ([body] if body else [], [body[i : i + 1] for i in range(len(body))]):
            headers, transform = gunzip_transform(response.get("status", 200), method, before)
            headers, out = drive(headers, transform, [] if method == b"HEAD" else chunks)
            sent = body if method == b"HEAD" else b"".join(out)
            self.check_bytes(vector["expect"], sent, body)
            self.check_headers(vector["expect"].get("headers", {}), headers, sent)


def _generate(case: type[Any], area: str) -> None:
    loaded = vectors.routing(area)
    for vector in loaded:

        def test(self: Any, vector: dict[str, Any] = vector) -> None:
            self.check(vector)

        test.__doc__ = f"{vector['id']}: {vector['why']}"
        setattr(case, f"test_{vector['id'].replace('-', '_')}", test)

    def some(self: Any) -> None:
        self.assertGreater(len(loaded), 0)

    case.test_thereAreVectors = some


_generate(JSONVectorTests, "rewrite_json")
_generate(StreamVectorTests, "rewrite_sse")
_generate(GzipVectorTests, "gzip")

JSON_TYPE = (b"Content-Type", b"application/json")
SSE_TYPE = (b"Content-Type", b"text/event-stream")
GZIP = (b"Content-Encoding", b"gzip")


def mapped(headers: RawHeaders, status: int = 200, method: bytes = b"POST", **more: Any) -> Any:
    return response_transform(
        status, method, headers, rewrite_model="ask", shape_fixes=True, provider_is_anthropic=False, **more
    )


class TransformTests(unittest.SynchronousTestCase):
    """What the vectors leave open."""

    def check(self, headers: RawHeaders, body: bytes, **more: Any) -> tuple[RawHeaders, bytes]:
        results = []
        for chunks in ([body], [body[i : i + 1] for i in range(len(body))]):
            before, transform = mapped(headers, **more)
            head, out = drive(before, transform, chunks)
            results.append((head, b"".join(out)))
        self.assertEqual(results[0], results[1])
        return results[0]

    def test_identityIsTheAbsenceOfATransform(self) -> None:
        headers: RawHeaders = [JSON_TYPE]
        for status, method in ((200, b"HEAD"), (204, b"POST"), (304, b"GET")):
            self.assertEqual(mapped(headers, status, method), (headers, None))
        for other in (b"text/html", b"application/octet-stream", b"application/x-stream", b"image/png"):
            self.assertIsNone(mapped([(b"Content-Type", other)])[1])
        plain = response_transform(
            200, b"POST", headers, rewrite_model=None, shape_fixes=False, provider_is_anthropic=True
        )
        self.assertEqual(plain, (headers, None))

    def test_aLabelledStreamIsSettledAtOnceAndItsDigestAndLengthGo(self) -> None:
        headers, transform = mapped([SSE_TYPE, (b"content-length", b"3"), (b"Digest", b"x"), (b"X-Id", b"1")])
        self.assertTrue(transform.settled)
        self.assertEqual(headers, [SSE_TYPE, (b"X-Id", b"1")])
        self.assertEqual(transform.label, "spliced")

    def test_aStreamInDisguiseIsFoundByItsFirstBytes(self) -> None:
        body = b'event: x\ndata: {"model":"real"}\n\n'
        for kind in ([], [(b"Content-Type", b"text/plain; charset=utf-8")], [JSON_TYPE]):
            for beginning in (b"", b": hi\n\n", b"\xef\xbb\xbf"):
                headers, out = self.check([*kind, (b"Content-Length", b"99")], beginning + body)
                self.assertEqual(out, beginning + body.replace(b"real", b"ask"))
                self.assertEqual(headers, kind)

    def test_plainTextThatIsNoStreamPassesWithItsHeaders(self) -> None:
        headers: RawHeaders = [(b"Content-Type", b"text/plain"), (b"Content-Length", b"16")]
        self.assertEqual(self.check(headers, b'{"model":"real"}'), (headers, b'{"model":"real"}'))
        self.assertEqual(self.check(headers, b"dat"), (headers, b"dat"))

    def test_aMissingTypeIsSniffed(self) -> None:
        self.assertEqual(self.check([], b' \n{"model":"real"}')[1], b' \n{"model":"ask"}')
        for other in (b"hello", b"", b"   ", b"e", b"\xef\xbb", b" " * 300 + b'{"model":"real"}'):
            self.assertEqual(self.check([], other)[1], other)

    def test_aStreamThatEndsBeforeItIsKnownIsStillOne(self) -> None:
        self.assertEqual(self.check([], b":")[1], b":")

    def test_anArrayIsTreatedElementByElement(self) -> None:
        body = b'[{"modelVersion":"r"} , 3,"model", {"model":"r","content":[{"type":"tool_use"}]}\n]'
        expected = (
            b'[{"modelVersion":"ask"} , 3,"model", {"model":"ask","content":[{"type":"tool_use","signature":""}]}\n]'
        )
        headers, out = self.check([JSON_TYPE], body)
        self.assertEqual(out, expected)
        self.assertEqual(header(headers, "content-length"), str(len(expected)))

    def test_aGzipBodyIsUnpackedWhenItChangesAndOnlyThen(self) -> None:
        headers, out = self.check([JSON_TYPE, GZIP], gzip.compress(b'{"model":"real"}'))
        self.assertEqual((out, header(headers, "content-encoding")), (b'{"model":"ask"}', None))
        self.assertEqual(header(headers, "content-length"), "15")
        packed = gzip.compress(b'{"other":"real"}')
        headers, out = self.check([JSON_TYPE, GZIP], packed)
        self.assertEqual((out, header(headers, "content-encoding")), (packed, "gzip"))
        self.assertEqual(header(headers, "content-length"), str(len(packed)))

    def test_aGzipBodyThatIsBrokenPassesWithItsHeaders(self) -> None:
        packed = gzip.compress(b'{"model":"real"}')
        before: RawHeaders = [JSON_TYPE, GZIP, (b"Content-Length", b"12")]
        for body in (packed[:20], packed[:12] + b"\xff" * 12, b"nothing", b""):
            headers, out = self.check(before, body)
            self.assertEqual((out, header(headers, "content-encoding")), (body, "gzip"))

    def test_aGzipStreamComesOutPlain(self) -> None:
        events = b'data: {"model":"real"}\n\ndata: [DONE]\n\n'
        headers, out = self.check([SSE_TYPE, GZIP], gzip.compress(events))
        self.assertEqual((headers, out), ([SSE_TYPE], events.replace(b"real", b"ask")))
        self.assertEqual(self.check([GZIP], gzip.compress(events))[1], events.replace(b"real", b"ask"))
        self.assertEqual(self.check([SSE_TYPE, GZIP], b"")[1], b"")

    def test_aGzipStreamThatBreaksOffRaises(self) -> None:
        packed = gzip.compress(b'data: {"model":"real"}\n\n')
        transform = mapped([SSE_TYPE, GZIP])[1]
        transform.feed(packed[:-3])
        self.assertRaises(BadGzip, transform.close)

    def test_aStreamThatIsNoGzipFromTheBeginningPassesWithItsLabel(self) -> None:
        packed = gzip.compress(b'data: {"model":"real"}\n\n')
        for body in (b'data: {"model":"real"}\n\n', packed[:5], b"\x1f\x8bnot really"):
            for size in (1, 3, len(body)):
                headers, transform = mapped([SSE_TYPE, GZIP])
                chunks = [body[at : at + size] for at in range(0, len(body), size)]
                headers, out = drive(headers, transform, chunks)
                self.assertEqual((headers, b"".join(out)), ([SSE_TYPE, GZIP], body))
                self.assertEqual(transform.label, "identical")
        _, transform = mapped([SSE_TYPE, GZIP], limit=1000)
        endless = packed[:3] + b"\x08" + packed[4:10]  # the header of a file whose name does not end
        self.assertEqual(
            b"".join(transform.feed(piece) for piece in (endless, *[b"x" * 100] * 20)), endless + b"x" * 2000
        )

    def test_aBombIsNotUnpacked(self) -> None:
        bomb = gzip.compress(b'{"model":"real","x":"' + b"x" * 3_000_000 + b'"}')
        _, transform = mapped([JSON_TYPE, GZIP], limit=100_000)
        self.assertEqual(transform.feed(bomb) + transform.close(), bomb)
        self.assertTrue(transform.overflowed)
        self.assertEqual(transform.headers, [JSON_TYPE, GZIP])
        bomb = gzip.compress(b"x" * 20_000_000)
        stream = mapped([SSE_TYPE, GZIP])[1]
        self.assertEqual((stream.feed(bomb), stream.overflowed), (bomb, True))
        stream = mapped([SSE_TYPE, GZIP])[1]
        stream.feed(bomb[:100])
        self.assertTrue(stream.settled)
        self.assertRaises(TooLarge, stream.feed, bomb[100:])

    def test_aBodyAboveTheLimitPassesUnchangedAndIsReported(self) -> None:
        body = b'{"model":"real"}'
        before: RawHeaders = [JSON_TYPE, (b"Content-Length", b"16")]
        transform = mapped(before, limit=15)[1]
        self.assertEqual(drive(before, transform, [body[:9], body[9:]]), (before, [b"", body, b""]))
        self.assertTrue(transform.overflowed)
        self.assertEqual((transform.changed, transform.label), (False, "identical"))
        self.assertEqual(self.check(before, body, limit=16)[1], b'{"model":"ask"}')

    def test_aHeldBodyThatDoesNotChangeKeepsItsDigest(self) -> None:
        before: RawHeaders = [JSON_TYPE, (b"Digest", b"abc")]
        headers, _ = self.check(before, b'{"a":1}')
        self.assertEqual(header(headers, "digest"), "abc")
        headers, _ = self.check(before, b'{"model":"x"}')
        self.assertIsNone(header(headers, "digest"))

    def test_closingReportsWhetherAByteChanged(self) -> None:
        for body, label in ((b'{"model":"ask"}', "identical"), (b'{"model":"x"}', "spliced")):
            transform = mapped([JSON_TYPE])[1]
            transform.feed(body)
            transform.close()
            self.assertEqual((transform.label, transform.changed), (label, label == "spliced"))

    def test_thinkingGoesBesideToolCallsUnlessTheProviderIsAnthropic(self) -> None:
        body = b'{"content":[{"type":"thinking"}, {"type":"text"}, {"type":"tool_use","name":"bash"}]}'
        self.assertEqual(
            self.check([JSON_TYPE], body)[1],
            b'{"content":[{"type":"text"}, {"type":"tool_use","name":"Bash","signature":""}]}',
        )

    def test_oneEditOfAWholeBody(self) -> None:
        def strip(body: bytes | bytearray) -> bytes | bytearray:
            return remove_features(body, ["b"])

        body = b'{"result":{"features":[{"name":"a"},{"name":"b"}]}}'
        headers, transform = body_transform(200, b"POST", [JSON_TYPE, GZIP], strip)
        headers, out = drive(headers, transform, [gzip.compress(body)])
        self.assertEqual(b"".join(out), b'{"result":{"features":[{"name":"a"}]}}')
        self.assertIsNone(header(headers, "content-encoding"))
        coded = [JSON_TYPE, (b"Content-Encoding", b"br")]
        self.assertEqual(body_transform(200, b"POST", coded, strip), (coded, None))
        self.assertIsInstance(
            body_transform(200, b"POST", [(b"Content-Type", b"text/html")], strip)[1], GunzipTransform
        )
        headers, transform = body_transform(200, b"POST", [JSON_TYPE], strip)
        self.assertEqual(drive(headers, transform, [b"data: x\n\n"])[1], [b"", b"data: x\n\n"])


class GunzipTransformTests(unittest.SynchronousTestCase):
    """Section 14 beyond its vectors."""

    def test_whatIsNotLookedAt(self) -> None:
        cases: list[tuple[int, bytes, RawHeaders]] = [
            (206, b"GET", []),
            (200, b"HEAD", []),
            (204, b"GET", []),
            (200, b"GET", [(b"content-type", b"application/gzip")]),
            (200, b"GET", [(b"content-type", b"application/x-gzip; x=y")]),
            (200, b"GET", [(b"content-disposition", b"Attachment; filename=x")]),
            (200, b"GET", [(b"content-encoding", b"br")]),
        ]
        for status, method, headers in cases:
            self.assertEqual(gunzip_transform(status, method, headers), (headers, None))

    def test_otherContentIsReleasedAtTheSecondByte(self) -> None:
        transform = gunzip_transform(200, b"GET", [])[1]
        assert transform is not None
        self.assertEqual([transform.feed(b"\x1f"), transform.feed(b"x"), transform.feed(b"y")], [b"", b"\x1fx", b"y"])
        self.assertEqual((transform.close(), transform.changed), (b"", False))

    def test_aBombAndAHugeBodyComeAsTheyAre(self) -> None:
        bomb = gzip.compress(b"x" * 1_000_000)
        transform = gunzip_transform(200, b"GET", [], 10_000)[1]
        assert transform is not None
        self.assertEqual(transform.feed(bomb) + transform.close(), bomb)
        self.assertTrue(transform.overflowed)

    def test_garbageAfterTheLastMemberMeansItIsNotGzip(self) -> None:
        packed = gzip.compress(b"hello")
        run: Callable[[bytes], bytes] = lambda body: b"".join(drive(*gunzip_transform(200, b"GET", []), [body])[1])  # noqa: E731
        self.assertEqual(run(packed + b"garbage"), packed + b"garbage")
        self.assertEqual(run(packed + b"\0\0\0"), b"hello")
