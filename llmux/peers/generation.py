"""One configuration made operational, and what outlives it; a request keeps the generation that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass

from llmux.config.model import Config, ProviderConfig, Timeouts
from llmux.peers.capture import Captures
from llmux.peers.credentials import Credentials
from llmux.peers.credits import DailyCredits
from llmux.peers.ledger import Ledger
from llmux.peers.secrets import UpstreamKeys
from llmux.peers.upstream import Upstream
from llmux.peers.vault import Vault
from llmux.routing.directory import Directory
from llmux.routing.mapping import ModelMapper
from llmux.routing.router import Router
from llmux.wire.origin import Origin
from llmux.wire.outgoing import Clocks


@dataclass(frozen=True, slots=True)
class Lasting:
    """What a reload leaves alone: cooldowns, credits, upstream keys from a file, kept thinking, captures, usage."""

    credentials: Credentials
    credits: DailyCredits
    upstream_keys: UpstreamKeys
    vault: Vault
    captures: Captures
    ledger: Ledger | None = None


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider with its address resolved to an origin; `base_path` is what its URL puts before every path."""

    config: ProviderConfig
    origin: Origin
    base_path: bytes
    clocks: Clocks


@dataclass(frozen=True, slots=True)
class Generation:
    """Everything that one configuration decides; `number` counts reloads from 1."""

    number: int
    config: Config
    directory: Directory
    router: Router
    providers: Mapping[str, Provider]
    upstream: Upstream | None
    warnings: tuple[str, ...]


def clocks(timeouts: Timeouts) -> Clocks:
    """The client side of `timeouts`."""
    return Clocks(
        connect=timeouts.connect,
        tls=timeouts.tls,
        first_byte=timeouts.first_byte,
        idle=timeouts.idle,
        total=timeouts.total,
    )


def build(config: Config, number: int, lasting: Lasting) -> Generation:
    """Put a configuration in force; raises ValueError for a URL that cannot be used, and then nothing has changed."""
    providers = {}
    for provider in config.providers:
        if provider.kind == "demo":
            origin, base_path = Origin("http", "demo.invalid", 80), b""
        else:
            origin, base_path = Origin.parse(provider.base_url)
        providers[provider.name] = Provider(provider, origin, base_path, clocks(provider.timeouts or config.timeouts))
    amp = config.ampcode
    address = Origin.parse(amp.upstream_url) if amp.upstream_url else None
    lasting.vault.configure(config.providers)
    if lasting.ledger is not None:
        lasting.ledger.configure(config.usage)
    lasting.credentials.configure(config.providers, config.strategy, config.cooldown_max)
    key = amp.upstream_api_key.reveal() if amp.upstream_api_key else None
    lasting.upstream_keys.configure(key, amp.upstream_api_keys)
    upstream = None
    if address is not None:
        # A copy: a request that began before a reload must not take the new key to the old address (SPEC 17).
        upstream = Upstream(*address, copy(lasting.upstream_keys), clocks(config.timeouts))
    directory = Directory(config.providers, cooling=lasting.credentials.cooling)
    mapper = ModelMapper(amp.model_mappings, directory.provider_names)
    limit = amp.credits.daily_requests
    router = Router(
        directory,
        mapper,
        upstream is not None,
        amp.credits,
        config.path,
        lambda: lasting.credits.left(limit),
    )
    warnings = (*config.warnings, *directory.warnings, *mapper.warnings)
    return Generation(number, config, directory, router, providers, upstream, warnings)
