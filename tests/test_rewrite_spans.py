"""`llmux.rewrite.spans` against a slow reader of the grammar of RFC 8259."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from llmux.rewrite.spans import (
    InvalidJSON,
    decode_string,
    elements,
    end_of_value,
    find_spans,
    hide_surrogates,
    members,
    root,
)

Path = tuple[bytes, ...]
WANTED: tuple[Path, ...] = ((b"model",), (b"response", b"model"), (b"response", b"deep", b"model"), (b"message",))

NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"')


class SlowReader:
    """A recursive-descent reader that notes the span of every value with its path."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.spans: list[tuple[Path, int, int]] = []

    def read(self) -> list[tuple[Path, int, int]]:
        end = self.space(self.value(self.space(3 if self.data.startswith(b"\xef\xbb\xbf") else 0), ()))
        if end != len(self.data):
            raise ValueError
        return self.spans

    def space(self, pos: int) -> int:
        while self.data[pos : pos + 1] and self.data[pos : pos + 1] in b" \t\r\n":
            pos += 1
        return pos

    def value(self, pos: int, path: Path | None) -> int:
        first = self.data[pos : pos + 1]
        if first == b"{":
            end = self.container(pos, path, b"}")
        elif first == b"[":
            end = self.container(pos, None, b"]")
        else:
            for pattern in (STRING, NUMBER, re.compile(b"true|false|null")):
                match = pattern.match(self.data, pos)
                if match:
                    end = match.end()
                    break
            else:
                raise ValueError
        if path is not None:
            self.spans.append((path, pos, end))
        return end

    def container(self, pos: int, path: Path | None, closer: bytes) -> int:
        pos = self.space(pos + 1)
        if self.data[pos : pos + 1] == closer:
            return pos + 1
        while True:
            inner = None
            if closer == b"}":
                match = STRING.match(self.data, pos)
                if match is None:
                    raise ValueError
                key = json.loads(match[0]).encode("utf-8", "surrogatepass")
                inner = None if path is None else (*path, key)
                pos = self.space(match.end())
                if self.data[pos : pos + 1] != b":":
                    raise ValueError
                pos = self.space(pos + 1)
            pos = self.space(self.value(pos, inner))
            if self.data[pos : pos + 1] == closer:
                return pos + 1
            if self.data[pos : pos + 1] != b",":
                raise ValueError
            pos = self.space(pos + 1)


def reference(data: bytes) -> list[tuple[int, int]]:
    try:
        spans = SlowReader(data).read()
    except ValueError:
        return []
    return sorted((start, end) for path, start, end in spans if path in WANTED)


WS = st.text(" \t\r\n", max_size=2)
KEYS = st.sampled_from(
    [
        "model",
        "mod\\u0065l",
        "\\u006dodel",
        "response",
        "respon\\u0073e",
        "deep",
        "message",
        "x",
        "",
        "Model",
        '\\"model',
    ]
)
SCALARS = st.one_of(
    st.sampled_from(
        ["null", "true", "0", "-1.50e+3", "123456789012345678901234567890", '""', '"model"', '"\\"model\\":\\"x"']
    ),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.text(max_size=8).map(json.dumps),
    st.sampled_from(['"\\ud83d"', '"\\ude00\\ud83d"', '"' + "long " * 60 + '"', '"' + "\\n" * 20 + '"']),
)


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    parts = []
    for key, value in draw(st.lists(st.tuples(KEYS, values), max_size=4)):
        parts.append(f'{draw(WS)}"{key}"{draw(WS)}:{draw(WS)}{value}{draw(WS)}')
    return "{" + (",".join(parts) or draw(WS)) + "}"


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    parts = [f"{draw(WS)}{value}{draw(WS)}" for value in draw(st.lists(values, max_size=3))]
    return "[" + (",".join(parts) or draw(WS)) + "]"


VALUES: st.SearchStrategy[str] = st.recursive(SCALARS, lambda inner: objects(inner) | arrays(inner), max_leaves=12)
DOCUMENTS = st.tuples(WS, objects(VALUES), WS).map(lambda parts: "".join(parts).encode())


def damaged(data: bytes, place: int, piece: bytes) -> bytes:
    place %= len(data)
    return data[:place] + piece + data[place + 1 :]


class SpanTests(unittest.SynchronousTestCase):
    """Exactness, on good text and on bad."""

    @settings(max_examples=200, deadline=None)
    @given(DOCUMENTS)
    def test_spansAgreeWithTheSlowReader(self, data: bytes) -> None:
        expected = reference(data)
        self.assertEqual(sorted(find_spans(data, *WANTED)), expected)
        self.assertEqual(sorted(find_spans(bytearray(data), *WANTED)), expected)

    @settings(max_examples=200, deadline=None)
    @given(
        DOCUMENTS,
        st.integers(0, 10_000),
        st.sampled_from([b"", b'"', b"\\", b",", b"}", b"{", b"]", b"0", b"\x01", b":"]),
    )
    def test_damagedTextAgreesToo(self, data: bytes, place: int, piece: bytes) -> None:
        broken = damaged(data, place, piece)
        self.assertEqual(sorted(find_spans(broken, *WANTED)), reference(broken))

    @settings(max_examples=100, deadline=None)
    @given(arrays(VALUES))
    def test_elementsAreThoseOfTheArray(self, text: str) -> None:
        data = text.encode()
        if hide_surrogates(data) is not None:
            data = hide_surrogates(data) or data
        spans = elements(data, 0, end_of_value(data, 0))
        self.assertEqual([json.loads(data[start:end]) for start, end in spans], json.loads(data))
        for start, end in spans:
            self.assertEqual(data[start:end], data[start:end].strip())

    def test_msgspecStillSaysWhereAValueEnds(self) -> None:
        for text, end in ((b'{"a":[1]} ,"b"', 9), (b"[1]]", 3), (b'"a,b"}', 5), (b'{"a":1}', 7), (b'["x"] \n', 5)):
            self.assertEqual(end_of_value(text, 0), end)
            self.assertEqual(end_of_value(b"12345" + text, 5), end + 5)

    def test_whatIsNoContainerOrStringCannotBeSkipped(self) -> None:
        for text in (b"12,", b"tru", b"", b"}", b'"a', b"[1", b"{", b"[1 2]", b'{"a" 1}'):
            self.assertRaises(InvalidJSON, end_of_value, text, 0)

    def test_everyOccurrenceOfADuplicateIsReported(self) -> None:
        data = b'{"model":"a","mod\\u0065l":null , "response":{"model":1},"response":{"model":[2]}}'
        spans = find_spans(data, (b"model",), (b"response", b"model"))
        self.assertEqual([data[start:end] for start, end in spans], [b'"a"', b"null", b"1", b"[2]"])

    def test_aPathThroughAnythingButAnObjectLeadsNowhere(self) -> None:
        for value in (b'"x"', b"[]", b"null", b'[{"model":"x"}]'):
            self.assertEqual(find_spans(b'{"response":' + value + b"}", (b"response", b"model")), [])

    def test_aByteOrderMarkBeforeTheTextIsTolerated(self) -> None:
        self.assertEqual(find_spans(b'\xef\xbb\xbf {"model":1}', (b"model",)), [(13, 14)])
        self.assertEqual(root(b"\xef\xbb\xbf \n"), 5)

    def test_loneSurrogatesDoNotHideTheRest(self) -> None:
        data = b'{"a":{"\\ud83d":"\\\\ud83d"},"mod\\ud865l":1,"model":"\\udead"}'
        self.assertEqual(find_spans(data, (b"model",)), [(49, 57)])

    def test_absurdNestingAndLengthsAreNotFatal(self) -> None:
        deep = b'{"model":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        self.assertEqual(find_spans(deep, (b"model",)), [])
        nested = b'{"response":' * 5000 + b"1" + b"}" * 5000
        self.assertEqual(find_spans(nested, (b"response", b"model")), [])
        key = b"k" * 100_000
        data = b'{"' + key + b'":"' + key + b'","model":' + b"9" * 1000 + b"}"
        self.assertEqual(len(find_spans(data, (b"model",), (key,))), 2)

    def test_anEmptyObjectHasNoLastValue(self) -> None:
        self.assertEqual(members(b"{ } "), ([], -1, 3))
        self.assertIsNone(members(b"{}").last_of(b"a"))

    def test_membersTellKeysValuesAndTheEnd(self) -> None:
        found = members(b'{"a": 1 , "\\u0062":[2]} x')
        self.assertEqual(found, ([(b"a", 1, 6, 7), (b"b", 10, 19, 22)], 22, 23))

    def test_onlyStringsDecode(self) -> None:
        self.assertEqual(decode_string(b'"\\u00e9"', 0, 8), "é")
        self.assertIsNone(decode_string(b"1", 0, 1))
        self.assertIsNone(decode_string(b'"\xff"', 0, 3))

    def test_nothingOfTheInputStaysLocked(self) -> None:
        data = bytearray(b'{"a":[1,2],"model":"x"}')
        find_spans(data, (b"model",))
        elements(data, 5, 10)
        self.assertRaises(InvalidJSON, end_of_value, data, 1 + len(data) - 2)
        data += b" "

    def test_msgspecRefusesLoneSurrogatesWhichIsWhyTheyAreHidden(self) -> None:
        decode: Any = msgspec.json.Decoder(msgspec.Raw).decode
        self.assertRaises(msgspec.DecodeError, decode, b'"\\ud83d"')
        self.assertIsNone(hide_surrogates(b'"\\u003c"'))
