"""How much a model shall think: efforts, budgets and levels into each other (TRANSLATION 2.6, DESIGN D-48)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from llmux.effort import EFFORTS, LADDER
from llmux.formats.capabilities import Capabilities
from llmux.formats.losses import Losses
from llmux.formats.neutral import Reasoning, Request

DEFAULT = Reasoning()
_LEAST_ANSWER = 1024
_LEAST_BUDGET = 1024
Mode = Literal["default", "off", "auto", "effort", "budget"]


def of_effort(effort: str, show: bool | None = None) -> Reasoning | None:
    """What an effort word asks for; None for a word that nobody knows."""
    word = effort.lower()
    if word == "auto":
        return Reasoning("auto", show=show)
    if word not in LADDER:
        return None
    return Reasoning("off", show=show) if word == "none" else Reasoning("effort", effort=word, show=show)


def of_budget(budget: int, show: bool | None = None) -> Reasoning:
    """What a number of thinking tokens asks for: 0 is off, negative is up to the model."""
    if budget == 0:
        return Reasoning("off", show=show)
    return Reasoning("auto", show=show) if budget < 0 else Reasoning("budget", budget=budget, show=show)


def with_suffix(request: Request, mode: Mode, budget: int | None = None, level: str | None = None) -> Request:
    """`request` with the thinking that a suffix of the model name asks for; `show` stays the client's wish."""
    reasoning = Reasoning(mode, effort=level, budget=budget, show=request.reasoning.show)
    return replace(request, reasoning=reasoning)


def effort_of(budget: int) -> str:
    """The smallest effort that is worth at least `budget` tokens."""
    return next((effort for effort in EFFORTS if LADDER[effort] >= budget), "max")


def nearest_effort(effort: str, levels: Sequence[str]) -> str | None:
    """`effort` if the model has it, else the highest level below it, else the lowest; None without any level.

    `none` is no level to clamp to: it would switch off what the client wants on.
    """
    known = [level for level in EFFORTS if level in levels and level != "none"]
    if effort in known:
        return effort
    below = [level for level in known if EFFORTS.index(level) < EFFORTS.index(effort)]
    return below[-1] if below else known[0] if known else None


def effort(reasoning: Reasoning, caps: Capabilities, losses: Losses) -> str | None:
    """The effort word for a model that takes one of `caps.effort_levels`; None when there is nothing to say.

    Only for the modes `effort` and `budget`. Warns if the level is not the one asked for.
    """
    wanted = reasoning.effort or effort_of(reasoning.budget or 0)
    got = nearest_effort(wanted, caps.effort_levels)
    if got is None:
        losses.warn("dropped:reasoning_effort")
    elif got != wanted:
        losses.warn("clamped:reasoning_effort")
    return got


def effort_or_off(reasoning: Reasoning, caps: Capabilities, losses: Losses) -> str | None:
    """Like `effort`, for the mode `off` too: `none` if the model has it, else its lowest level."""
    if reasoning.mode != "off":
        return effort(reasoning, caps, losses)
    if "none" in caps.effort_levels:
        return "none"
    losses.warn("clamped:reasoning_effort")
    return nearest_effort("none", caps.effort_levels)


def wants_thinking(reasoning: Reasoning) -> bool:
    """Whether the client asked for thinking, however much."""
    return reasoning.mode in ("auto", "effort", "budget")


def asked_budget(reasoning: Reasoning) -> int:
    """The thinking tokens that are asked for, before any clamp; `auto` counts as medium."""
    if reasoning.mode == "budget" and reasoning.budget is not None:
        return reasoning.budget
    return LADDER[reasoning.effort if reasoning.mode == "effort" and reasoning.effort else "medium"]


def anthropic_budget(reasoning: Reasoning, caps: Capabilities, max_tokens: int, losses: Losses) -> int | None:
    """`budget_tokens` that leaves 1024 tokens for the answer, or None (with a warning) when there is no room."""
    if max_tokens < _LEAST_BUDGET + _LEAST_ANSWER:
        losses.warn("dropped:reasoning_effort")
        return None
    asked = asked_budget(reasoning)
    budget = min(asked, max_tokens - _LEAST_ANSWER)
    if caps.budget_max is not None:
        budget = min(budget, caps.budget_max)
    budget = max(_LEAST_BUDGET, caps.budget_min or 0, budget)
    if budget >= max_tokens:
        losses.warn("dropped:reasoning_effort")
        return None
    if budget != asked:
        losses.warn("clamped:thinking_budget")
    return budget


def gemini_budget(reasoning: Reasoning, caps: Capabilities, losses: Losses) -> int:
    """`thinkingBudget` for the modes off (0), auto (-1), effort and budget."""
    if reasoning.mode == "off":
        return 0
    if reasoning.mode == "auto":
        return -1
    asked = asked_budget(reasoning)
    budget = max(asked, caps.budget_min or 0)
    if caps.budget_max is not None:
        budget = min(budget, caps.budget_max)
    if budget != asked:
        losses.warn("clamped:thinking_budget")
    return budget
