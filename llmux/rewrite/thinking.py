"""The thinking suffix of a model name, applied to a body that goes out in the format it came in.

SPEC 4 (last paragraph), TRANSLATION 2.6 for the values. Only the members that carry the setting are spliced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from llmux.effort import EFFORTS, LADDER
from llmux.rewrite.assignment import Assignments, assign
from llmux.rewrite.spans import OBJECT, Buffer, Member, Object, ends, members, root
from llmux.rewrite.splice import Edit, splice_json

_DEFAULT_EFFORTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"anthropic": EFFORTS[2:], "chat": EFFORTS, "responses": EFFORTS, "gemini": EFFORTS[1:5]}
)
_GEMINI_BUDGET_MAX = 32768
_SMALLEST_BUDGET = 1024
_SMALLEST_MAX_TOKENS = 2048
_NOTHING: Mapping[str, Any] = MappingProxyType({})
Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Thinking:
    """A suffix that means something: `budget` tokens for mode `budget`, one of LADDER's names for mode `level`."""

    mode: Literal["off", "auto", "level", "budget"]
    budget: int | None = None
    level: str | None = None

    def tokens(self) -> int:
        """As a budget: 0 is off, -1 automatic."""
        if self.mode == "budget" and self.budget is not None:
            return self.budget
        if self.mode == "level" and self.level is not None:
            return LADDER[self.level]
        return 0 if self.mode == "off" else -1

    def effort(self) -> str | None:
        """As a level, None for automatic: the smallest one whose budget is enough (TRANSLATION 2.6)."""
        if self.mode == "level":
            return self.level
        tokens = self.tokens()
        if tokens < 0:
            return None
        return next((name for name, size in LADDER.items() if size >= tokens), "max")


def supported_effort(effort: str, supported: Sequence[str]) -> str:
    """The effort itself, else the highest supported one below it, else the lowest (TRANSLATION 2.6)."""
    ranked = [name for name in EFFORTS if name in supported]
    if not ranked:
        return effort
    rank = EFFORTS.index(effort)
    below = [name for name in ranked if EFFORTS.index(name) <= rank]
    return below[-1] if below else ranked[0]


def apply_thinking(
    body: Buffer,
    wire_format: str,
    thinking: Thinking | None,
    capabilities: Mapping[str, Any] = _NOTHING,
    warn: Warn = lambda code: None,
) -> Buffer:
    """The body with the suffix's setting in place of its own; the same object when there is nothing to set.

    `wire_format` is anthropic, chat, responses or gemini; `capabilities` are those of TRANSLATION 2.5, spelled with
    hyphens or underscores. A model that cannot think, and a body that is not a JSON object, stay as they are. `warn`
    gets the code (TRANSLATION 2.4) when the setting becomes another one, or none.
    """
    if thinking is None or wire_format not in _DEFAULT_EFFORTS or _cap(capabilities, "thinking", "") == "none":
        return body

    def edits(data: Buffer) -> list[Edit]:
        start = root(data)
        found = members(data, start)
        ends(data, found.end)
        return assign(data, start, _assignments(data, found, wire_format, thinking, capabilities, warn), found)

    return splice_json(body, edits)


def _assignments(
    data: Buffer, found: Object, wire_format: str, thinking: Thinking, capabilities: Mapping[str, Any], warn: Warn
) -> Assignments:
    if wire_format in ("anthropic", "gemini") and _cap(capabilities, "thinking", "budget") == "budget":
        make = _anthropic_budget if wire_format == "anthropic" else _gemini_budget
        return make(data, found, thinking, capabilities, warn)
    if wire_format == "anthropic" and thinking.tokens() == 0:
        return {b"thinking": b'{"type":"disabled"}'}
    effort = thinking.effort()
    level = None
    if effort is not None:
        level = supported_effort(effort, _cap(capabilities, "effort_levels", _DEFAULT_EFFORTS[wire_format]))
        if level != effort and not (wire_format == "gemini" and effort == "none"):  # its lowest level is its off
            warn("clamped:reasoning_effort")
    if wire_format == "chat":
        return {b"reasoning_effort": _quoted(level)}
    if wire_format == "responses":
        return {b"reasoning": {b"effort": _quoted(level)}}
    if wire_format == "gemini":
        return _gemini(data, found, thinking, None, _quoted(level.upper() if level is not None else None))
    adaptive: Assignments = {b"type": b'"adaptive"', b"budget_tokens": None}
    if level is None:
        return {b"thinking": adaptive}
    return {b"thinking": adaptive, b"output_config": {b"effort": _quoted(level)}}


def _anthropic_budget(
    data: Buffer, found: Object, thinking: Thinking, capabilities: Mapping[str, Any], warn: Warn
) -> Assignments:
    tokens = thinking.tokens()
    if tokens == 0:
        return {b"thinking": b'{"type":"disabled"}'}
    budget = LADDER["medium"] if tokens < 0 else tokens
    ceilings = [budget]
    budget_max = _cap(capabilities, "budget_max", None)
    if isinstance(budget_max, int):
        ceilings.append(budget_max)
    max_tokens = _integer(data, found.last_of(b"max_tokens"))
    if max_tokens is not None:
        if max_tokens < _SMALLEST_MAX_TOKENS:
            warn("dropped:reasoning_effort")
            return {b"thinking": None}
        ceilings.append(max_tokens - _SMALLEST_BUDGET)
    allowed = max(_SMALLEST_BUDGET, min(ceilings))
    if allowed != budget:
        warn("clamped:thinking_budget")
    return {b"thinking": {b"type": b'"enabled"', b"budget_tokens": b"%d" % allowed}}


def _gemini_budget(
    data: Buffer, found: Object, thinking: Thinking, capabilities: Mapping[str, Any], warn: Warn
) -> Assignments:
    tokens = thinking.tokens()
    least = _cap(capabilities, "budget_min", 0)
    most = _cap(capabilities, "budget_max", _GEMINI_BUDGET_MAX)
    allowed = tokens if tokens < 0 else max(least, min(tokens, most))
    if allowed != tokens:
        warn("clamped:thinking_budget")
    return _gemini(data, found, thinking, b"%d" % allowed, None)


def _gemini(data: Buffer, found: Object, thinking: Thinking, budget: bytes | None, name: bytes | None) -> Assignments:
    config_key, config = _either(data, found, b"generationConfig", b"generation_config")
    thinking_key, current = _either(data, config, b"thinkingConfig", b"thinking_config")
    setting: dict[bytes, bytes | None] = {
        b"thinkingBudget": budget,
        b"thinkingLevel": name,
        b"thinking_budget": None,
        b"thinking_level": None,
    }
    if thinking.tokens() == 0:
        setting |= {b"includeThoughts": None, b"include_thoughts": None}
    elif current is None or not (current.last_of(b"includeThoughts") or current.last_of(b"include_thoughts")):
        setting[b"includeThoughts"] = b"true"
    return {config_key: {thinking_key: setting}}


def _either(data: Buffer, within: Object | None, key: bytes, other: bytes) -> tuple[bytes, Object | None]:
    """The spelling of a key that the body uses, and the object there."""
    if within is None:
        return key, None
    member = within.last_of(key)
    if member is None and (member := within.last_of(other)) is not None:
        key = other
    if member is None or data[member.start] != OBJECT:
        return key, None
    return key, members(data, member.start)


def _integer(data: Buffer, member: Member | None) -> int | None:
    if member is None or member.end - member.start > 18:
        return None
    text = data[member.start : member.end]
    return int(text) if text.isdigit() else None


def _quoted(name: str | None) -> bytes | None:
    return None if name is None else b'"' + name.encode() + b'"'


def _cap(capabilities: Mapping[str, Any], name: str, default: Any) -> Any:
    return capabilities.get(name, capabilities.get(name.replace("_", "-"), default))
