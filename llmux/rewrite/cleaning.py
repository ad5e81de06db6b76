"""Cleaning the body of a model request before it is routed (SPEC 7.1)."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import msgspec

from llmux.rewrite.model import escaped_letters
from llmux.rewrite.spans import BOM, Buffer, InvalidJSON, Object, elements, hide_surrogates, members, root
from llmux.rewrite.splice import Edit, removals, splice

_SMALL = 64 * 1024
_MESSAGES_PER_STEP = 200
_MESSAGES = frozenset((b"messages",))
_CONTENT = frozenset((b"content",))
_SIGNATURE = frozenset((b"signature",))

Steps = Generator[None, None, Buffer]
_Scalar = str | int | float | bool | None


class _Block(msgspec.Struct, gc=False):
    type: Any = None
    signature: Any = msgspec.UNSET


class _Message(msgspec.Struct, gc=False):
    role: Any = None
    content: list[_Block | _Scalar | list[Any]] | dict[str, Any] | _Scalar = None


class _Request(msgspec.Struct, gc=False):
    messages: list[_Message | _Scalar | list[Any]] | dict[str, Any] | _Scalar = None


_decode = msgspec.json.Decoder(_Request).decode


def clean(body: Buffer) -> Buffer:
    """Take unsigned thinking and signatures of tool calls out of the assistant's messages (SPEC R-SN-1 to 5).

    The same object comes back when nothing is wrong. See `cleaning_steps` for large bodies.
    """
    steps = cleaning_steps(body)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # a generator's return value is untyped at run time


def cleaning_steps(body: Buffer) -> Steps:
    """The same as a generator that pauses between its passes over the body, so that a reactor can do other work.

    The body must not be changed in between. A body with nothing wrong is one pass and no pause.
    """
    if len(body) < _SMALL and not _suspicious(body):
        return body
    text, wrong = _verdict(body)
    if not wrong:
        return body
    yield
    try:
        edits: list[Edit] = yield from _edits(text, wrong)
    except InvalidJSON:
        return body
    return splice(body, edits)


def _suspicious(body: Buffer) -> bool:
    return b'"thinking"' in body or b'"signature"' in body or escaped_letters(body)


def _verdict(body: Buffer) -> tuple[Buffer, dict[int, list[int]]]:
    """The text that could be read, and for each message with something wrong the indices of the blocks concerned."""
    text = body
    try:
        request = _decode(memoryview(body)[3:] if body.startswith(BOM) else body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        hidden = hide_surrogates(body)
        return (body, {}) if hidden is None else _verdict(hidden)
    wrong: dict[int, list[int]] = {}
    if not isinstance(request.messages, list):
        return text, wrong
    for index, message in enumerate(request.messages):
        if type(message) is not _Message or message.role != "assistant":
            continue
        content = message.content
        if type(content) is not list:
            continue
        for position, block in enumerate(content):
            if type(block) is not _Block:
                continue
            if block.type == "thinking":
                signature = block.signature
                if type(signature) is str and signature and not signature.isspace():
                    continue
            elif block.type != "tool_use" or block.signature is msgspec.UNSET:
                continue
            wrong.setdefault(index, []).append(position)
    return text, wrong


def _edits(text: Buffer, wrong: dict[int, list[int]]) -> Generator[None, None, list[Edit]]:
    messages = _last(members(text, root(text), _MESSAGES), b"messages")
    yield
    spans = elements(text, *messages)
    yield
    edits: list[Edit] = []
    emptied: set[int] = set()
    for count, (index, positions) in enumerate(wrong.items(), 1):
        found = _message_edits(text, spans[index][0], positions)
        if found is None:
            emptied.add(index)
        else:
            edits += found
        if count % _MESSAGES_PER_STEP == 0:
            yield
    return edits + removals(spans, emptied)


def _message_edits(text: Buffer, start: int, positions: list[int]) -> list[Edit] | None:
    """The edits inside one message; None when nothing of its content is left (SPEC R-SN-5)."""
    spans = elements(text, *_last(members(text, start, _CONTENT), b"content"))
    edits: list[Edit] = []
    doomed: set[int] = set()
    for position in positions:
        block = members(text, spans[position][0])
        kind = block.last_of(b"type")
        if kind is not None and _decode_type(text[kind.start : kind.end]) == "thinking":
            doomed.add(position)
        else:
            signatures = {at for at, member in enumerate(block.members) if member.key == b"signature"}
            edits += removals([(member.at, member.end) for member in block.members], signatures)
    return None if len(doomed) == len(spans) else edits + removals(spans, doomed)


def _last(found: Object, key: bytes) -> tuple[int, int]:
    member = found.last_of(key)
    assert member is not None
    return member.start, member.end


_decode_type = msgspec.json.Decoder(str).decode
