"""All changes that one answer needs, for whole bodies and for the events of a stream (SPEC 8, 9, 10)."""

from __future__ import annotations

from collections.abc import Sequence

from llmux.rewrite.amp_shape import ShapeFixes
from llmux.rewrite.model import ROOT_KEYS, ModelRewriter, escaped_letters
from llmux.rewrite.spans import ARRAY, OBJECT, Buffer, elements, end_of_value, ends, members, root
from llmux.rewrite.splice import Edit, json_edits, splice_json

_SMALL = 64 * 1024  # above it the walk, which skips most bytes, costs less than searching for every needle
_CONTENT = b"content"
_BLOCK = b"content_block"
_BLOCKS_WITH_FIXES = (b'"tool_use"', b'"thinking"')


class AnswerEditor:
    """Model names and Amp shape fixes in one walk; either may be None."""

    def __init__(self, model: ModelRewriter | None, shape: ShapeFixes | None) -> None:
        self._model = model
        self._shape = shape
        keys = ROOT_KEYS if model is not None else frozenset()
        self._body_keys = keys | {_CONTENT} if shape is not None else keys
        self._event_keys = keys | {_BLOCK} if shape is not None else keys
        needles = (b'"model',) if model is not None else ()
        self.needles: tuple[bytes, ...] = (*needles, *((b'"content_block"',) if shape is not None else ()), b"\\u00")

    def body(self, body: Buffer) -> Buffer:
        """Edit a JSON body: an object, or the objects of an array (SPEC R-RJ-9); the same object if nothing changes."""
        if len(body) < _SMALL and not self._concerns(body):
            return body
        return splice_json(body, self._body_edits)

    def event(self, document: bytes) -> Sequence[Edit]:
        """The edits in the data of one event of a stream."""
        if (
            len(document) >= _SMALL
            or (self._shape is not None and b'"content_block"' in document)
            or escaped_letters(document)
        ):
            return json_edits(document, self._event_edits)
        return self._model.plain_edits(document) if self._model is not None else ()

    def _concerns(self, body: Buffer) -> bool:
        if self._model is not None and b'"model' in body:
            return True
        if self._shape is not None and any(kind in body for kind in _BLOCKS_WITH_FIXES):
            return True
        return escaped_letters(body)

    def _event_edits(self, document: Buffer) -> list[Edit]:
        start = root(document)
        found, _, end = members(document, start, self._event_keys)
        ends(document, end)
        edits = self._model.member_edits(document, found) if self._model is not None else []
        if self._shape is not None:
            for member in found:
                if member.key == _BLOCK:
                    edits += self._shape.block_edits(document, member.start)
        return edits

    def _body_edits(self, body: Buffer) -> list[Edit]:
        start = root(body)
        if start == len(body) or body[start] not in (OBJECT, ARRAY):
            return []
        if body[start] == OBJECT:
            edits, end = self._object_edits(body, start)
            ends(body, end)
            return edits
        end = end_of_value(body, start)
        ends(body, end)
        edits = []
        for element, _ in elements(body, start, end):
            if body[element] == OBJECT:
                edits += self._object_edits(body, element)[0]
        return edits

    def _object_edits(self, body: Buffer, start: int) -> tuple[list[Edit], int]:
        found, _, end = members(body, start, self._body_keys)
        edits = self._model.member_edits(body, found) if self._model is not None else []
        if self._shape is not None:
            for member in found:
                if member.key == _CONTENT:
                    edits += self._shape.content_edits(body, member.start, member.end)
        return edits, end
