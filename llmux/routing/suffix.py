"""The thinking suffix of a model name, `name(value)`, and the ladder between levels and token budgets (SPEC 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from llmux.effort import EFFORTS, LADDER

LEVELS = EFFORTS[1:]
AUTOMATIC = -1
LARGEST_BUDGET = 2**63 - 1

_DIGITS_OF_LARGEST = 19


class ModelName(NamedTuple):
    """A model name taken apart: `base`, whether parentheses follow it, and the text between them as written."""

    base: str
    has_suffix: bool = False
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Thinking:
    """What a suffix asks for; `budget` is in tokens (0 off, -1 automatic), `level` is in lower case."""

    mode: Literal["budget", "level", "none", "auto", "unknown"]
    budget: int | None = None
    level: str | None = None


_OFF = Thinking("none", budget=0)
_AUTO = Thinking("auto", budget=AUTOMATIC)
_UNKNOWN = Thinking("unknown")
_WORDS: Mapping[str, Thinking] = {
    "none": _OFF,
    "auto": _AUTO,
    "-1": _AUTO,
    **{level: Thinking("level", level=level) for level in LEVELS},
}


def parse(model: str) -> ModelName:
    """Split a name into base and suffix; only the last group counts (SPEC R-SF-1, R-SF-2)."""
    if not model.endswith(")"):
        return ModelName(model)
    opening = model.rfind("(")
    # A group that closes twice, as in `x((high))`, shows as a second `)` behind the last `(`.
    if opening <= 0 or model.find(")", opening) != len(model) - 1:
        return ModelName(model)
    return ModelName(model[:opening], True, model[opening + 1 : -1])


def interpret(raw: str) -> Thinking:
    """Say what the text between the parentheses means; letters ignore case, nothing is trimmed (SPEC R-SF-3)."""
    if not raw.isascii():
        return _UNKNOWN
    known = _WORDS.get(raw.lower())
    if known is not None:
        return known
    if not raw.isdigit():
        return _UNKNOWN
    digits = raw.lstrip("0")
    if not digits:
        return _OFF
    # The length is looked at first: int() refuses texts of some thousand digits with an exception.
    if len(digits) > _DIGITS_OF_LARGEST or int(digits) > LARGEST_BUDGET:
        return _UNKNOWN
    return Thinking("budget", budget=int(digits))


def carry(requested: str, target: str) -> str:
    """Give `target` the suffix of `requested` unless it has one of its own (SPEC R-SF-4).

    Empty parentheses count as no suffix on either side and are dropped, unknown values are carried as they stand.
    """
    if not (target.endswith(")") or requested.endswith(")")):
        return target
    name = parse(target)
    while name.has_suffix and not name.raw:
        target = name.base
        name = parse(target)
    if name.has_suffix:
        return target
    raw = parse(requested).raw
    return f"{target}({raw})" if raw else target


def level_to_budget(level: str, budget_max: int | None = None) -> int | None:
    """Tokens for a level, `none` or `auto`, at most `budget_max`; None for any other word (SPEC R-SF-5, D-48)."""
    word = level.lower()
    if word == "auto":
        return AUTOMATIC
    budget = LADDER.get(word)
    if budget is None or budget_max is None:
        return budget
    return min(budget, budget_max)


def budget_to_level(budget: int) -> str | None:
    """The level for a budget in tokens: the smallest that covers it, `xhigh` above all (SPEC R-SF-5).

    -1 is `auto`; a budget below -1 has no level.
    """
    if budget < AUTOMATIC:
        return None
    if budget == AUTOMATIC:
        return "auto"
    for level in ("none", "minimal", "low", "medium", "high"):
        if budget <= LADDER[level]:
            return level
    return "xhigh"
