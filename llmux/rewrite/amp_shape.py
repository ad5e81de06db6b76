"""What the Amp client needs to find in Anthropic answers: signatures, and tool names in its own casing (SPEC 10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from llmux.rewrite.spans import ARRAY, OBJECT, Buffer, decode_string, elements, hide_surrogates, members
from llmux.rewrite.splice import Edit, literal, removals

_BLOCK_KEYS = frozenset((b"type", b"signature", b"name"))
_DEFAULT_NAMES = {name.lower(): name for name in ("Bash", "Read", "Grep", "glob", "Task", "Check")}
_NULL = b"null"
_Scalar = str | int | float | bool | None


class _Declared(msgspec.Struct, gc=False):
    name: Any = None
    type: Any = None


class _Request(msgspec.Struct, gc=False):
    tools: list[_Declared | _Scalar | list[Any]] | dict[str, Any] | _Scalar = None
    tool_choice: _Declared | list[Any] | _Scalar = None


_decode_request = msgspec.json.Decoder(_Request).decode


class ToolNames:
    """The casing in which the client declared its tools (SPEC R-CP-2).

    The request body is parsed when the first tool call is met, and let go then; `source` may also be a function that
    gives the body. A body that is not JSON declares nothing.
    """

    def __init__(self, source: Buffer | Callable[[], Buffer | None] | None = None) -> None:
        self._source = source
        self._declared: dict[str, str | None] | None = None

    def __repr__(self) -> str:
        return "<ToolNames>"

    def spelling(self, name: str) -> str:
        """The name as the client expects it: its own declaration, else the default table, else unchanged."""
        declared = self._declared
        if declared is None:
            declared = self.settle()
        key = name.lower()
        if key in declared:
            return declared[key] or name
        return _DEFAULT_NAMES.get(key, name)

    def settle(self) -> dict[str, str | None]:
        """Parse now and drop the reference to the body; None stands for a name declared in several casings."""
        source, self._source = self._source, None
        body = source() if callable(source) else source
        declared: dict[str, str | None] = {}
        for name in _declarations(body) if body else ():
            key = name.lower()
            declared[key] = name if declared.get(key, name) == name else None
        self._declared = declared
        return declared


class ShapeFixes:
    """The Amp shape fixes for the answers to one request; `keep_thinking` when the provider is Anthropic (D-20)."""

    def __init__(self, names: ToolNames, keep_thinking: bool) -> None:
        self._names = names
        self._keep_thinking = keep_thinking

    def content_edits(self, data: Buffer, start: int, end: int) -> list[Edit]:
        """The edits in the value of a body's top-level `content`."""
        if data[start] != ARRAY:
            return []
        spans = elements(data, start, end)
        doomed: set[int] = set()
        calls = False
        edits: list[tuple[int, list[Edit]]] = []
        for index, (block, _) in enumerate(spans):
            kind, found = self._block(data, block)
            calls = calls or kind == "tool_use"
            if kind == "thinking":
                doomed.add(index)
            if found:
                edits.append((index, found))
        if self._keep_thinking or not calls:
            doomed.clear()
        kept = [edit for index, found in edits if index not in doomed for edit in found]
        return removals(spans, doomed) + kept

    def block_edits(self, data: Buffer, start: int) -> list[Edit]:
        """The edits in a stream event's `content_block`."""
        return self._block(data, start)[1]

    def _block(self, data: Buffer, start: int) -> tuple[str | None, list[Edit]]:
        if data[start] != OBJECT:
            return None, []
        block = members(data, start, _BLOCK_KEYS)
        kind_member = block.last_of(b"type")
        kind = None if kind_member is None else decode_string(data, kind_member.start, kind_member.end)
        if kind not in ("tool_use", "thinking"):
            return kind, []
        edits: list[Edit] = []
        signature = block.last_of(b"signature")
        if signature is None:
            edits.append((block.last, block.last, b',"signature":""'))
        elif data[signature.start : signature.end] == _NULL:
            edits.append((signature.start, signature.end, b'""'))
        if kind == "tool_use":
            for key, _, value, end in block.members:
                name = decode_string(data, value, end) if key == b"name" else None
                if name is not None and (spelling := self._names.spelling(name)) != name:
                    edits.append((value, end, literal(spelling)))
        return kind, edits


def _declarations(body: Buffer) -> list[str]:
    try:
        request = _decode_request(body)
    except (msgspec.DecodeError, RecursionError):
        hidden = hide_surrogates(body)
        return [] if hidden is None else _declarations(hidden)
    names: list[Any] = []
    if isinstance(request.tools, list):
        names += [tool.name for tool in request.tools if isinstance(tool, _Declared)]
    if isinstance(request.tool_choice, _Declared) and request.tool_choice.type == "tool":
        names.append(request.tool_choice.name)
    return [name for name in names if isinstance(name, str) and name]
