"""The model name in requests, in answers and in Gemini paths."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from urllib.parse import quote

import msgspec
from msgspec import Raw

from llmux.rewrite.spans import OBJECT, STRING, Buffer, Member, ends, members, root
from llmux.rewrite.splice import Edit, json_edits, literal, splice, splice_json

ROOT_KEYS = frozenset((b"model", b"modelVersion", b"message", b"response"))
_MODEL = frozenset((b"model",))
_MODEL_OR_VERSION = frozenset((b"model", b"modelVersion"))
_PLACE = re.compile(rb'"model(?:Version)?"[ \t\r\n]*+:[ \t\r\n]*+("[^"\\]*+(?:\\.[^"\\]*+)*+")')
_ESCAPED_LETTER = re.compile(rb"\\u00[567]")
_SMALL = 16 * 1024
_GEMINI_PATH = re.compile(rb"([^?]*?/v1(?:(beta)|(beta1))?/(?(3)(?:[^?]*?/)??)models/)([^?]+)(\?.*)?", re.DOTALL)
_LAST_COLON = re.compile(r"(.*)(?::|%3[Aa])(.*?)", re.DOTALL)
_PATH_SAFE = "/:@!$&'()*+,;="

_ABSENT = Raw()


class _Nested(msgspec.Struct, gc=False):
    model: Raw = _ABSENT
    modelVersion: Raw = _ABSENT


class _Document(_Nested, gc=False):
    message: Raw = _ABSENT
    response: Raw = _ABSENT


class _Request(msgspec.Struct, gc=False):
    model: Raw = _ABSENT


_decode_request = msgspec.json.Decoder(_Request).decode
_decode = msgspec.json.Decoder(_Document).decode
_decode_nested = msgspec.json.Decoder(_Nested).decode


class ModelRewriter:
    """Puts one model name where a request or an answer names its model; every other byte stays (SPEC 7.2, 8, 9)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._literal = literal(name)

    def request(self, body: Buffer) -> Buffer:
        """Replace every top-level `model` value, whatever it was (SPEC R-RQ-1); the same object if there is none."""
        if len(body) < _SMALL and body.count(b'"model"') == 1 and not escaped_letters(body):
            quick = self._quick_edits(body, _count_request)
            if quick:
                return splice(body, quick)
        return splice_json(body, self._request_edits)

    def response(self, body: Buffer) -> Buffer:
        """Replace the string values at the five places of SPEC R-RJ-1 in one JSON object."""
        return splice(body, self.edits(body))

    def edits(self, document: Buffer) -> Sequence[Edit]:
        """The edits that `response` applies; of use where the document is a part of something larger."""
        if len(document) >= _SMALL or escaped_letters(document):
            return json_edits(document, self._response_edits)
        return self.plain_edits(document)

    def plain_edits(self, document: Buffer) -> Sequence[Edit]:
        """The same for a small document without `escaped_letters`."""
        if b'"model' not in document:
            return ()
        quick = self._quick_edits(document, _count)
        return json_edits(document, self._response_edits) if quick is None else quick

    def member_edits(self, data: Buffer, found: list[Member]) -> list[Edit]:
        """The edits in an object of which `found` are the members with a key of `ROOT_KEYS`."""
        edits: list[Edit] = []
        for key, _, start, end in found:
            first = data[start]
            if key in _MODEL_OR_VERSION:
                if first == STRING:
                    self._replace(data, start, end, edits)
            elif first == OBJECT and key in ROOT_KEYS:
                inner = members(data, start, _MODEL if key == b"message" else _MODEL_OR_VERSION).members
                for _, _, inner_start, inner_end in inner:
                    if data[inner_start] == STRING:
                        self._replace(data, inner_start, inner_end, edits)
        return edits

    def _replace(self, data: Buffer, start: int, end: int, edits: list[Edit]) -> None:
        if data[start:end] != self._literal:
            edits.append((start, end, self._literal))

    def _request_edits(self, body: Buffer) -> list[Edit]:
        start = root(body)
        found, _, end = members(body, start, _MODEL)
        ends(body, end)
        return [(member.start, member.end, self._literal) for member in found]

    def _response_edits(self, document: Buffer) -> list[Edit]:
        start = root(document)
        found, _, end = members(document, start, ROOT_KEYS)
        ends(document, end)
        return self.member_edits(document, found)

    def _quick_edits(self, document: Buffer, count: Callable[[Buffer], int]) -> Sequence[Edit] | None:
        """The edits of an ordinary small document, or None when only the walk can tell.

        Without `escaped_letters` every such key with a string is a match, and in JSON a match can only be that or a
        longer key that ends like it. msgspec proves that the text is JSON, and `count` says how many of the places hold
        a string; when there are as many matches, each of them is one of the places.
        """
        matches = list(_PLACE.finditer(document))
        try:
            if count(document) != len(matches):
                return None
        except (msgspec.DecodeError, RecursionError):
            return None
        edits: list[Edit] = []
        for match in matches:
            if match[1] != self._literal:
                edits.append((*match.span(1), self._literal))
        return edits


def escaped_letters(document: Buffer) -> bool:
    r"""Whether a letter may be spelled `\u00..`, so that a key can hide from a plain search."""
    return b"\\u00" in document and _ESCAPED_LETTER.search(document) is not None


def rewrite_action(action: str, model: str) -> str:
    """The `model:method` of a Gemini action for another model: the method is what follows the last colon (R-RQ-5)."""
    match = _LAST_COLON.fullmatch(action)
    return model if match is None else f"{model}:{match[2]}"


def rewrite_path(target: bytes, model: str) -> bytes:
    """A Gemini request target with another model in it; query and method keep their bytes (SPEC R-RQ-5).

    Below `v1beta1` a path without a colon names no model (D-31) and stays, as does any path without `models/`.
    """
    match = _GEMINI_PATH.fullmatch(target)
    if match is None:
        return target
    action = match[4].decode("latin-1")
    if match[3] and _LAST_COLON.fullmatch(action) is None:
        return target
    changed = rewrite_action(action, quote(model, safe=_PATH_SAFE, errors="replace"))
    return match[1] + changed.encode("latin-1") + (match[5] or b"")


def _count_request(body: Buffer) -> int:
    return _is_string(_decode_request(body).model)


def _count(document: Buffer) -> int:
    decoded = _decode(document)
    count = _strings(decoded)
    for part, both in ((decoded.message, False), (decoded.response, True)):
        if part is not _ABSENT and memoryview(part)[0] == OBJECT:
            inner = _decode_nested(part)
            count += _strings(inner) if both else _is_string(inner.model)
    return count


def _strings(decoded: _Nested) -> int:
    return _is_string(decoded.model) + _is_string(decoded.modelVersion)


def _is_string(raw: Raw) -> bool:
    return raw is not _ABSENT and memoryview(raw)[0] == STRING
