"""The algebra of events: what every encoder writes, its own decoder reads back; and no input breaks it."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.answer import fold, translate_response
from llmux.formats.client import ClientCtx
from llmux.formats.codecs import ANSWERS
from llmux.formats.events import (
    Args,
    Delta,
    End,
    Event,
    Fail,
    Finish,
    PartKind,
    PartStart,
    PartStop,
    Sign,
    Start,
    Stop,
    StopKind,
    Usage,
    Use,
)
from llmux.formats.lenient import BracketCount, arguments
from llmux.formats.neutral import Format, Opaque, Request
from llmux.formats.stream import StreamTranslator
from tests.grammar import EventGrammar
from tests.translation_adapter import CREATED, FRESH_ID, client_ctx, run_response, run_stream
from tests.vectors import translation

STREAMS = translation("stream")
RESPONSES = translation("response")
FORMATS = tuple(ANSWERS)
SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])

Json = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
Texts = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=3)


@dataclass(frozen=True)
class Written:
    """One part as it is generated: its pieces, and for calls its name and id."""

    kind: PartKind
    pieces: tuple[str, ...]
    name: str = ""
    signed: bool = False


@st.composite
def parts(draw: st.DrawFn) -> Written:
    """A text, a thought or a call whose arguments come in any pieces."""
    kind: PartKind = draw(st.sampled_from(("text", "thinking", "call")))
    if kind != "call":
        return Written(kind, tuple(draw(Texts)), signed=kind == "thinking" and draw(st.booleans()))
    text = json.dumps(draw(st.dictionaries(st.text(max_size=4), Json, max_size=3)), ensure_ascii=False)
    cut = draw(st.integers(0, len(text)))
    return Written("call", tuple(piece for piece in (text[:cut], text[cut:]) if piece), draw(st.sampled_from("fgh")))


def events_of(written: list[Written], kind: StopKind, overlapping: bool) -> list[Event]:
    """A well-formed answer; neighbouring calls overlap when `overlapping`."""
    out: list[Event] = [Start("msg_1", "m", 5)]
    open_calls: list[int] = []
    for i, part in enumerate(written):
        if part.kind != "call" or not overlapping:
            out += [PartStop(call) for call in open_calls]
            open_calls.clear()
        call_id = f"call_{i}" if part.kind == "call" else None
        out.append(PartStart(i, part.kind, call_id, part.name or None))
        for piece in part.pieces:
            out.append(Args(i, piece) if part.kind == "call" else Delta(i, piece))
        if part.signed:
            out.append(Sign(i, Opaque("anthropic", "think", "c2ln")))
        if part.kind == "call":
            open_calls.append(i)
        else:
            out.append(PartStop(i))
    out += [PartStop(call) for call in open_calls]
    return [*out, Finish(0, Stop(kind)), Use(Usage(input=30, cache_read=10, output=8, reasoning=3)), End()]


def meaning(events: list[Event]) -> dict[str, Any]:
    """What every format carries: texts, thoughts, calls, the class of the stop, the sums of tokens."""
    kinds: dict[int, PartStart] = {}
    texts: dict[str, str] = {"text": "", "thinking": ""}
    calls: dict[int, str] = {}
    out: dict[str, Any] = {}
    for event in events:
        if isinstance(event, PartStart):
            kinds[event.i] = event
            if event.kind == "call":
                calls[event.i] = ""
        elif isinstance(event, Delta):
            texts[kinds[event.i].kind] += event.text
        elif isinstance(event, Args):
            calls[event.i] += event.json_text
        elif isinstance(event, Finish):
            out["stop"] = event.stop.kind
        elif isinstance(event, Use):
            out["usage"] = (event.usage.input, event.usage.cache_read, event.usage.output, event.usage.reasoning)
    out["calls"] = sorted((kinds[i].call_id, kinds[i].name, arguments(text)[0]) for i, text in calls.items())
    return {**out, **texts}


def ctx(client: Format) -> ClientCtx:
    """A client that wants everything."""
    return ClientCtx(client, "my-alias", Request(client, want_usage=True), None, CREATED, FRESH_ID)


def through(events: list[Event], client: Format) -> list[Event]:
    """The events that a format's own decoder reads in what its encoder wrote."""
    encoder = ANSWERS[client].encoder(ctx(client))
    decoder = ANSWERS[client].decoder()
    grammar = EventGrammar()
    out: list[Event] = []
    for event in events:
        for name, data in encoder.feed(event):
            read = decoder.feed(name, data)
            grammar.feed(read)
            out += read
    read = decoder.close()
    grammar.feed(read)
    grammar.close()
    return out + read


class RoundTrips(SynchronousTestCase):
    """Encode and decode in one format."""

    @SETTINGS
    @given(st.lists(parts(), max_size=5), st.sampled_from(("end", "max", "filter")), st.booleans())
    def test_everyFormatReadsBackWhatItWrote(self, written: list[Written], kind: StopKind, overlapping: bool) -> None:
        events = events_of(written, kind, overlapping)
        grammar = EventGrammar()
        grammar.feed(events)
        grammar.close()
        wanted = meaning(events)
        if wanted["calls"] and kind == "end":
            wanted["stop"] = "tool"
        for client in FORMATS:
            got = meaning(through(events, client))
            if client == "anthropic" and kind == "filter":
                got["stop"] = "filter"  # one word for both
            self.assertEqual(got, wanted, client)

    @SETTINGS
    @given(st.lists(parts(), max_size=5), st.booleans())
    def test_aWholeAnswerSaysWhatTheStreamSays(self, written: list[Written], overlapping: bool) -> None:
        events = events_of(written, "end", overlapping)
        wanted = meaning(events)
        wanted["stop"] = "tool" if wanted["calls"] else "end"
        for client in FORMATS:
            answer = fold(events, [], "chat", client, ctx(client))
            self.assertEqual(answer.status, 200)
            read, _ = ANSWERS[client].decode_response(json.loads(answer.body))
            grammar = EventGrammar()
            grammar.feed(read)
            grammar.close()
            self.assertEqual(meaning(read), wanted, client)

    def test_aSignatureComesBackInItsOwnFormat(self) -> None:
        events = events_of([Written("thinking", ("Hm",), signed=True), Written("text", ("x",))], "end", False)
        signs = [event for event in through(events, "anthropic") if isinstance(event, Sign)]
        self.assertEqual(signs, [Sign(0, Opaque("anthropic", "think", "c2ln"))])

    def test_anErrorComesBackInEveryFormat(self) -> None:
        for client in FORMATS:
            translator = StreamTranslator("anthropic", client, ctx(client))
            translator.feed(b'data: {"type":"message_start","message":{"id":"msg_1"}}\n\n')
            out = translator.feed(b'data: {"type":"error","error":{"type":"rate_limit_error","message":"slow"}}\n\n')
            again = StreamTranslator(client, "anthropic", ctx("anthropic"))
            again.feed(out)
            assert again.error is not None
            self.assertEqual((again.error.kind, again.error.message), ("rate", "slow"), client)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values in a JSON value."""
    found = [path]
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in inner:
        found += places(entry, (*path, key))
    return found


def planted(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy of the value with another one at the path."""
    if not path:
        return new
    out = copy.deepcopy(value)
    place = out
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return out


class Mutations(SynchronousTestCase):
    """Inputs of vectors with random values in random places never raise, and the grammar holds."""

    @SETTINGS
    @given(st.data())
    def test_aMutatedStreamIsTranslatedToAnEndOrAnError(self, data: st.DataObject) -> None:
        vector = data.draw(st.sampled_from(STREAMS))
        client = data.draw(st.sampled_from(FORMATS))
        messages = vector["input"]
        for _ in range(data.draw(st.integers(1, 3))):
            path = data.draw(st.sampled_from([path for path in places(messages) if len(path) > 1]))
            if path[1] == "data":
                try:
                    messages = planted(messages, path, data.draw(Json))
                except (KeyError, TypeError, IndexError):  # an earlier one took the place away
                    continue
        run_stream({**vector, "to": client, "input": messages, "context": {}})

    @SETTINGS
    @given(st.data())
    def test_aMutatedAnswerIsTranslatedToAnAnswerOrAnError(self, data: st.DataObject) -> None:
        vector = data.draw(st.sampled_from(RESPONSES))
        client = data.draw(st.sampled_from(FORMATS))
        path = data.draw(st.sampled_from(places(vector["input"])))
        result = run_response(
            {**vector, "to": client, "input": planted(vector["input"], path, data.draw(Json)), "context": {}}
        )
        self.assertIsInstance(result["body"], dict)

    @SETTINGS
    @given(st.data())
    def test_messagesInAnyOrderKeepTheGrammar(self, data: st.DataObject) -> None:
        vector = data.draw(st.sampled_from(STREAMS))
        client = data.draw(st.sampled_from(FORMATS))
        chosen = data.draw(st.lists(st.sampled_from(vector["input"]), max_size=20))
        run_stream({**vector, "to": client, "input": chosen, "context": {}})

    @SETTINGS
    @given(st.binary(max_size=60), st.sampled_from(FORMATS), st.sampled_from(FORMATS))
    def test_bytesNeverRaise(self, rubbish: bytes, upstream: Format, client: Format) -> None:
        for source in ("sse", "array", "json"):
            translator = StreamTranslator(upstream, client, ctx(client), source=source)
            translator.feed(b"data: " + rubbish)
            translator.feed(rubbish)
            translator.close()
        translate_response(200, [], rubbish, upstream, client, ctx(client))

    def test_deepNestingIsAnErrorAndNoException(self) -> None:
        vector = next(vector for vector in STREAMS if (vector["from"], vector["to"]) == ("chat", "anthropic"))
        for depth in range(100, 1100, 25):
            deep = "[" * depth + "]" * depth
            body = (
                '{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":%s}}]}}]}'
            )
            for text in (deep, json.dumps(deep)):
                for client in FORMATS:
                    translator = StreamTranslator("chat", client, ctx(client))
                    translator.feed(b"data: " + (body % text).encode() + b"\n\ndata: [DONE]\n\n")
                    self.assertTrue(translator.ended or translator.failed or translator.close(), client)
        self.assertIsNotNone(client_ctx(vector))

    def test_halvesOfACharacterPass(self) -> None:
        translator = StreamTranslator("chat", "anthropic", ctx("anthropic"))
        out = translator.feed(b'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n')
        self.assertIn(b'"text":"\\ud83d"', out)


class Brackets(SynchronousTestCase):
    """How the decoder of Chat knows that arguments are whole."""

    @SETTINGS
    @given(st.dictionaries(st.text(max_size=6), Json, max_size=3), st.lists(st.integers(0, 60), max_size=5))
    def test_anObjectIsCompleteAtItsLastByteInAnyCut(self, value: dict[str, Any], cuts: list[int]) -> None:
        text = json.dumps(value, ensure_ascii=False)
        counter = BracketCount()
        edges = sorted({0, len(text) - 1, *(cut for cut in cuts if cut < len(text))})
        for start, end in itertools.pairwise(edges):
            counter.feed(text[start:end])
            self.assertFalse(counter.complete, text)
        counter.feed(text[-1])
        self.assertTrue(counter.complete, text)

    def test_failAfterEverythingIsWellFormed(self) -> None:
        decoder = ANSWERS["gemini"].decoder()
        grammar = EventGrammar()
        grammar.feed(decoder.feed(None, b'{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}'))
        last = decoder.close()
        grammar.feed(last)
        self.assertIsInstance(last[-1], Fail)
