"""Which keys differ between two generations of the configuration (SPEC R-HR-1, R-HR-9)."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from llmux.config.model import AmpcodeConfig, Config, Limits, Retry, Streaming, Timeouts, UsageConfig

_NOT_CONFIGURED = {"path", "digest", "warnings", "line", "name"}
_KEYS = {
    "hold_ms": "hold",
    "strategy": "routing.strategy",
    "session_affinity": "routing.session-affinity",
    "cooldown_max": "cooldown.max",
    "cors_origins": "cors.origins",
    "translate_strict": "translate.strict",
    "translate_reasoning_content": "translate.reasoning-content",
    "translate_extra_content": "translate.extra-content",
    "retry.rounds": "request-retry",
    "retry.max-interval": "max-retry-interval",
}
_SECTIONS = (AmpcodeConfig, Limits, Retry, Streaming, Timeouts, UsageConfig)


def changes(old: Config, new: Config) -> tuple[str, ...]:
    """Dotted names of the keys that differ, sorted, never their values. Line numbers and comments are no difference.

    A provider's are `providers.NAME.KEY`; one that came or went is `providers.NAME`; `providers` alone is their order.
    """
    found = _differing(old, new, "")
    before = {entry.name: entry for entry in old.providers}
    after = {entry.name: entry for entry in new.providers}
    for name in before.keys() ^ after.keys():
        found.add(f"providers.{name}")
    kept = [name for name in before if name in after]
    for name in kept:
        found |= _differing(before[name], after[name], f"providers.{name}.")
    if kept != [name for name in after if name in before]:
        found.add("providers")
    return tuple(sorted(found))


def _differing(old: Any, new: Any, prefix: str) -> set[str]:
    """The names of the fields of two values of one kind that differ, sections taken apart."""
    found: set[str] = set()
    for item in fields(old):
        if item.name in _NOT_CONFIGURED or (item.name == "providers" and not prefix):
            continue
        before, after = getattr(old, item.name), getattr(new, item.name)
        key = prefix + _KEYS.get(item.name, item.name.replace("_", "-"))
        if isinstance(before, _SECTIONS) and type(before) is type(after):
            found |= _differing(before, after, key + ".")
        elif before != after:
            found.add(_KEYS.get(key, key))
    return {_KEYS.get(key, key) for key in found}
