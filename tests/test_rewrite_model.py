"""`llmux.rewrite.model`: the vectors of `rewrite_request`, and the quick way against the walk."""

from __future__ import annotations

import gzip
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from llmux.headers import RawHeaders
from llmux.rewrite.gunzip import plain_request, request_headers
from llmux.rewrite.model import ModelRewriter, rewrite_action, rewrite_path
from llmux.rewrite.spans import find_spans
from llmux.rewrite.splice import literal, splice
from tests import vectors
from tests.test_rewrite_spans import DOCUMENTS

PLACES = (
    (b"model",),
    (b"modelVersion",),
    (b"message", b"model"),
    (b"response", b"model"),
    (b"response", b"modelVersion"),
)


class RequestVectorTests(unittest.SynchronousTestCase):
    """`rewrite_request`."""

    def received(self, given: dict[str, Any]) -> bytes:
        """The body as the client sent it."""
        if "body_gzip_of" in given:
            return gzip.compress(given["body_gzip_of"].encode())
        if "body_latin1" in given:
            return bytes(given["body_latin1"].encode("latin-1"))
        return bytes(given["body"].encode())

    def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        headers: RawHeaders = [(name.encode(), text.encode()) for name, text in given.get("headers", {}).items()]
        received = self.received(given)
        body, decoded = plain_request(headers, received, 1_000_000)
        mapped = given.get("route", "MODEL_MAPPING") == "MODEL_MAPPING"
        model = given.get("new_model")
        changed = ModelRewriter(model).request(body) if mapped else body
        sent = received if changed is body else changed
        if expect.get("unchanged"):
            self.assertIs(sent, received)
        if "body" in expect:
            self.assertEqual(sent, expect["body"].encode())
        if "body_json" in expect:
            self.assertEqual(json.loads(sent), expect["body_json"])
        for text in expect.get("contains", ()):
            self.assertIn(text.encode(), sent)
        for text in expect.get("not_contains", ()):
            self.assertNotIn(text.encode(), sent)
        headers = headers if sent is received else request_headers(headers, len(sent), decoded)
        for name, text in expect.get("headers", {}).items():
            found = [content.decode() for key, content in headers if key.lower() == name.lower().encode()]
            self.assertEqual(found, [] if text is None else [str(text)])
        path = given.get("path", "").encode()
        path = rewrite_path(path, model) if mapped and model is not None else path
        if "path" in expect:
            self.assertEqual(path.decode(), expect["path"])
        if "action" in expect:
            self.assertEqual(path.decode().partition("?")[0].rpartition("/models/")[2], expect["action"])


VECTORS = vectors.routing("rewrite_request")
for _vector in VECTORS:

    def _test(self: RequestVectorTests, vector: dict[str, Any] = _vector) -> None:
        self.check(vector)

    _test.__doc__ = f"{_vector['id']}: {_vector['why']}"
    setattr(RequestVectorTests, f"test_{_vector['id'].replace('-', '_')}", _test)


class ModelRewriterTests(unittest.SynchronousTestCase):
    """Requests and answers."""

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    @settings(max_examples=200, deadline=None)
    @given(DOCUMENTS, st.sampled_from(["ask", 'a"b']))
    def test_requestsChangeAtEveryTopLevelModelAndNowhereElse(self, data: bytes, name: str) -> None:
        edits = [(start, end, literal(name)) for start, end in find_spans(data, (b"model",))]
        self.assertEqual(ModelRewriter(name).request(data), splice(data, edits))
        self.assertEqual(ModelRewriter(name).request(data + b" " * 20_000), splice(data, edits) + b" " * 20_000)

    @settings(max_examples=200, deadline=None)
    @given(DOCUMENTS)
    def test_answersChangeAtTheFivePlacesOnly(self, data: bytes) -> None:
        data = data.replace(b'"deep"', b'"modelVersion"')
        spans = [span for span in find_spans(data, *PLACES) if data[span[0]] == ord('"')]
        expected = splice(data, [(start, end, b'"ask"') for start, end in spans])
        self.assertEqual(ModelRewriter("ask").response(data), expected)
        self.assertEqual(ModelRewriter("ask").response(data + b" " * 20_000), expected + b" " * 20_000)

    def test_aKeyThatOnlyEndsLikeOneIsNotOne(self) -> None:
        for data in (b'{"say \\"model":"x"}', b'{"a":{"model":"x"}}', b'{"m":["model"],"x":"\\"model\\":\\"y\\""}'):
            self.assertIs(ModelRewriter("ask").response(data), data)
            self.assertIs(ModelRewriter("ask").request(data), data)

    def test_aStringAtANestedPlaceDoesNotStandForOneAtTheRoot(self) -> None:
        data = b'{"model":3,"tools":[{"model":"x"}]}'
        self.assertIs(ModelRewriter("ask").response(data), data)
        self.assertEqual(ModelRewriter("ask").request(data), b'{"model":"ask","tools":[{"model":"x"}]}')
        data = b'{"model":"r","tools":[{"model":"x"}],"say \\"model":"y","response":{"a":{"model":"z"}}}'
        self.assertEqual(ModelRewriter("ask").response(data), data.replace(b'"r"', b'"ask"'))
        self.assertEqual(ModelRewriter("ask").request(data), data.replace(b'"r"', b'"ask"'))

    def test_messageHasNoVersion(self) -> None:
        data = b'{"message":{"modelVersion":"x"}}'
        self.assertIs(ModelRewriter("ask").response(data), data)

    def test_whatAlreadyReadsSoIsNotAChange(self) -> None:
        data = b'{"model":"ask"}'
        self.assertIs(ModelRewriter("ask").response(data), data)

    def test_duplicatesInAnAnswerAreAllReplaced(self) -> None:
        data = b'{"model":"a","message":{"model":"b"},"message":{"model":"c","model":"d"},"model":1}'
        expected = b'{"model":"ask","message":{"model":"ask"},"message":{"model":"ask","model":"ask"},"model":1}'
        self.assertEqual(ModelRewriter("ask").response(data), expected)

    def test_bytearraysAndLoneSurrogatesAreFine(self) -> None:
        data = bytearray(b'{"x":"\\ud83d","model":"real"}')
        self.assertEqual(ModelRewriter("ask").request(data), b'{"x":"\\ud83d","model":"ask"}')
        self.assertEqual(ModelRewriter("ask").response(data), b'{"x":"\\ud83d","model":"ask"}')
        data += b" "


class GeminiPathTests(unittest.SynchronousTestCase):
    """SPEC R-RQ-5."""

    def test_theModelIsReplacedAndEverythingElseStays(self) -> None:
        cases = {
            b"/v1beta/models/old:countTokens": b"/v1beta/models/new:countTokens",
            b"/v1/models/old:v?key=a%20b&x=/models/y:z": b"/v1/models/new:v?key=a%20b&x=/models/y:z",
            b"/v1beta/models/models/old:v": b"/v1beta/models/new:v",
            b"/v1beta/models/a:b:v": b"/v1beta/models/new:v",
            b"/v1beta/models/old%3Av": b"/v1beta/models/new:v",
            b"/v1beta/models/old": b"/v1beta/models/new",
            b"/api/provider/models/v1beta/models/old:v": b"/api/provider/models/v1beta/models/new:v",
            b"/api/provider/google/v1beta1/models/old:v": b"/api/provider/google/v1beta1/models/new:v",
            b"/v1beta1/publishers/x/models/old": b"/v1beta1/publishers/x/models/old",
            b"/v1beta1/mymodels/old:v": b"/v1beta1/mymodels/old:v",
            b"/v1/messages": b"/v1/messages",
        }
        for before, after in cases.items():
            self.assertEqual(rewrite_path(before, "new"), after)

    def test_namesAreEscapedForAPath(self) -> None:
        self.assertEqual(rewrite_path(b"/v1beta/models/x:v", "a b?é(high)"), b"/v1beta/models/a%20b%3F%C3%A9(high):v")

    def test_actionsKeepTheirMethod(self) -> None:
        self.assertEqual(rewrite_action("x:y:v", "new"), "new:v")
        self.assertEqual(rewrite_action("x", "new"), "new")
