"""The sections of a CLIProxyAPI file that name credentials, read unchanged (DESIGN D-47).

That program keeps one entry per key. Entries that differ in nothing but the key become one provider with several keys.
Client-side model prefixes become aliases.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from llmux.config.credential import secret, secrets
from llmux.config.document import Mapping, Scalar
from llmux.config.model import ModelEntry, ProviderConfig
from llmux.config.provider import DEFAULT_URL, PRIORITY, WEIGHT, name
from llmux.config.reader import Fault, Reader, Value, boolean, each, fields, filled, list_of, missing, text
from llmux.config.secret import Secret
from llmux.config.url import headers, url_or_blank

USELESS = "llmux has no use for this key; ignored"


@dataclass(frozen=True, slots=True)
class Section:
    """What a `*-api-key` section stands for: names of its providers, their kind, address and models by default."""

    name: str
    kind: str
    base_url: str
    models: tuple[ModelEntry, ...] = ()


SECTIONS = {
    "claude-api-key": Section("claude", "anthropic", DEFAULT_URL["anthropic"]),
    "codex-api-key": Section("codex", "openai-responses", DEFAULT_URL["openai-responses"]),
    "gemini-api-key": Section("gemini", "gemini", DEFAULT_URL["gemini"]),
    "xai-api-key": Section("xai", "openai-responses", "https://api.x.ai/v1", (ModelEntry("grok-*"),)),
}

_USELESS_IN_ENTRY = dict.fromkeys(
    (
        "alpha-search",
        "auth-index",
        "cloak",
        "disable-cooling",
        "experimental-cch-signing",
        "fingerprint-profile",
        "proxy-url",
        "rebuild-mid-system-message",
        "request-retry",
        "request-scoped-errors",
        "support-prompt-cache-key",
        "websockets",
    ),
    USELESS,
)
_USELESS_IN_MODEL = dict.fromkeys(
    (
        "display-name",
        "force-mapping",
        "fork",
        "image",
        "input-modalities",
        "is-compat",
        "max-context-length",
        "output-modalities",
        "thinking",
    ),
    USELESS,
)


def keys_section(section: Section) -> Reader[list[ProviderConfig]]:
    """A `claude-api-key`-like list: entries of `{api-key, base-url, headers, models, prefix, ...}`."""

    def entry(value: Value) -> ProviderConfig:
        found = fields(value, {**_SHARED, "api-key": secret, "excluded-models": list_of(filled)}, _USELESS_IN_ENTRY)
        key = found.get("api-key")
        if value.has("api-key") and key is None and value.entry("api-key").blank:
            value.entry("api-key").warn("is blank; left out")
        return ProviderConfig(
            name=section.name,
            kind=section.kind,
            base_url=found.get("base-url") or section.base_url,
            api_keys=(key,) if key is not None else (),
            models=_models(value, found) or section.models,
            excluded_models=found.get("excluded-models", ()),
            **_common(value, found),
        )

    return lambda value: _join(entry for _, entry in each(value, entry))


def compatible(value: Value) -> list[ProviderConfig]:
    """The `openai-compatibility` list; like its author program it serves nothing of an entry without models."""
    return [found for _, found in each(value, _compatible) if found is not None]


def _compatible(value: Value) -> ProviderConfig | None:
    schema = {**_SHARED, "name": name, "api-keys": secrets, "api-key-entries": list_of(_key_entry)}
    found = fields(value, schema, _USELESS_IN_ENTRY)
    models = _models(value, found)
    if missing(value, "name") or "name" not in found:
        return None
    if not found.get("base-url") or not models:
        value.warn("has no base-url or no models, so it serves nothing; left out")
        return None
    keys: Iterable[Secret | None] = (*found.get("api-key-entries", ()), *found.get("api-keys", ()))
    return ProviderConfig(
        name=found["name"],
        kind="openai",
        base_url=found["base-url"],
        api_keys=tuple(dict.fromkeys(key for key in keys if key is not None)),
        models=models,
        **_common(value, found),
    )


def bare_keys(value: Value) -> list[ProviderConfig]:
    """The old `generative-language-api-key` list of plain keys."""
    section = SECTIONS["gemini-api-key"]
    keys = secrets(value)
    return [ProviderConfig(section.name, section.kind, section.base_url, keys, line=value.node.line)] if keys else []


def with_names(found: Iterable[ProviderConfig], taken: set[str]) -> list[ProviderConfig]:
    """Give providers of nameless sections names that are free: `claude`, `claude-2`, ..."""
    named = []
    for entry in found:
        free, count = entry.name, 1
        while free in taken:
            count += 1
            free = f"{entry.name}-{count}"
        taken.add(free)
        named.append(replace(entry, name=free))
    return named


def _join(found: Iterable[ProviderConfig]) -> list[ProviderConfig]:
    joined: list[ProviderConfig] = []
    for entry in found:
        twin = next((at for at, other in enumerate(joined) if replace(other, api_keys=entry.api_keys) == entry), None)
        if twin is None:
            joined.append(entry)
        else:
            keys = dict.fromkeys((*joined[twin].api_keys, *entry.api_keys))
            joined[twin] = replace(joined[twin], api_keys=tuple(keys))
    return joined


def _common(value: Value, found: dict[str, Any]) -> dict[str, Any]:
    return {
        "priority": found.get("priority", 0),
        "weight": max(found.get("weight", 1), 0),
        "headers": found.get("headers", ()),
        "enabled": not found.get("disabled", False),
        "line": value.node.line,
    }


def _models(value: Value, found: dict[str, Any]) -> tuple[ModelEntry, ...]:
    """The models of an entry, and with a `prefix` each of them under `prefix/name` as well."""
    models: tuple[ModelEntry, ...] = found.get("models", ())
    prefix = found.get("prefix", "").strip("/")
    if not prefix:
        return models
    if not models or any("*" in entry.name for entry in models):
        value.entry("prefix").warn("holds for models that are listed by name; others have no prefix")
    prefixed = [
        ModelEntry(entry.name, f"{prefix}/{entry.alias or entry.name}") for entry in models if "*" not in entry.name
    ]
    return (*models, *prefixed)


def _model(value: Value) -> ModelEntry:
    if isinstance(value.node, Scalar):
        return ModelEntry(filled(value))
    found = fields(value, {"name": filled, "alias": text}, _USELESS_IN_MODEL)
    missing(value, "name")
    return ModelEntry(found.get("name", ""), found.get("alias") or None)


def _key_entry(value: Value) -> Secret | None:
    found = fields(value, {"api-key": secret}, {"proxy-url": USELESS, "weight": USELESS, "auth-index": USELESS})
    return found.get("api-key")


def _headers(value: Value) -> tuple[tuple[str, str], ...]:
    """Headers as written, but without values such as `$ABC`, which stand for a header of the client there."""
    if not isinstance(value.node, Mapping):
        raise Fault(value, "expected header names with values")
    found = headers(value)
    copied = {at for at, _ in found if value.has(at) and _copies(value.entry(at))}
    for at in copied:
        value.entry(at).warn("copying a header of the client is not supported; left out")
    return tuple((at, written) for at, written in found if at not in copied)


def _copies(value: Value) -> bool:
    node = value.node
    return isinstance(node, Scalar) and node.text.startswith("$") and not node.text.startswith("${")


_SHARED: dict[str, Reader[Any]] = {
    "base-url": url_or_blank,
    "prefix": text,
    "models": list_of(_model),
    "headers": _headers,
    "priority": PRIORITY,
    "weight": WEIGHT,
    "disabled": boolean,
}

IGNORED = dict.fromkeys(
    (
        "allow-localhost-unauthenticated",
        "antigravity",
        "antigravity-signature-bypass-strict",
        "antigravity-signature-cache-enabled",
        "auth-auto-refresh-workers",
        "auth-dir",
        "claude-code",
        "claude-header-defaults",
        "codex",
        "codex-header-defaults",
        "codex-instructions-enabled",
        "commercial-mode",
        "credential-concurrency",
        "credential-in-flight",
        "debug",
        "disable-claude-cloak-mode",
        "disable-image-generation",
        "error-logs-max-files",
        "force-model-prefix",
        "gpt-image-2-base-model",
        "incognito-browser",
        "interactions-api-key",
        "logging-to-file",
        "logs-max-total-size-mb",
        "max-retry-credentials",
        "nonstream-keepalive-interval",
        "oauth-excluded-models",
        "oauth-model-alias",
        "oauth-model-mappings",
        "oauth-request-scoped-errors",
        "passthrough-headers",
        "payload",
        "plugins",
        "pprof",
        "proxy-url",
        "quota-exceeded",
        "redis-usage-queue-retention-seconds",
        "remote-management",
        "request-log",
        "save-cooldown-status",
        "transient-error-cooldown-seconds",
        "usage-statistics-enabled",
        "vertex-api-key",
        "video-result-auth-cache-ttl",
        "ws-auth",
        "xai",
    ),
    USELESS,
)
"""Top-level keys of that file that concern what llmux has not."""
