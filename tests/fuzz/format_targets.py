"""Targets of the formats: whatever a client or a provider says, it gives that format's own answer or error."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any, get_args

from llmux.errors import to_json
from llmux.formats.answer import StreamFolder, error_answer, translate_response
from llmux.formats.capabilities import default_capabilities
from llmux.formats.client import ClientCtx
from llmux.formats.codecs import ANSWERS
from llmux.formats.count import decode_count, decode_count_request, encode_count_request, estimate
from llmux.formats.framing import EventStreamReader, TooLong
from llmux.formats.lenient import parse
from llmux.formats.losses import RequestRefused
from llmux.formats.neutral import Format, Request
from llmux.formats.requests import REQUESTS
from llmux.formats.stream import Sink, Source, StreamTranslator
from llmux.formats.target import Target as Upstream
from tests import vectors
from tests.fuzz.target import Target, cut, dice
from tests.grammar import EventGrammar

FORMATS: tuple[Format, ...] = get_args(Format)
_MODELS = {"chat": "gpt-5.4", "responses": "o4-mini", "anthropic": "claude-opus-4-7", "gemini": "gemini-3-flash"}
_FRESH = "f" * 24
_WORDS = (
    b'"type":"tool_use"',
    b'"type":"tool_result"',
    b'"type":"function_call"',
    b'"type":"thinking"',
    b'"type":"reasoning"',
    b'"functionCall":{',
    b'"functionResponse":{',
    b'"tool_calls":[',
    b'"role":"tool"',
    b'"content":null',
    b'"index":-1',
    b'"index":1e9',
    b'"id":""',
    b"\\ud800",
    b"[[[[[[[[",
)
_STREAM_WORDS = (
    *_WORDS,
    b"data: [DONE]\n\n",
    b"event: error\ndata: {}\n\n",
    b'data: {"type":"message_stop"}\n\n',
    b'data: {"error":{"message":"x"}}\n\n',
    b"\n\n",
    b"data: ",
)


def request(data: bytes) -> None:
    """A body is refused in its own format's shape, or encoded for every provider as JSON."""
    try:
        body = parse(data)
    except ValueError:
        return
    random = dice(data)
    for client in FORMATS:
        try:
            decoded = REQUESTS[client].decode(body, "m" if client == "gemini" else None, client == "gemini" or None)
        except RequestRefused as refusal:
            answer = error_answer(refusal.error, client)
            assert 400 <= answer.status < 500 and json.loads(answer.body)
            continue
        assert estimate(decoded) >= 0
        for upstream in FORMATS:
            model = _MODELS[upstream]
            target = Upstream(model, default_capabilities(upstream, model), random.random() < 0.2)
            try:
                encoded = REQUESTS[upstream].encode(decoded, target)
                encode_count_request(decoded, upstream, target)
            except RequestRefused:
                continue
            assert json.loads(to_json(encoded.body)) is not None
            assert "\n" not in encoded.path and " " not in encoded.path, encoded.path
            assert not any(b"\n" in value or b"\r" in value for _, value in encoded.headers)
            assert all(code.isascii() and code.isprintable() and len(code) <= 80 for code in encoded.warnings)
            ClientCtx.of(decoded, "alias", upstream, model, 0, _FRESH)
        with suppress(RequestRefused):
            decode_count_request(client, body if isinstance(body, dict) else {}, "m")


def _ctx(client: Format, upstream: Format) -> ClientCtx:
    return ClientCtx.of(Request(client), "alias", upstream, "m", 1_760_000_000, _FRESH)


def response(data: bytes) -> None:
    """A provider's body becomes an answer or an error of each client, for a good status and for a bad one."""
    status = dice(data).choice((200, 200, 400, 401, 429, 500, 529))
    headers = [(b"Retry-After", data[:12].replace(b"\r", b"").replace(b"\n", b""))]
    for upstream in FORMATS:
        decode_count(upstream, _parsed(data))
        for client in FORMATS:
            if client == upstream:
                continue
            answer = translate_response(status, headers, data, upstream, client, _ctx(client, upstream))
            assert (answer.error is None) == (answer.status == 200)
            assert status == 200 or answer.error is not None
            assert isinstance(json.loads(answer.body), dict)
            assert not any(b"\n" in value or b"\r" in value for _, value in answer.headers)


def _parsed(data: bytes) -> Any:
    try:
        return parse(data)
    except ValueError:
        return None


def stream(data: bytes) -> None:
    """A provider's stream becomes a client's stream that ends once, well or in an error, and reads by the grammar."""
    random = dice(data)
    pieces = cut(data, random)
    broken = random.random() < 0.2
    for upstream in FORMATS:
        _decoded(upstream, pieces)
        for client in FORMATS:
            if client == upstream:
                continue
            source: Source = random.choice(("sse", "sse", "sse", "json", "array" if upstream == "gemini" else "sse"))
            sink: Sink = random.choice(("array", "sse")) if client == "gemini" else "sse"
            whole = _translated(upstream, client, source, sink, [data], broken)
            assert _translated(upstream, client, source, sink, pieces, broken) == whole, "the stream depends on the cut"
            folder = StreamFolder(upstream, client, _ctx(client, upstream))
            for piece in pieces:
                folder.feed(piece)
            assert isinstance(json.loads(folder.close().body), dict)


def _translated(
    upstream: Format, client: Format, source: Source, sink: Sink, pieces: list[bytes], broken: bool
) -> bytes:
    translator = StreamTranslator(upstream, client, _ctx(client, upstream), source, sink)
    out = b"".join(map(translator.feed, pieces))
    out += translator.abort(ANSWERS[upstream].decode_error(500, [], b"")) if broken else translator.close()
    assert translator.ended != (translator.error is not None), "a stream that has not ended, or twice"
    assert translator.feed(b"data: {}\n\n") == translator.close() == translator.ping() == b""
    if sink == "array":
        assert isinstance(json.loads(out), list)
    else:
        for _, message in EventStreamReader().feed(out):
            assert message == b"[DONE]" or isinstance(json.loads(message), dict)
    return out


def _decoded(upstream: Format, pieces: list[bytes]) -> None:
    decoder = ANSWERS[upstream].decoder()
    grammar = EventGrammar()
    reader = EventStreamReader()
    try:
        for piece in pieces:
            for name, message in reader.feed(piece):
                grammar.feed(decoder.feed(name, message))
        for name, message in reader.close():
            grammar.feed(decoder.feed(name, message))
    except TooLong:
        return
    grammar.feed(decoder.close())
    grammar.close()


def _inputs(kind: str) -> list[bytes]:
    inputs = [vector["input"] for vector in vectors.translation(kind)]
    return [value.encode() if isinstance(value, str) else json.dumps(value).encode() for value in inputs]


def _streams() -> list[bytes]:
    streams = []
    for vector in vectors.translation("stream"):
        text = ""
        for message in vector["input"]:
            data = message["data"] if isinstance(message["data"], str) else json.dumps(message["data"])
            text += (f"event: {message['event']}\n" if message.get("event") else "") + f"data: {data}\n\n"
        streams.append(text.encode())
    return streams


TARGETS = (
    Target("request", request, _WORDS, json=True, seeds=lambda: _inputs("request")),
    Target("translated_response", response, _WORDS, json=True, seeds=lambda: _inputs("response") + _inputs("error")),
    Target("translated_stream", stream, _STREAM_WORDS, seeds=_streams),
)
