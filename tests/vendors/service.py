"""Answers requests at one scripted server as the service that their path belongs to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from tests.scripted import Seen
from tests.vendors import anthropic, chat, gemini, responses
from tests.vendors.scene import play
from tests.vendors.speech import RETRY_AFTER, Heard, Refused, Said, dumps

KEYS = {"anthropic": "key-a", "chat": "key-c", "responses": "key-r", "gemini": "key-g"}
COUNTED = 4321
SEEN_PATH = "/_seen"
DOWN_PATH = "/_down/"
_REMEMBERED = 8
_OVERLOADED = {"anthropic": 529}
_CUT_AFTER = {"anthropic": 4, "chat": 2, "responses": 5, "gemini": 1}
_ERRORS: dict[str, Any] = {
    "anthropic": anthropic.error,
    "chat": chat.error,
    "responses": chat.error,
    "gemini": gemini.error,
}
_WHOLE: dict[str, Callable[[Said, Heard], bytes]] = {
    "anthropic": anthropic.whole,
    "chat": chat.whole,
    "responses": responses.whole,
    "gemini": gemini.whole,
}
_BROKEN_OFF: dict[str, Any] = {
    "anthropic": anthropic.broken_off,
    "chat": chat.broken_off,
    "responses": responses.broken_off,
    "gemini": gemini.broken_off,
}


class Vendors:
    """The script of a server; `seen` are the last requests, `down` are the vendors that are overloaded just now."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.down: frozenset[str] = frozenset()

    def __call__(self, seen: Seen) -> None:
        """Answer one request."""
        path = seen.target.partition("?")[0]
        if path == SEEN_PATH:
            told = [{"target": x.target, "headers": x.headers, "body": x.json()} for x in self.seen]
            seen.reply(200, dumps(told).encode())
            return
        if path.startswith(DOWN_PATH):
            self.down = frozenset(path.removeprefix(DOWN_PATH).split(","))
            seen.reply(200, b"{}")
            return
        self.seen = [*self.seen[1 - _REMEMBERED :], seen]
        protocol = protocol_of(path)
        if protocol is None:
            seen.reply(404, b'{"error":{"message":"no such path"}}')
            return
        try:
            if protocol in self.down:
                raise Refused("Overloaded", _OVERLOADED.get(protocol, 503))
            self._answer(seen, protocol, path)
        except Refused as refused:
            seen.reply(refused.status, _ERRORS[protocol](refused.status, refused.message))

    def _answer(self, seen: Seen, protocol: str, path: str) -> None:
        if _key(seen, protocol) != KEYS[protocol]:
            raise Refused("Incorrect API key provided", 401)
        body = seen.json()
        if path.endswith(("count_tokens", "input_tokens", "countTokens")):
            _count(seen, protocol, body)
            return
        heard = _hear(seen, protocol, path, body)
        said = play(heard)
        if said.fault == "rate" or (said.fault == "overload" and not heard.stream):
            status = 429 if said.fault == "rate" else _OVERLOADED.get(protocol, 503)
            headers = [("retry-after", str(RETRY_AFTER))] if said.fault == "rate" else []
            seen.reply(status, _ERRORS[protocol](status, f"scripted {said.fault}"), headers=headers)
        elif heard.stream:
            _stream(seen, protocol, said, heard, body)
        else:
            _reply(seen, protocol, said, heard)


def protocol_of(path: str) -> str | None:
    """Whose path this is."""
    if "/models/" in path and ":" in path:
        return "gemini"
    for ending, protocol in (
        ("/chat/completions", "chat"),
        ("/responses", "responses"),
        ("/responses/input_tokens", "responses"),
        ("/messages", "anthropic"),
        ("/messages/count_tokens", "anthropic"),
    ):
        if path.endswith(ending):
            return protocol
    return None


def _key(seen: Seen, protocol: str) -> str | None:
    if protocol == "anthropic":
        return seen.header("x-api-key") or (seen.header("authorization") or "").removeprefix("Bearer ")
    if protocol == "gemini":
        return seen.header("x-goog-api-key")
    return (seen.header("authorization") or "").removeprefix("Bearer ")


def _hear(seen: Seen, protocol: str, path: str, body: dict[str, Any]) -> Heard:
    if protocol == "anthropic":
        return anthropic.hear(body, seen.header("anthropic-version"))
    if protocol == "gemini":
        model, _, method = path.rpartition("/models/")[2].rpartition(":")
        return gemini.hear(model, body, method == "streamGenerateContent")
    return chat.hear(body) if protocol == "chat" else responses.hear(body)


def _count(seen: Seen, protocol: str, body: dict[str, Any]) -> None:
    if protocol == "gemini":
        inner = dict(body["generateContentRequest"]) if "generateContentRequest" in body else body
        model = str(inner.pop("model", "models/x")).removeprefix("models/")
        gemini.hear(model, inner, False)
        seen.reply(200, dumps({"totalTokens": COUNTED}).encode())
        return
    if protocol == "anthropic":
        if not body.keys() <= {"messages", "model", "system", "tools", "tool_choice", "thinking", "output_config"}:
            raise Refused("Extra inputs are not permitted")
        anthropic.hear({**body, "max_tokens": 64000}, seen.header("anthropic-version"))
        seen.reply(200, dumps({"input_tokens": COUNTED}).encode())
        return
    if not body.keys().isdisjoint({"store", "include", "stream", "max_output_tokens"}):
        raise Refused("Unknown parameter")
    responses.hear({**body, "store": False, "include": ["reasoning.encrypted_content"]})
    seen.reply(200, dumps({"object": "response.input_tokens", "input_tokens": COUNTED}).encode())


def _reply(seen: Seen, protocol: str, said: Said, heard: Heard) -> None:
    body = _WHOLE[protocol](said, heard)
    if said.fault == "cut":
        seen.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        seen.write(body[: len(body) // 2])
        seen.close()
    else:
        seen.reply(200, body, headers=[("request-id", "req_scripted")])


def _stream(seen: Seen, protocol: str, said: Said, heard: Heard, body: dict[str, Any]) -> None:
    if protocol == "gemini" and "alt=sse" not in seen.target:
        objects = gemini.objects(said, heard)
        seen.stream([b"[" + b",\r\n".join(objects) + b"]"], "application/json")
        return
    events: Iterable[bytes]
    if protocol == "chat":
        events = chat.events(said, heard, bool((body.get("stream_options") or {}).get("include_usage")))
    elif protocol == "responses":
        events = responses.events(said, heard)
    else:
        events = (anthropic if protocol == "anthropic" else gemini).events(said, heard)
    told = list(events)
    if not said.fault:
        seen.stream(told)
        return
    seen.begin_stream()
    for data in told[: _CUT_AFTER[protocol]] if said.fault != "first" else []:
        seen.chunk(data)
    if said.fault != "cut":
        seen.chunk(_BROKEN_OFF[protocol]())
    seen.close()


def loaded(body: bytes) -> Any:
    """What `SEEN_PATH` told."""
    return json.loads(body)
