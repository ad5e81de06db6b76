"""`llmux.rewrite.sse`: framing that no cut can disturb."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial import unittest

from llmux.rewrite.model import ModelRewriter
from llmux.rewrite.splice import Edit
from llmux.rewrite.sse import Event, EventFramer, EventReader, StreamEditor, parse_event

PIECES = st.sampled_from(
    [
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"\r\n\r\n",
        b"data: ",
        b"data:",
        b"data",
        b" data: ",
        b"database: ",
        b'{"model":"real"}',
        b'{"model":',
        b'"real"}',
        b'data: {"model":"real"}\n\n',
        b'data: {"model":"real"}\r\n\r\n',
        b'event: e\ndata: {"model":"r\\u00e9"}\n\n',
        b'data: {"mod\\u0065l":"real"}\n\n',
        b'data: {\ndata: "model":\ndata: "real"}\n\n',
        b": comment",
        b"id: 3",
        b"\xef\xbb\xbf",
        b"x",
        b"[DONE]",
        "é".encode(),
    ]
)
STREAMS = st.lists(PIECES, max_size=25).map(b"".join)


def editor(limit: int = 1000) -> StreamEditor:
    return StreamEditor(ModelRewriter("ask").edits, (b'"model', b"\\u00"), limit)


def run(chunks: Sequence[bytes], limit: int = 1000) -> bytes:
    stream = editor(limit)
    return b"".join([*(stream.feed(chunk) for chunk in chunks), stream.close()])


def cuts(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def slow_lines(data: bytes) -> list[tuple[bytes, bytes]]:
    """Lines and their ends, byte by byte, as the grammar says."""
    lines: list[tuple[bytes, bytes]] = []
    line = b""
    pos = 0
    while pos < len(data):
        end = data[pos : pos + 2] if data[pos : pos + 2] == b"\r\n" else data[pos : pos + 1]
        if end[:1] in b"\r\n":
            lines.append((line, end))
            line = b""
        else:
            line += end
        pos += len(end)
    if line:
        lines.append((line, b""))
    return lines


def slow_events(data: bytes) -> list[tuple[bytes, bytes]]:
    """Name and data of every event that has data; the last may lack its blank line."""
    events: list[tuple[bytes, bytes]] = []
    name, payload = b"", None
    for line, end in [*slow_lines(data.removeprefix(b"\xef\xbb\xbf")), (b"", b"\n")]:
        if not line and end:
            if payload is not None:
                events.append((name, b"\n".join(payload)))
            name, payload = b"", None
            continue
        field, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if field == b"data":
            payload = [*(payload or []), value]
        elif field == b"event":
            name = value
    return events


class FramingTests(unittest.SynchronousTestCase):
    """What leaves when, and that cuts do not matter."""

    @settings(max_examples=200, deadline=None)
    @given(STREAMS, st.lists(st.integers(0, 10_000), max_size=8), st.sampled_from([7, 30, 1000]))
    def test_anyCutGivesTheOutputOfTheWhole(self, data: bytes, places: list[int], limit: int) -> None:
        whole = run([data], limit)
        self.assertEqual(run(cuts(data, places), limit), whole)
        self.assertEqual(run([data[i : i + 1] for i in range(len(data))], limit), whole)

    @settings(max_examples=200, deadline=None)
    @given(STREAMS, st.lists(st.integers(0, 10_000), max_size=8))
    def test_theReaderSeesWhatTheGrammarSays(self, data: bytes, places: list[int]) -> None:
        reader = EventReader()
        events: list[Event] = []
        for chunk in cuts(data, places):
            events += reader.feed(chunk)
        events += reader.close()
        self.assertEqual(b"".join(event.raw for event in events), data)
        seen = [(event.name, event.data) for event in events if event.data is not None]
        self.assertEqual(seen, slow_events(data))

    def test_whatCannotBeDataLeavesAtOnce(self) -> None:
        stream = editor()
        pieces = [b"event: e\nda", b"tabase\n: com", b"ment", b"\ndat", b'a: {"model":', b'"real"}\n\nx']
        sent = [b"event: e\n", b"database\n: com", b"ment", b"\n", b"", b'data: {"model":"ask"}\n\nx']
        self.assertEqual([stream.feed(piece) for piece in pieces], sent)

    def test_anEndlessLineWithoutDataIsNotHeld(self) -> None:
        stream = editor(limit=10)
        self.assertEqual([stream.feed(b"z" * 50) for _ in range(3)], [b"z" * 50] * 3)
        self.assertEqual(stream.feed(b'\ndata: {"model":"real"}\n\n'), b'\ndata: {"model":"real"}\n\n')
        whole = editor(30).feed(b"z" * 50 + b'\ndata: {"model":"real"}\n\n')
        self.assertEqual(whole, b"z" * 50 + b'\ndata: {"model":"ask"}\n\n')

    @settings(max_examples=150, deadline=None)
    @given(STREAMS, st.lists(st.integers(0, 10_000), max_size=8))
    def test_editedStreamsSayTheSameButForTheModel(self, data: bytes, places: list[int]) -> None:
        rewriter = ModelRewriter("ask")
        expected = []
        for name, payload in slow_events(data):
            changed = bytes(rewriter.response(payload)) if payload.lstrip(b" \t\n")[:1] == b"{" else payload
            expected.append((name, changed))
        self.assertEqual(slow_events(run(cuts(data, places))), expected)

    @settings(max_examples=150, deadline=None)
    @given(STREAMS, st.lists(st.integers(0, 10_000), max_size=8))
    def test_nothingIsHeldBeyondABlankLine(self, data: bytes, places: list[int]) -> None:
        stream = StreamEditor(lambda document: (), ())
        sent = b""
        fed = b""
        for chunk in cuts(data, places):
            fed += chunk
            sent += stream.feed(chunk)
            self.assertTrue(fed.startswith(sent))
            held = fed[len(sent) :]
            self.assertNotIn(held[:1], (b"\n", b"\r"))
            for blank in (b"\n\n", b"\n\r", b"\r\r"):
                self.assertNotIn(blank, held)

    def test_anEventLeavesAtTheFirstByteOfItsBlankLine(self) -> None:
        stream = editor()
        self.assertEqual(stream.feed(b'data: {"model":"real"}\r\n'), b"")
        self.assertEqual(stream.feed(b"\r"), b'data: {"model":"ask"}\r\n\r')
        self.assertEqual(stream.feed(b"\n"), b"\n")

    def test_anUnconcernedChunkIsTheSameObject(self) -> None:
        chunk = b'data: {"delta":"x"}\n\n'
        stream = editor()
        stream.feed(b": hi\n\n")
        self.assertIs(stream.feed(chunk), chunk)
        self.assertFalse(stream.changed)

    def test_theByteOrderMarkIsKeptAndTheFirstEventEdited(self) -> None:
        data = b'\xef\xbb\xbfdata: {"model":"real"}\n\n'
        self.assertEqual(run([data[:1], data[1:2], data[2:]]), b'\xef\xbb\xbfdata: {"model":"ask"}\n\n')

    def test_aStreamThatIsHalfAByteOrderMarkComesOut(self) -> None:
        self.assertEqual(run([b"\xef", b"\xbb"]), b"\xef\xbb")

    def test_aSecondByteOrderMarkMakesAnotherField(self) -> None:
        data = b'data: 1\n\n\xef\xbb\xbfdata: {"model":"real"}\n\n'
        self.assertEqual(run([data]), data)

    def test_aDocumentOverSeveralLinesIsEditedInItsLine(self) -> None:
        data = b'data: {"a":1,\r\ndata:"model":\rid: 3\ndata:  "real"\ndata\ndata: }\n\n'
        self.assertEqual(run([data]), data.replace(b"real", b"ask"))

    def test_onlyTheConcernedEventsOfAChunkChange(self) -> None:
        data = b'data: {"a":1}\n\ndata: {"model":"r"}\n\n: x\n\ndata: {"model":"s"}\n\ndata: [DONE]\n\n'
        expected = data.replace(b'"r"', b'"ask"').replace(b'"s"', b'"ask"')
        self.assertEqual(run([data]), expected)

    def test_aLineThatOnlyLooksLikeDataIsNotData(self) -> None:
        data = b'x: "model\n data: {"model":"r"}\ndatabase: {"model":"r"}\n\n'
        self.assertEqual(run([data]), data)

    def test_anEventAboveTheLimitPassesUnreadAndTheNextIsEdited(self) -> None:
        long = b'data: {"model":"real","x":"' + b"x" * 100 + b'"}\r\n\r\n'
        data = long + b'data: {"model":"real"}\n\n'
        for limit in (40, 100):
            self.assertEqual(run([data], limit), long + b'data: {"model":"ask"}\n\n')

    def test_theLimitItselfIsStillHandled(self) -> None:
        for end, uncounted in ((b"\n\n", 0), (b"\r\n\r\n", 1), (b"\r\r\n", 1), (b"\n\r", 0)):
            data = b'\n\r\ndata: {"model":"real"}' + end
            limit = len(data) - 3 - uncounted
            for chunks in ([data], [data[i : i + 1] for i in range(len(data))]):
                self.assertEqual(run(chunks, limit), data.replace(b"real", b"ask"))
                self.assertEqual(run(chunks, limit - 1), data)

    def test_anEventOfEightMebibytesIsEdited(self) -> None:
        filler = b"A" * 65536
        stream = StreamEditor(ModelRewriter("ask").edits, (b'"model',))
        out = [stream.feed(b'data: {"model":"real","b64":"')]
        out += [stream.feed(filler) for _ in range(128)]
        out.append(stream.feed(b'"}\r\n\r\n'))
        self.assertEqual(b"".join(out), b'data: {"model":"ask","b64":"' + filler * 128 + b'"}\r\n\r\n')

    def test_severalEditsInOneEventAreAllMade(self) -> None:
        def both(document: bytes) -> list[Edit]:
            return [(1, 1, b'"new":1,'), (len(document) - 1, len(document), b"]")]

        stream = StreamEditor(both, (b"{",))
        self.assertEqual(stream.feed(b'data: {"a":2}\n\n'), b'data: {"new":1,"a":2]\n\n')
        self.assertTrue(stream.changed)

    def test_theFramerAloneGivesWholeEvents(self) -> None:
        framer = EventFramer()
        self.assertEqual(framer.take(b"data: 1\n\ndata: 2"), (b"", b"data: 1\n\n"))
        self.assertEqual(framer.take(b"\n\n"), (b"", b"data: 2\n\n"))
        self.assertEqual(framer.rest(), (b"", b""))

    def test_parsingOneEventKeepsTheLastNameAndJoinsTheData(self) -> None:
        raw = b"event: a\nevent:b\ndata: 1\ndata:\ndata\nretry: 3\n\n"
        self.assertEqual(parse_event(raw), Event(b"b", b"1\n\n", raw))
        self.assertEqual(parse_event(b": c\n\n"), Event(b"", None, b": c\n\n"))
        simple = b"event: ping\ndata: {}\n\n"
        self.assertEqual(parse_event(simple), Event(b"ping", b"{}", simple))
