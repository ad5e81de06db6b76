"""Gives an error that came with a status of success the head and the body that it should have had (DESIGN D-42)."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.interfaces import IReactorTime

from llmux.headers import media_type, redact
from llmux.peers.disguise import Disguised, disguised
from llmux.peers.redacted import differs, redacted
from llmux.peers.saved import SavedExchange
from llmux.peers.tries import Answer
from llmux.wire.response_head import ResponseHead

_OF_THE_STREAM = frozenset((b"content-type", b"content-length", b"cache-control"))


async def unmasked(answer: Answer, found: Disguised, clock: IReactorTime) -> bytes:
    """The error's body, or the beginning of a long one; of a stream nothing is read after the error."""
    head = answer.head
    exchange = redacted(answer.exchange, answer.secrets)
    answer.exchange = saved = SavedExchange(exchange, clock)
    if media_type(head.headers) != b"text/event-stream":
        body = await saved.read()
        answer.changed = answer.changed or differs(exchange)
        answer.head = replace(head, status=disguised(body).status, reason=b"")
        return body
    document = redact(found.document, answer.secrets)
    saved.replace(document)
    kept = [(name, value) for name, value in head.headers if name.lower() not in _OF_THE_STREAM]
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(document)), *kept]
    answer.head = ResponseHead(found.status, b"", headers, len(document))
    answer.changed = True
    return document
