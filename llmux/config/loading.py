"""The text of a configuration file into a `Config` (DESIGN 6, SPEC 1)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llmux.config import goproxy
from llmux.config.ampcode import OLDER, ampcode
from llmux.config.credential import client_keys
from llmux.config.document import compose
from llmux.config.endpoint import LOOPBACK, from_host, listen, protected
from llmux.config.model import AmpcodeConfig, Config, Limits, ProviderConfig, Retry, Streaming, Timeouts, UsageConfig
from llmux.config.problem import At, Ledger
from llmux.config.provider import providers
from llmux.config.reader import Fault, Reader, Value, boolean, fields, held, integer, one_or_list, text
from llmux.config.section import (
    capture,
    cooldown,
    cors,
    limits,
    removed_betas,
    routing,
    section,
    streaming,
    timeouts,
    translate,
    usage,
)

PORT = 8317
_SCHEMA: dict[str, Reader[Any]] = {
    "listen": one_or_list(listen),
    "host": text,
    "port": integer(0, 65535),
    "tls": section({"enable": boolean, "cert": text, "key": text}),
    "api-keys": client_keys,
    "providers": held,
    "ampcode": ampcode,
    "timeouts": timeouts,
    "cooldown": cooldown,
    "disable-cooling": boolean,
    "limits": limits,
    "streaming": streaming,
    "routing": routing,
    "request-retry": integer(-1_000_000, 100),
    "max-retry-interval": integer(-1_000_000, 86_400),
    "cors": cors,
    "removed-betas": removed_betas,
    "translate": translate,
    "usage": usage,
    "capture": capture,
    "openai-compatibility": goproxy.compatible,
    "generative-language-api-key": goproxy.bare_keys,
    **{name: goproxy.keys_section(kind) for name, kind in goproxy.SECTIONS.items()},
    **OLDER,
}


def load(source: str, path: str, environ: Mapping[str, str]) -> Config:
    """Read the text of a configuration file; `path` is its name in messages.

    Raises `EmptyConfig` for a file without content and `ConfigError` for the first of its problems (`all` has the
    others). What is odd but harmless is in `warnings`, as `FILE:LINE:COLUMN: key: text`.
    """
    ledger = Ledger(path)
    root = Value(compose(source, path, ledger), "", ledger, environ)
    found = fields(root, _SCHEMA, goproxy.IGNORED)
    addresses = _listen(root, found)
    _check_reach(root, found, addresses)
    config = Config(
        listen=addresses,
        api_keys=found.get("api-keys", ()),
        providers=_providers(root, found),
        ampcode=_ampcode(root, found),
        timeouts=Timeouts(**found.get("timeouts", {})),
        limits=_limits(root, found),
        streaming=Streaming(**found.get("streaming", {})),
        usage=UsageConfig(**found.get("usage", {})),
        capture=found.get("capture"),
        path=path,
        digest=hashlib.sha256(source.encode()).hexdigest()[:12],
        **_settings(found),
    )
    return replace(config, warnings=ledger.settle())


def _listen(root: Value, found: dict[str, Any]) -> tuple[str, ...]:
    """`listen`, or else `host`, `port` and `tls`. Without a `host` it is loopback; a blank one is every interface."""
    split = [name for name in ("host", "port", "tls") if root.has(name)]
    if "listen" in found:
        if split:
            root.ledger.error(root.entry(split[0]).node, split[0], "given beside `listen`, which says the same")
        return tuple(found["listen"])
    if not split:
        return Config().listen
    tls = found.get("tls", {})
    files = (tls.get("cert", ""), tls.get("key", "")) if tls.get("enable") else None
    if files is not None and not all(files):
        root.ledger.error(root.entry("tls").node, "tls", "enabled without a cert and a key file")
    return (from_host(found.get("host", LOOPBACK), found.get("port", PORT), files),)


def _check_reach(root: Value, found: dict[str, Any], addresses: tuple[str, ...]) -> None:
    """An open daemon stays on this machine (DESIGN D-54)."""
    unread = root.has("api-keys") and "api-keys" not in found
    if found.get("api-keys") or unread or all(protected(address) for address in addresses):
        return
    key = next((name for name in ("listen", "host", "port") if root.has(name)), "listen")
    at = root.entry(key).node if root.has(key) else root.node
    root.ledger.error(at, key, "reachable from other machines without api-keys; add some or listen on 127.0.0.1")


def _ampcode(root: Value, found: dict[str, Any]) -> AmpcodeConfig:
    """The section, and the older flat keys where it is silent."""
    given: dict[str, Any] = dict(found.get("ampcode", {}))
    for older in OLDER:
        if older not in found:
            continue
        key = older.removeprefix("amp-")
        if root.has("ampcode") and root.entry("ampcode").has(key):
            root.entry(older).warn(f"ampcode.{key} is given as well and holds")
        else:
            given[key.replace("-", "_")] = found[older]
    return AmpcodeConfig(**given)


def _providers(root: Value, found: dict[str, Any]) -> tuple[ProviderConfig, ...]:
    """Providers of every section; those that the file names must have names of their own."""
    named: list[ProviderConfig] = []
    if "providers" in found:
        try:
            named += providers(found["providers"], Timeouts(**found.get("timeouts", {})))
        except Fault as fault:
            root.refuse(fault)
    named += found.get("openai-compatibility", ())
    lines: dict[str, int] = {}
    for entry in named:
        if entry.name and entry.name in lines:
            at = At(entry.line)
            root.ledger.error(
                at, "providers", f"two providers have the same name, the first in line {lines[entry.name]}"
            )
        lines.setdefault(entry.name, entry.line)
    nameless = (*goproxy.SECTIONS, "generative-language-api-key")
    others = [entry for section_name in nameless for entry in found.get(section_name, ())]
    return (*named, *goproxy.with_names(others, set(lines)))


def _limits(root: Value, found: dict[str, Any]) -> Limits:
    bounds = Limits(**found.get("limits", {}))
    if bounds.buffered < bounds.body:
        root.ledger.error(root.entry("limits").node, "limits.buffered", "must not be below limits.body")
    return bounds


def _settings(found: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Config` that are single values; those the file does not give are absent."""
    given: dict[str, Any] = dict(found.get("routing", {}))
    retry = {}
    if "request-retry" in found:
        retry["rounds"] = max(found["request-retry"], 0)
    if "max-retry-interval" in found:
        retry["max_interval"] = float(max(found["max-retry-interval"], 0))
    given["retry"] = Retry(**retry)
    if "max" in found.get("cooldown", {}):
        given["cooldown_max"] = found["cooldown"]["max"]
    elif found.get("disable-cooling"):
        given["cooldown_max"] = 0.0
    if "origins" in found.get("cors", {}):
        given["cors_origins"] = found["cors"]["origins"]
    if "removed-betas" in found:
        given["removed_betas"] = found["removed-betas"]
    for key, value in found.get("translate", {}).items():
        given["translate_" + key.replace("-", "_")] = value
    return given
