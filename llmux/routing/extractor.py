"""Finds the model a request asks for, in its body or in its path (SPEC 3)."""

from __future__ import annotations

import codecs
import re
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

Body = bytes | bytearray | memoryview

GZIP_LIMIT = 64 * 1024 * 1024
LONG = 64 * 1024  # from here on a second pass over a body costs more than it is worth
_BOM = b"\xef\xbb\xbf"
_GZIP = 16 + zlib.MAX_WBITS
_MEMBERS = 16
_ABSENT = msgspec.Raw(b"")


class Peek(NamedTuple):
    """What one look at a request tells: the model, if any, and whether the body says `"stream": true`.

    `spotless` is True if no turn of the assistant holds what cleaning removes (SPEC 7.1), `unsigned` for messages
    without `extra_content` (TRANSLATION 2.7): the same pass over the body tells. False means that one has to look.
    """

    model: str | None = None
    stream: bool = False
    spotless: bool = False
    unsigned: bool = False


_NOTHING = Peek()


class _Head(msgspec.Struct):
    """The two keys that matter, undecoded: a value of a wrong type is then no error, and the last duplicate wins."""

    model: msgspec.Raw = _ABSENT
    stream: msgspec.Raw = _ABSENT


class _Turn(msgspec.Struct, gc=False):
    role: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    tool_calls: msgspec.Raw = _ABSENT
    extra_content: msgspec.Raw = _ABSENT


class _Turns(_Head):
    messages: list[_Turn | str | float | bool | None] | None = None


_ASSISTANT, _USER = msgspec.Raw(b'"assistant"'), msgspec.Raw(b'"user"')
_head = msgspec.json.Decoder(_Head)
_turns = msgspec.json.Decoder(_Turns)
_text = msgspec.json.Decoder(str)


class ModelExtractor:
    """Pure function of a request's body and captured path parameters; never raises (SPEC R-EX-6).

    `limit` bounds, in bytes, what a body in gzip may grow to; a larger one has no model.
    """

    def __init__(self, limit: int = GZIP_LIMIT) -> None:
        self._limit = limit

    def extract(
        self,
        body: Body,
        content_encoding: str | None = None,
        params: Mapping[str, str] | None = None,
        gemini_route: bool = False,
    ) -> str | None:
        """The model's name as the client wrote it, suffix included, or None (SPEC R-EX-1 to R-EX-8)."""
        return self.peek(body, content_encoding, params, gemini_route).model

    def peek(
        self,
        body: Body,
        content_encoding: str | None = None,
        params: Mapping[str, str] | None = None,
        gemini_route: bool = False,
    ) -> Peek:
        """The model by the order of SPEC R-EX-5 (body, `action`, `path`), and the body's `stream`, in one pass.

        `params` are path parameters as captured; they are percent-decoded here.
        """
        found = peek_body(body, content_encoding, self._limit)
        model = _named(found.model, gemini_route) if found.model else None
        if model is None and params:
            if "action" in params:
                model = _named(_from_action(params["action"]), gemini_route)
            if model is None and "path" in params:
                model = _from_path(params["path"]).strip() or None
        return found if model == found.model else found._replace(model=model)


def peek_body(body: Body, content_encoding: str | None = None, limit: int = GZIP_LIMIT) -> Peek:
    """Read the top-level keys `model` and `stream` of a JSON object without building anything else.

    The model is trimmed, and None when it is missing, blank or no string (SPEC R-EX-1, R-EX-2, R-EX-8). A body that
    claims gzip and is none is read as it stands; one that grows beyond `limit` bytes has no model. Bytes that are not
    UTF-8 are not JSON; of a body of at least `LONG` bytes only the name itself is checked for that (R-EX-6 permits
    either), since looking at each of them is more than the rest of the reading.
    """
    if content_encoding and content_encoding.strip().lower() in ("gzip", "x-gzip"):
        try:
            body = _gunzip(body, limit)
        except zlib.error:
            pass
        except OverflowError:
            return _NOTHING
    if body[:3] == _BOM:
        body = memoryview(body)[3:]
    try:
        head = _read(body)
        verdict = _verdict(head.messages) if isinstance(head, _Turns) else (False, False)
        return Peek(_string(head.model), bytes(head.stream) == b"true", *verdict)
    # MsgspecError: no JSON object; UnicodeError (a ValueError): no UTF-8; RecursionError: nested beyond all reason.
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _NOTHING


def _read(body: Body) -> _Head:
    if len(body) < LONG:
        # The decoder leaves strings that it skips unchecked.
        codecs.utf_8_decode(body, "strict", True)
    try:
        return _turns.decode(body)
    except msgspec.DecodeError:
        pass  # messages of another shape, or no JSON: the plain reading tells
    try:
        return _head.decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        # JavaScript cuts strings between the halves of a surrogate pair and sends the half as an escape. That is
        # JSON (RFC 8259 8.2) which the decoder refuses, so a second reading replaces such halves.
        return _head.decode(_SURROGATE.sub(_whole, body))


def _verdict(turns: list[Any] | None) -> tuple[bool, bool]:
    """Whether no list of blocks of the assistant's can hold thinking or a signature, and no message or call of one
    `extra_content`, however these are spelled. A field that is not there is the very `_ABSENT`, which costs no copy.
    """
    spotless = True
    unsigned = turns is not None
    for turn in turns or ():
        if type(turn) is not _Turn:
            continue
        if turn.extra_content is not _ABSENT:
            unsigned = False
        if turn.tool_calls is not _ABSENT and unsigned:
            calls = bytes(turn.tool_calls)
            unsigned = b'"extra_content"' not in calls and b"\\u00" not in calls
        role = turn.role
        if role == _USER or not spotless or (role != _ASSISTANT and b"\\" not in bytes(role)):
            continue
        if bytes(memoryview(turn.content)[:1]) == b"[":
            blocks = bytes(turn.content)
            spotless = not (b'"thinking"' in blocks or b'"signature"' in blocks or b"\\u00" in blocks)
    return spotless, unsigned


# Begins with two literal bytes, which the engine finds fast.
_SURROGATE = re.compile(
    rb"\\u(?:[dD][89abAB][0-9a-fA-F]{2}(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|[dD][c-fC-F][0-9a-fA-F]{2})"
)
_REPLACEMENT = rb"\ufffd"


def _whole(match: re.Match[bytes]) -> bytes:
    text, low = match.string, match[1]
    start = before = match.start()
    while before and text[before - 1] == 0x5C:
        before -= 1
    if (start - before) % 2 == 0:
        return match[0] if low else _REPLACEMENT
    # An odd number of backslashes before this one spells backslashes, and what follows is plain text.
    return match[0][: -len(low)] + _REPLACEMENT if low else match[0]


def _string(raw: msgspec.Raw) -> str | None:
    value = bytes(raw)
    if not value.startswith(b'"'):
        return None
    return _text.decode(value).strip() or None


def _gunzip(body: Body, limit: int) -> bytes:
    """All members of a gzip body; zlib.error when it is damaged, cut or in more than 16 members.

    OverflowError when it exceeds `limit`. Each member costs a copy of what follows it, hence their bound.
    """
    pieces: list[bytes] = []
    rest: Body = body
    for _ in range(_MEMBERS):
        member = zlib.decompressobj(_GZIP)
        piece = member.decompress(rest, limit + 1)
        limit -= len(piece)
        if limit < 0:
            raise OverflowError("the body grows beyond the limit")
        pieces.append(piece)
        if not member.eof:
            raise zlib.error("the body is cut")
        rest = member.unused_data
        # Zero bytes may pad a member (gzip(1)); anything else has to be another one.
        if not rest.strip(b"\0"):
            return b"".join(pieces)
    raise zlib.error("the body has too many members")


def _from_action(action: str) -> str:
    name = unquote(action).lstrip("/")
    before, colon, _ = name.rpartition(":")
    return before if colon else name


def _from_path(path: str) -> str:
    _, found, rest = f"/{unquote(path)}".partition("/models/")
    return rest.rpartition(":")[0] if found else ""


def _named(name: str, gemini_route: bool) -> str | None:
    if gemini_route:
        _, found, rest = f"/{name.strip()}".partition("/models/")
        if found:
            name = rest
    return name.strip() or None
