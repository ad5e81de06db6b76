"""Targets of the rewriting: event streams in any cut, spans and splices of JSON, and the model that a body names."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable
from typing import Any

from llmux.headers import RawHeaders
from llmux.rewrite.amp_shape import ShapeFixes, ToolNames
from llmux.rewrite.answer import AnswerEditor
from llmux.rewrite.cleaning import clean
from llmux.rewrite.gunzip import BadGzip, TooLarge
from llmux.rewrite.model import ModelRewriter
from llmux.rewrite.response import response_transform
from llmux.rewrite.spans import InvalidJSON, members, root
from llmux.rewrite.sse import EventReader, StreamEditor
from llmux.rewrite.thinking import Thinking, apply_thinking
from llmux.routing.extractor import ModelExtractor
from tests import vectors
from tests.fuzz.target import Target, cut, dice, single

_NAME = "ask/é"
_LIMITS = (7, 30, 1000)
_SETTINGS = (
    Thinking("off"),
    Thinking("auto"),
    Thinking("level", level="high"),
    Thinking("budget", budget=5000),
)
_WORDS = (
    b'"model":',
    b'"mod\\u0065l":"x"',
    b'"model":null',
    b'"model":"\\ud800"',
    b'"message":{"model":"m"}',
    b'"response":{"modelVersion":"m"}',
    b'"signature":',
    b'"type":"thinking"',
    b'"type":"tool_use"',
    b'"content":[',
    b'"messages":[',
    b'"role":"assistant"',
    b'"stream":true',
    b"\xef\xbb\xbf",
    b"\\u0000",
    b"\\ud83d\\ude00",
    b"1e999",
    b"NaN",
    b"-0",
    b"[[[[[[[[",
    b'{"a":' * 40,
)
_STREAM_WORDS = (
    *_WORDS,
    b"data: ",
    b"data:",
    b"\ndata",
    b"event: x\n",
    b": c\n",
    b"\n\n",
    b"\r\r",
    b"\r\n\r\n",
    b"[DONE]",
)


def events(data: bytes) -> None:
    """Whatever the cut, the reader sees the same events and the editor's bytes are the same; unread bytes stay."""
    random = dice(data)
    limit = random.choice(_LIMITS)
    cuts = ([data], cut(data, random), single(data))
    editor = AnswerEditor(ModelRewriter(_NAME), ShapeFixes(ToolNames(), False))
    edited, read = set(), []
    for pieces in cuts:
        stream = StreamEditor(editor.event, editor.needles, limit)
        edited.add(b"".join([*map(stream.feed, pieces), stream.close()]))
        same = StreamEditor(lambda document: (), (), limit)
        assert b"".join([*map(same.feed, pieces), same.close()]) == data
        reader = EventReader(limit)
        found = [event for piece in pieces for event in reader.feed(piece)] + reader.close()
        assert b"".join(event.raw for event in found) == data
        read.append([(event.name, event.data) for event in found if event.data is not None])
    assert len(edited) == 1, "the edited stream depends on the cut"
    assert read[0] == read[1] == read[2], "the events depend on the cut"


_HEADERS: tuple[RawHeaders, ...] = (
    [(b"Content-Type", b"application/json")],
    [(b"Content-Type", b"text/event-stream")],
    [(b"Content-Type", b"text/plain")],
    [],
    [(b"Content-Type", b"application/json"), (b"Content-Encoding", b"gzip")],
    [(b"Content-Type", b"text/event-stream"), (b"Content-Encoding", b"gzip")],
)


def answer(data: bytes) -> None:
    """An answer's transform raises nothing but what it announces, for any body under any label."""
    random = dice(data)
    headers = random.choice(_HEADERS)
    packed = len(headers) == 2 and random.random() < 0.7
    body = zlib.compress(data, wbits=31) if packed else data
    outcomes = set()
    for pieces in ([body], cut(body, random), single(body)):
        _, transform = response_transform(
            200, b"POST", [*headers], rewrite_model=_NAME, shape_fixes=True, provider_is_anthropic=False, limit=5000
        )
        assert transform is not None
        try:
            out = b"".join([*map(transform.feed, pieces), transform.close()])
        except (BadGzip, TooLarge):
            return
        assert transform.settled
        outcomes.add(out)
        length = dict(transform.headers).get(b"Content-Length")
        assert length is None or int(length) == len(out)
    # A document above the limit passes as it is, and its limit is met at another byte when it comes in other pieces.
    assert len(outcomes) == 1 or len(body) > 5000 or len(data) > 5000, "the answer depends on the cut"


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _value(data: bytes) -> Any:
    """The value of a JSON text as the standard library reads it; ValueError when it is none."""
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("too deep") from None


def _whole(edit: Callable[[bytes], Any], data: bytes) -> tuple[Any, Any] | None:
    """The values before and after an edit when the text is JSON; text that is none must come back as it was."""
    out = bytes(edit(data))
    try:
        before = _value(data)
    except ValueError:
        return None
    return before, _value(out)


def document(data: bytes) -> None:
    """Edits of a JSON text change what they name and nothing else; anything else is let alone."""
    bodies: Iterable[Callable[[bytes], Any]] = (
        clean,
        AnswerEditor(ModelRewriter(_NAME), ShapeFixes(ToolNames(data), False)).body,
        *(
            lambda body, wire=wire, setting=setting: apply_thinking(body, wire, setting)
            for wire in ("anthropic", "chat", "responses", "gemini")
            for setting in _SETTINGS
        ),
    )
    for edit in bodies:
        _whole(edit, data)
    both = _whole(ModelRewriter(_NAME).request, data)
    if both is not None:
        before, after = both
        named = isinstance(before, dict) and "model" in before
        assert after == ({**before, "model": _NAME} if named else before)
    both = _whole(ModelRewriter(_NAME).response, data)
    if both is not None:
        before, after = both
        assert _without_models(after) == _without_models(before)
    _spans(data)


def _without_models(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, inner in value.items():
        if key in ("model", "modelVersion") and isinstance(inner, str):
            continue
        if key in ("message", "response") and isinstance(inner, dict):
            inner = {name: each for name, each in inner.items() if name not in ("model", "modelVersion")}
        kept[key] = inner
    return kept


def _spans(data: bytes) -> None:
    """The members found are those of the standard library's reading, spans included."""
    try:
        found = members(data, root(data))
    except InvalidJSON:
        return
    try:
        value = _value(data)
    except ValueError:
        return
    if isinstance(value, dict):
        assert {member.key.decode("utf-8", "surrogatepass") for member in found.members} == set(value)
        for key, inner in value.items():
            member = found.last_of(key.encode("utf-8", "surrogatepass"))
            assert member is not None and _value(data[member.start : member.end]) == inner


_EXTRACTOR = ModelExtractor(100_000)


def extractor(data: bytes) -> None:
    """The model is what the standard library finds under the last `model`; nothing is ever raised."""
    text = data.decode("latin-1")
    for params in (None, {"action": text[:300]}, {"path": text[:300]}):
        for gemini in (False, True):
            _EXTRACTOR.peek(data, "gzip" if len(data) % 3 == 0 else None, params, gemini)
    found = _EXTRACTOR.peek(data)
    packed = _EXTRACTOR.peek(zlib.compress(data, wbits=31), "gzip")
    assert len(data) > 100_000 or packed == found
    try:
        value = _value(data)
    except ValueError:
        return
    if b"\\ud" in data.lower():
        return  # halves of surrogate pairs are replaced, which the standard library does not do
    expected = value.get("model") if isinstance(value, dict) else None
    expected = expected.strip() or None if isinstance(expected, str) else None
    assert found.model == expected, (found.model, expected)


def _bodies() -> list[bytes]:
    """The requests and answers of the translation vectors."""
    inputs = [vector["input"] for kind in ("request", "response") for vector in vectors.translation(kind)]
    return [json.dumps(value).encode() for value in inputs if not isinstance(value, str)]


TARGETS = (
    Target("events", events, _STREAM_WORDS),
    Target("answer", answer, _STREAM_WORDS),
    Target("document", document, _WORDS, json=True, seeds=_bodies),
    Target("extractor", extractor, _WORDS, json=True),
)
