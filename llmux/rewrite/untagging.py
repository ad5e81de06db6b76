"""Takes the blobs of other vendors out of a request that goes to its own format's vendor as it is (TRANSLATION 2.7).

A conversation that another vendor answered in between holds that vendor's blobs as tags, in the slots of the client's
format. The client's own vendor would refuse them; everything else stays as it is. What is changed beyond the blobs is
told as a warning (TRANSLATION 2.4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from llmux.formats.neutral import Opaque, Vendor
from llmux.formats.opaque import BYPASS_SIGNATURE, parse_tag, untag_from_gemini
from llmux.rewrite.spans import Buffer, InvalidJSON, elements, members, root
from llmux.rewrite.splice import Edit, literal, removals, splice_json

_TAG, _TAG_BASE64 = b'"llmux:1:', b'"bGxtdXg6MT'
_SIGNATURE = b'"thought_signature"'
_SIGNS_MATTER: Mapping[str, tuple[bytes, ...]] = {"gemini": (b'"toolu_', b'"call_'), "chat": (_SIGNATURE,)}
_FOREIGN_TO_ANTHROPIC = b'"call_'
_TAIL = 1024 * 1024
_THINKING = frozenset((b"thinking",))
_MESSAGES, _CALLS, _EXTENSION = b"messages", b"tool_calls", b"extra_content"
_FOREIGN_IDS = ("toolu_", "call_")
_LISTS: Mapping[str, tuple[bytes, bytes]] = {
    "anthropic": (b"messages", b"content"),
    "responses": (b"input", b""),
    "gemini": (b"contents", b"parts"),
}
_VENDORS: Mapping[str, Vendor] = {"anthropic": "anthropic", "responses": "openai", "gemini": "gemini"}
_SLOTS: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("signature", "data"),
    "responses": ("encrypted_content",),
    "gemini": ("thoughtSignature", "thought_signature"),
}
_KEYS = frozenset(slot.encode() for slots in _SLOTS.values() for slot in slots)
_decode = msgspec.json.Decoder(Any).decode


def untag_request(
    body: Buffer, protocol: str, signs_calls: bool = False, warn: Callable[[str], None] | None = None
) -> Buffer:
    """The body without other vendors' blobs and with its own as they were; the same object when it holds none.

    `signs_calls`: the model wants a signature on the first call of a step (`signature_required`); a call that another
    vendor made has none, and gets the value that Gemini documents for this. A Chat server of such a model gets the
    signatures in `extra_content` back, any other does not. Anthropic's `thinking` with a budget goes when the calls
    whose results are sent are another vendor's, since they would have to follow a thinking block of its own
    (TRANSLATION 2.6); `warn` gets the code for that.
    """
    if protocol == "chat":
        return body if signs_calls else splice_json(body, _without_extensions)
    if protocol not in _LISTS:
        return body
    # Only the last messages matter to the budget, and every search of a long body costs milliseconds.
    budget = protocol == "anthropic" and body.find(_FOREIGN_TO_ANTHROPIC, max(0, len(body) - _TAIL)) >= 0
    if not budget and not _concerned(body, protocol, signs_calls):
        return body
    return splice_json(body, lambda text: _edits(text, protocol, signs_calls, warn))


def signs_matter(body: Buffer, protocol: str) -> bool:
    """Whether `signs_calls` may matter: calls of a Gemini body may be another vendor's, those of a Chat body signed."""
    return any(mark in body for mark in _SIGNS_MATTER.get(protocol, ()))


def _without_extensions(text: Buffer) -> list[Edit]:
    """The edits that take Gemini's signatures out of a Chat body, together with the extension that holds them."""
    edits: list[Edit] = []
    for start, end in _list_in(text, root(text), _MESSAGES):
        if _SIGNATURE in text[start:end] and text[start : start + 1] == b"{":
            edits += _without_extension(text, start)
            for call, call_end in _list_in(text, start, _CALLS):
                if _SIGNATURE in text[call:call_end] and text[call : call + 1] == b"{":
                    edits += _without_extension(text, call)
    return edits


def _without_extension(text: Buffer, start: int) -> list[Edit]:
    found = members(text, start).members
    doomed = {
        at
        for at, member in enumerate(found)
        if member.key == _EXTENSION and _SIGNATURE in text[member.start : member.end]
    }
    return removals([(member.at, member.end) for member in found], doomed)


def _list_in(text: Buffer, start: int, name: bytes) -> list[tuple[int, int]]:
    """The elements of the list `name` in the object at `start`."""
    found = members(text, start, frozenset((name,))).last_of(name)
    if found is None or text[found.start : found.start + 1] != b"[":
        return []
    return elements(text, found.start, found.end)


def _edits(text: Buffer, protocol: str, signs_calls: bool, warn: Callable[[str], None] | None) -> list[Edit]:
    outer, inner = _LISTS[protocol]
    spans = _list_in(text, root(text), outer)
    if not inner:
        return _list_edits(text, spans, protocol, signs_calls)[0]
    edits: list[Edit] = []
    emptied: set[int] = set()
    if protocol == "anthropic" and _last_calls_are_foreign(text, spans):
        edits += _without_budget(text)
        if edits and warn is not None:
            warn("dropped:reasoning_effort")
    for index, (start, end) in enumerate(spans):
        if not _concerned(text[start:end], protocol, signs_calls):
            continue
        content = members(text, start, frozenset((inner,))).last_of(inner)
        if content is None or text[content.start : content.start + 1] != b"[":
            continue
        parts = elements(text, content.start, content.end)
        more, nothing_left = _list_edits(text, parts, protocol, signs_calls)
        if nothing_left:
            emptied.add(index)
        else:
            edits += more
    return edits + removals(spans, emptied)


def _concerned(text: Buffer, protocol: str, signs_calls: bool) -> bool:
    if protocol != "gemini":
        return _TAG in text
    return _TAG_BASE64 in text or (signs_calls and signs_matter(text, protocol))


def _list_edits(
    text: Buffer, spans: Sequence[tuple[int, int]], protocol: str, signs_calls: bool
) -> tuple[list[Edit], bool]:
    """The edits among some blocks, items or parts, and whether all of them are to go."""
    edits: list[Edit] = []
    doomed: set[int] = set()
    called = False
    for index, (start, end) in enumerate(spans):
        part = text[start:end]
        if not _concerned(part, protocol, signs_calls and not called):
            called = called or b'"functionCall"' in part or b'"function_call"' in part
            continue
        value = _object(part)
        slot, blob = _blob(value, protocol)
        if blob is not None and blob.origin == _VENDORS[protocol]:
            edits += _replaced(text, start, slot, blob)
        elif blob is not None and _is_thought(value, protocol):
            doomed.add(index)
        else:
            edits += _without(text, start, slot) if blob is not None else []
            call = value.get("functionCall") or value.get("function_call")
            if signs_calls and not called and isinstance(call, dict) and _made_elsewhere(call, value, blob):
                edits.append((start + 1, start + 1, b'"thoughtSignature":' + literal(BYPASS_SIGNATURE) + b","))
        called = called or "functionCall" in value or "function_call" in value
    return edits + removals(spans, doomed), len(doomed) == len(spans)


def _object(text: Buffer) -> dict[str, Any]:
    try:
        value = _decode(bytes(text))
    except (msgspec.DecodeError, RecursionError):
        raise InvalidJSON from None
    return value if isinstance(value, dict) else {}


def _blob(value: dict[str, Any], protocol: str) -> tuple[str, Opaque | None]:
    for slot in _SLOTS[protocol]:
        raw = value.get(slot)
        if isinstance(raw, str):
            blob = _tagged_for_gemini(raw) if protocol == "gemini" else parse_tag(raw)
            if blob is not None:
                return slot, blob
    return "", None


def _tagged_for_gemini(raw: str) -> Opaque | None:
    blob = untag_from_gemini(raw)
    return blob if blob.origin != "gemini" else None


def _is_thought(value: dict[str, Any], protocol: str) -> bool:
    """Whether the whole element is there for the blob alone."""
    return protocol != "gemini" or value.get("thought") is True or value.get("text") == ""


def _made_elsewhere(call: dict[str, Any], part: dict[str, Any], blob: Opaque | None) -> bool:
    if blob is None and any(part.get(slot) for slot in _SLOTS["gemini"]):
        return False
    return blob is not None or str(call.get("id", "")).startswith(_FOREIGN_IDS)


def _last_calls_are_foreign(text: Buffer, spans: Sequence[tuple[int, int]]) -> bool:
    """Whether the last message holds results of calls that do not follow thinking of Anthropic's own."""
    if len(spans) < 2:
        return False
    message = _object(text[slice(*spans[-2])])
    content = message.get("content")
    blocks = [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []
    calls = [block for block in blocks if block.get("type") == "tool_use"]
    if message.get("role") != "assistant" or not calls:
        return False
    signs = [str(block.get("signature") or block.get("data") or "") for block in blocks]
    tags = [tag for tag in map(parse_tag, signs) if tag is not None]
    if len(tags) < sum(map(bool, signs)) or any(tag.origin == "anthropic" for tag in tags):
        return False
    return bool(tags) or any(str(call.get("id", "")).startswith("call_") for call in calls)


def _without_budget(text: Buffer) -> list[Edit]:
    found = members(text, root(text))
    last = found.last_of(b"thinking")
    if last is None or _object(text[last.start : last.end]).get("type") != "enabled":
        return []
    doomed = {at for at, member in enumerate(found.members) if member.key in _THINKING}
    return removals([(member.at, member.end) for member in found.members], doomed)


def _replaced(text: Buffer, start: int, slot: str, blob: Opaque) -> list[Edit]:
    raw = blob.raw.partition("|")[2] if blob.kind == "enc" else blob.raw
    found = members(text, start, _KEYS).members
    return [(member.start, member.end, literal(raw)) for member in found if member.key == slot.encode()]


def _without(text: Buffer, start: int, slot: str) -> list[Edit]:
    found = members(text, start).members
    doomed = {at for at, member in enumerate(found) if member.key == slot.encode()}
    return removals([(member.at, member.end) for member in found], doomed)
