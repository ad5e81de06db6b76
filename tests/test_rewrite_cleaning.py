"""`llmux.rewrite.cleaning`: the vectors of `sanitize`, and bodies made at random."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from llmux.rewrite.cleaning import clean, cleaning_steps
from tests import vectors


class SanitizeVectorTests(unittest.SynchronousTestCase):
    """`sanitize`, each of them twice."""

    def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        body = given["body_latin1"].encode("latin-1") if "body_latin1" in given else given["body"].encode()
        for padded in (body, body + b" " * 70_000):
            cleaned = clean(padded)
            self.assertIs(clean(cleaned), cleaned)
            if expect.get("unchanged"):
                self.assertIs(cleaned, padded)
            if "body" in expect:
                self.assertEqual(cleaned.rstrip(), expect["body"].encode().rstrip())
            if "body_json" in expect:
                self.assertEqual(json.loads(cleaned), expect["body_json"])
            for text in expect.get("contains", ()):
                self.assertIn(text.encode(), cleaned)
            for text in expect.get("not_contains", ()):
                self.assertNotIn(text.encode(), cleaned)


VECTORS = vectors.routing("sanitize")
for _vector in VECTORS:

    def _test(self: SanitizeVectorTests, vector: dict[str, Any] = _vector) -> None:
        self.check(vector)

    _test.__doc__ = f"{_vector['id']}: {_vector['why']}"
    setattr(SanitizeVectorTests, f"test_{_vector['id'].replace('-', '_')}", _test)


ODD: st.SearchStrategy[Any] = st.sampled_from([None, 1, "x", [], {}, True, [{"type": "thinking"}]])
SIGNATURES: st.SearchStrategy[Any] = st.sampled_from(["", " \n", "sig", None, 7, ["s"], {}])
BLOCKS = st.one_of(
    ODD,
    st.fixed_dictionaries(
        {"type": st.one_of(st.sampled_from(["thinking", "tool_use", "text", "redacted_thinking"]), ODD)},
        optional={"signature": SIGNATURES, "input": st.just({"signature": "mine"}), "n": st.just(12345678901234567890)},
    ),
)
MESSAGES = st.one_of(
    ODD,
    st.fixed_dictionaries(
        {"role": st.sampled_from(["assistant", "assistant", "user", None])},
        optional={"content": st.one_of(st.lists(BLOCKS, max_size=4), ODD)},
    ),
)
BODIES = st.fixed_dictionaries(
    {"model": st.just("m")}, optional={"messages": st.one_of(st.lists(MESSAGES, max_size=4), ODD)}
)


def slow_clean(body: Any) -> Any:
    """The rules of SPEC 7.1 on values."""
    if not isinstance(body.get("messages"), list):
        return body
    kept = []
    for message in body["messages"]:
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and message["role"] == "assistant":
            blocks = []
            for block in content:
                kind = block.get("type") if isinstance(block, dict) else None
                if kind == "thinking":
                    signature = block.get("signature")
                    if not isinstance(signature, str) or not signature.strip():
                        continue
                if kind == "tool_use":
                    block = {key: value for key, value in block.items() if key != "signature"}
                blocks.append(block)
            if content and not blocks:
                continue
            message = {**message, "content": blocks}
        kept.append(message)
    return {**body, "messages": kept}


class CleaningTests(unittest.SynchronousTestCase):
    """What the vectors leave open."""

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    @settings(max_examples=200, deadline=None)
    @given(BODIES, st.sampled_from([None, 1]), st.booleans())
    def test_cleaningAgreesWithTheRulesAndIsIdempotent(self, body: Any, indent: int | None, large: bool) -> None:
        text = json.dumps(body, indent=indent).encode() + (b" " * 70_000 if large else b"")
        cleaned = clean(text)
        self.assertEqual(json.loads(cleaned), slow_clean(body))
        self.assertIs(clean(cleaned), cleaned)
        if slow_clean(body) == body:
            self.assertIs(cleaned, text)

    def test_onlyTheBlockAndItsCommaGo(self) -> None:
        body = b'{"messages":[ {"role":"assistant" , "content":[ {"type":"thinking"} , {"type":"text","n":1.50} ]} ]}'
        self.assertEqual(clean(body), b'{"messages":[ {"role":"assistant" , "content":[ {"type":"text","n":1.50} ]} ]}')

    def test_aMessageLeftEmptyIsRemoved(self) -> None:
        body = b'{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"thinking"}]}]}'
        self.assertEqual(clean(body), b'{"messages":[{"role":"user","content":"q"}]}')

    def test_aMessageThatWasEmptyStays(self) -> None:
        body = b'{"messages":[{"role":"assistant","content":[]},{"role":"assistant","content":[{"type":"thinking"}]}]}'
        self.assertEqual(clean(body), b'{"messages":[{"role":"assistant","content":[]}]}')

    def test_escapedSpellingsAreSeen(self) -> None:
        blocks = b'{"type":"th\\u0069nking"},1,{"type":"tool_use","\\u0073ignature":1}'
        body = b'{"messages":[{"role":"assistant","content":[' + blocks + b"]}]}"
        self.assertEqual(clean(body), b'{"messages":[{"role":"assistant","content":[1,{"type":"tool_use"}]}]}')

    def test_theLastOfDuplicatesCounts(self) -> None:
        thinking = b'{"type":"thinking","signature":"s","signature":""}'
        body = b'{"messages":[{"role":"user","role":"assistant","content":[1],"content":[2,' + thinking + b"]}]}"
        self.assertEqual(clean(body), b'{"messages":[{"role":"user","role":"assistant","content":[1],"content":[2]}]}')
        call = b'{"type":"tool_use","signature":"a","id":1,"signature":"b"}'
        body = b'{"messages":[{"role":"assistant","content":[' + call + b"]}]}"
        self.assertEqual(clean(body), b'{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":1}]}]}')

    def test_loneSurrogatesAndAByteOrderMarkAreTolerated(self) -> None:
        body = (
            b'\xef\xbb\xbf{"x":"\\ud83d","messages":[{"role":"assistant","content":[{"type":"thinking"},"\\udc00"]}]}'
        )
        expected = b'\xef\xbb\xbf{"x":"\\ud83d","messages":[{"role":"assistant","content":["\\udc00"]}]}'
        self.assertEqual(clean(body), expected)

    def test_aBytearrayIsNotCopiedUnlessSomethingChanges(self) -> None:
        body = bytearray(b'{"messages":[{"role":"assistant","content":[{"type":"thinking","signature":"s"}]}]}')
        self.assertIs(clean(body), body)
        body += b" "

    def test_largeBodiesPauseBetweenPasses(self) -> None:
        message = b'{"role":"assistant","content":[{"type":"thinking","thinking":"x"},{"type":"text","text":"y"}]}'
        body = b'{"messages":[' + b",".join([message] * 1000) + b"]}"
        self.assertGreater(len(list(cleaning_steps(body))), 5)
        self.assertEqual(clean(body).count(b"thinking"), 0)
        self.assertEqual(list(cleaning_steps(clean(body))), [])
