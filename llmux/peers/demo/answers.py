"""The demo's answer to any model request: pure, and the same each time (DESIGN 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmux.errors import problem, to_json
from llmux.headers import RawHeaders
from llmux.peers.demo import anthropic, chat, gemini, responses
from llmux.peers.demo.script import Malformed, Reply, reply

GENERATE, COUNT = "generate", "count"
GEMINI_GENERATE, GEMINI_STREAM, GEMINI_COUNT = "generateContent", "streamGenerateContent", "countTokens"
_JSON: RawHeaders = [(b"Content-Type", b"application/json")]
_EVENTS: RawHeaders = [(b"Content-Type", b"text/event-stream; charset=utf-8"), (b"Cache-Control", b"no-cache")]
_READERS = {
    "anthropic": (anthropic.read, anthropic.count),
    "chat": (chat.read, chat.count),
    "completions": (chat.read_prompt, chat.count_prompt),
    "responses": (responses.read, responses.count),
    "gemini": (gemini.read, gemini.count),
}


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """Status, headers without framing, and the body in the pieces in which it is sent; more than one is a stream."""

    status: int
    headers: RawHeaders
    chunks: list[bytes]


def answer(
    protocol: str, verb: str, model: str, body: dict[str, Any], *, sse: bool = True, created: int = 0
) -> DemoAnswer:
    """Answer a request in one of the formats `anthropic`, `chat`, `completions`, `responses` and `gemini`.

    `verb` is `generate` or `count`; for Gemini the method of the path. `model` is repeated in the answer. `sse` False
    streams Gemini's JSON array. `created` is the time that OpenAI's formats want, in epoch seconds. Malformed requests
    get a 400 of their format, unknown verbs a 404.
    """
    try:
        if verb in (COUNT, GEMINI_COUNT):
            return _counted(protocol, body)
        if verb not in ((GEMINI_GENERATE, GEMINI_STREAM) if protocol == "gemini" else (GENERATE,)):
            return _refused(protocol, 404, f"{verb} not found")
        read, count = _READERS[protocol]
        made = reply(read(body), count(body))
    except Malformed as error:
        return _refused(protocol, 400, str(error))
    except RecursionError:
        return _refused(protocol, 400, "The request body is nested too deeply")
    streaming = verb == GEMINI_STREAM if protocol == "gemini" else body.get("stream") is True
    if not streaming:
        return DemoAnswer(200, _JSON, [_whole(protocol, made, model, created, body)])
    return DemoAnswer(200, _EVENTS if sse else _JSON, _stream(protocol, made, model, created, body, sse))


def malformed(protocol: str) -> DemoAnswer:
    """The answer to a body that is no JSON object."""
    return _refused(protocol, 400, "The request body is not a JSON object")


def _refused(protocol: str, status: int, message: str) -> DemoAnswer:
    found = problem(protocol, status, message)
    return DemoAnswer(found.status, found.headers, [found.body])


def _counted(protocol: str, body: dict[str, Any]) -> DemoAnswer:
    if protocol == "anthropic":
        anthropic.check(body)
        found: dict[str, Any] = {"input_tokens": anthropic.count(body)}
    elif protocol == "gemini":
        gemini.check(body)
        found = {"totalTokens": gemini.count(body)}
    elif protocol == "responses":
        responses.read(body)
        found = {"object": "response.input_tokens", "input_tokens": responses.count(body)}
    else:
        return _refused(protocol, 404, "This format has no counting endpoint")
    return DemoAnswer(200, _JSON, [to_json(found)])


def _whole(protocol: str, made: Reply, model: str, created: int, body: dict[str, Any]) -> bytes:
    if protocol == "anthropic":
        return anthropic.whole(made, model)
    if protocol == "chat":
        return chat.whole(made, model, created)
    if protocol == "completions":
        return chat.whole_completion(made, model, created)
    if protocol == "responses":
        return responses.whole(made, model, created, body)
    return gemini.whole(made, model)


def _stream(protocol: str, made: Reply, model: str, created: int, body: dict[str, Any], sse: bool) -> list[bytes]:
    if protocol == "anthropic":
        return anthropic.stream(made, model)
    if protocol == "chat":
        return chat.stream(made, model, created, body)
    if protocol == "completions":
        return chat.stream_completion(made, model, created, body)
    if protocol == "responses":
        return responses.stream(made, model, created, body)
    return gemini.stream(made, model, sse=sse)
