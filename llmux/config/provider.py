"""Readers for `providers`: who serves which models, with what credentials (DESIGN 6, TRANSLATION 2.5)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from llmux.config.credential import secrets
from llmux.config.document import Scalar
from llmux.config.model import FORMATS, KINDS, ModelEntry, ProviderConfig, Timeouts
from llmux.config.reader import (
    Fault,
    Reader,
    Value,
    boolean,
    each,
    fields,
    filled,
    integer,
    list_of,
    missing,
    one_of,
)
from llmux.config.section import provider_timeouts
from llmux.config.url import headers, url

DEFAULT_URL: Mapping[str, str] = {
    "anthropic": "https://api.anthropic.com",
    "openai": "https://api.openai.com/v1",
    "openai-responses": "https://api.openai.com/v1",
    "gemini": "https://generativelanguage.googleapis.com",
    "demo": "",
}
DEMO_MODELS = (ModelEntry("demo"), ModelEntry("demo-*"))
PRIORITY = integer(-1_000_000, 1_000_000)
WEIGHT = integer(-1_000_000, 1_000_000)

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._/@+-]{0,62}[A-Za-z0-9._/@+-])?")
_TOKENS = integer(0, 1_000_000_000)
_CAPABILITIES: Mapping[str, Reader[Any]] = {
    "thinking": one_of(("none", "budget", "adaptive", "effort", "level")),
    "effort-levels": list_of(one_of(("none", "minimal", "low", "medium", "high", "xhigh", "max"))),
    "budget-min": _TOKENS,
    "budget-max": _TOKENS,
    "max-output": integer(1, 1_000_000_000),
    "sampling": one_of(("both", "one", "none")),
    "api-version": filled,
    "mid-system": boolean,
    "prefill": boolean,
    "developer-role": boolean,
    "web-search": boolean,
    "function-media": boolean,
    "remote-media": boolean,
    "custom-tools": boolean,
    "top-k": boolean,
    "content-lists": boolean,
    "schema-dialect": one_of(("json", "openapi")),
    "signature-required": boolean,
    "max-tokens-field": one_of(("max_completion_tokens", "max_tokens")),
    "modalities": list_of(one_of(("audio", "image"))),
    "reasoning-content": boolean,
}
_CAPABILITY_SCHEMA = {**{name.replace("-", "_"): reader for name, reader in _CAPABILITIES.items()}, **_CAPABILITIES}


def capabilities(value: Value) -> Mapping[str, Any]:
    """What a model can do, by the names of TRANSLATION 2.5 (`budget_max`); `budget-max` is understood as well."""
    found: dict[str, Any] = {}
    for name, item in fields(value, _CAPABILITY_SCHEMA).items():
        if name.replace("-", "_") in found:
            raise Fault(value, "one capability is given in both spellings")
        found[name.replace("-", "_")] = item
    if found.get("budget_min", 0) > found.get("budget_max", 1_000_000_000):
        raise Fault(value, "budget-min is above budget-max")
    return MappingProxyType(found)


def name(value: Value) -> str:
    """A provider's name, which appears in logs, metrics and pins such as `model:provider`."""
    found = filled(value)
    if not _NAME.fullmatch(found):
        raise Fault(value, "a name has at most 64 letters, digits, spaces and . _ - / @ +")
    return found


def model(value: Value) -> ModelEntry:
    """A name or pattern, alone or as `{name, alias, capabilities}`."""
    if isinstance(value.node, Scalar):
        return ModelEntry(filled(value))
    found = fields(value, {"name": filled, "alias": filled, "capabilities": capabilities})
    if missing(value, "name") or "name" not in found:
        return ModelEntry("")
    if "alias" in found and "*" in found["name"]:
        raise Fault(value, "a pattern cannot have an alias")
    return ModelEntry(**found)


def provider(value: Value, base: Timeouts) -> ProviderConfig:
    """One entry of `providers`; timeouts that it does not give are those of the daemon, `base`."""
    found = fields(
        value,
        {
            "name": name,
            "kind": one_of(KINDS),
            "base-url": url,
            "api-keys": secrets,
            "models": list_of(model),
            "excluded-models": list_of(filled),
            "priority": PRIORITY,
            "protocols": list_of(one_of(FORMATS), least=1),
            "capabilities": capabilities,
            "headers": headers,
            "enabled": boolean,
            "weight": WEIGHT,
            "timeouts": provider_timeouts,
        },
    )
    missing(value, "name", "kind")
    kind = found.get("kind", "demo")
    models: tuple[ModelEntry, ...] = found.get("models", ())
    return ProviderConfig(
        name=found.get("name", ""),
        kind=kind,
        base_url=found.get("base-url", DEFAULT_URL[kind]),
        api_keys=found.get("api-keys", ()),
        models=models or (DEMO_MODELS if kind == "demo" else ()),
        excluded_models=found.get("excluded-models", ()),
        priority=found.get("priority", 0),
        protocols=tuple(dict.fromkeys(found["protocols"])) if "protocols" in found else None,
        capabilities=found.get("capabilities", MappingProxyType({})),
        headers=found.get("headers", ()),
        enabled=found.get("enabled", True),
        weight=max(found.get("weight", 1), 0),
        timeouts=replace(base, **found["timeouts"]) if found.get("timeouts") else None,
        line=value.node.line,
    )


def providers(value: Value, base: Timeouts) -> tuple[ProviderConfig, ...]:
    """All entries in file order."""
    return tuple(entry for _, entry in each(value, lambda item: provider(item, base)))
