"""What an upstream model understands: defaults per format, changed by the configuration (TRANSLATION 2.5)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from typing import Any

from llmux.effort import EFFORTS
from llmux.formats.neutral import Format

THINKING = ("none", "budget", "adaptive", "effort", "level")
_NO_SAMPLING_SINCE = "2026-10-21"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """One model's abilities. Budgets and `max_output` are in tokens, None means no known limit.

    `modalities`: what it can answer with besides text (audio, image). `reasoning_content`: whether a Chat server wants
    earlier thoughts back in that member. `max_tokens_field` is the Chat server's word for the limit.
    """

    thinking: str = "effort"
    effort_levels: tuple[str, ...] = EFFORTS
    budget_min: int | None = None
    budget_max: int | None = None
    max_output: int | None = None
    sampling: str = "both"
    api_version: str = ""
    mid_system: bool = True
    prefill: bool = True
    developer_role: bool = False
    web_search: bool = False
    function_media: bool = False
    remote_media: bool = False
    custom_tools: bool = False
    top_k: bool = False
    content_lists: bool = False
    schema_dialect: str = "json"
    signature_required: bool = False
    max_tokens_field: str = "max_completion_tokens"
    modalities: tuple[str, ...] = ()
    reasoning_content: bool = False


_DEFAULTS: dict[Format, Capabilities] = {
    "anthropic": Capabilities(
        thinking="budget",
        effort_levels=("low", "medium", "high", "xhigh", "max"),
        budget_min=1024,
        sampling="one",
        api_version="2023-06-01",
        mid_system=False,
        remote_media=True,
    ),
    "chat": Capabilities(content_lists=True),
    "responses": Capabilities(developer_role=True, remote_media=True, custom_tools=True),
    "gemini": Capabilities(
        thinking="budget",
        effort_levels=("minimal", "low", "medium", "high", "xhigh"),
        budget_min=0,
        budget_max=32768,
        api_version="v1beta",
        mid_system=False,
    ),
}
_NAMES = frozenset(field.name for field in fields(Capabilities))
_SIGNS_CALLS = re.compile(r"gemini-(?:[3-9]|\d\d)")


def default_capabilities(target: Format, model: str = "") -> Capabilities:
    """What is assumed of a model that the configuration says nothing about."""
    default = _DEFAULTS[target]
    if target == "gemini" and _SIGNS_CALLS.search(model):
        return replace(default, signature_required=True)
    return default


def merge(base: Capabilities, overrides: Mapping[str, Any]) -> Capabilities:
    """`base` with the members of `overrides` (kebab or snake case) in place; unknown names are ignored.

    `api-version: 2026-10-21` and later imply `sampling: none` unless `overrides` says otherwise.
    """
    changes = {key.replace("-", "_"): value for key, value in overrides.items()}
    changes = {key: value for key, value in changes.items() if key in _NAMES}
    for key in ("effort_levels", "modalities"):
        if key in changes:
            changes[key] = tuple(changes[key])
    merged = replace(base, **changes)
    version = merged.api_version
    if "sampling" not in changes and version[:2] == "20" and version >= _NO_SAMPLING_SINCE:
        return replace(merged, sampling="none")
    return merged


def capabilities(
    target: Format,
    model: str,
    provider: Mapping[str, Any] | None = None,
    models: Iterable[tuple[str, Mapping[str, Any]]] = (),
) -> Capabilities:
    """The abilities of `model`: defaults, then the provider's, then those of each `*` pattern of `models` it matches.

    The last matching pattern wins; letter case does not matter.
    """
    merged = merge(default_capabilities(target, model), provider or {})
    for pattern, overrides in models:
        if overrides and fnmatchcase(model.lower(), pattern.lower().replace("[", "[[]")):
            merged = merge(merged, overrides)
    return merged
