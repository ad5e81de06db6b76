"""The configuration as the rest of the program sees it: frozen values, no YAML (DESIGN 6, SPEC 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from llmux.config.secret import Secret

MIB = 1024 * 1024
KINDS = ("anthropic", "openai", "openai-responses", "gemini", "demo")
FORMATS = ("anthropic", "chat", "responses", "gemini")


def _no_capabilities() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One entry of a provider's `models`: a name or `*` pattern, and the alias clients may ask for instead."""

    name: str
    alias: str | None = None
    capabilities: Mapping[str, Any] = field(default_factory=_no_capabilities)


@dataclass(frozen=True, slots=True)
class ProviderConfig:
    """One model service with its credentials.

    `models` empty means the default patterns of the kind (DESIGN D-13). `protocols` None means every format that the
    provider can serve. `headers` are extra request headers, sent as written.
    """

    name: str
    kind: str
    base_url: str
    api_keys: tuple[Secret, ...] = ()
    models: tuple[ModelEntry, ...] = ()
    excluded_models: tuple[str, ...] = ()
    priority: int = 0
    protocols: tuple[str, ...] | None = None
    capabilities: Mapping[str, Any] = field(default_factory=_no_capabilities)
    headers: tuple[tuple[str, str], ...] = ()
    enabled: bool = True
    weight: int = 1
    timeouts: Timeouts | None = None
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a mapping rule leads: a model, optionally pinned to a provider (SPEC R-MP-9)."""

    model: str
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class MappingRule:
    """One `ampcode.model-mappings` entry as written; `routing` decides which rules are usable (SPEC R-MP-1)."""

    source: str
    targets: tuple[Target, ...]
    regex: bool = False
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class CreditsPolicy:
    """Whether the paid upstream may answer model requests (DESIGN D-46).

    `allow` None permits every model; a tuple of `*` patterns permits those that match; `()` permits none.
    `line` is where the file says so, 0 when it does not. `passthrough` False also stops actor and WebSocket traffic;
    `denial` is then the key that says so and its line.
    """

    allow: tuple[str, ...] | None = None
    daily_requests: int | None = None
    passthrough: bool = True
    line: int = field(default=0, compare=False)
    denial: tuple[str, int] = field(default=("", 0), compare=False)

    @property
    def limited(self) -> bool:
        """Whether there are models or numbers of requests that the upstream may not be paid for."""
        return self.allow is not None or self.daily_requests is not None


@dataclass(frozen=True, slots=True)
class ClientUpstreamKey:
    """An upstream key that is used for some client keys (SPEC R-SC-4)."""

    upstream_api_key: Secret
    api_keys: tuple[Secret, ...]


@dataclass(frozen=True, slots=True)
class AmpcodeConfig:
    """The upstream that costs credits, and everything that belongs to it."""

    upstream_url: str | None = None
    upstream_api_key: Secret | None = None
    upstream_api_keys: tuple[ClientUpstreamKey, ...] = ()
    restrict_management_to_localhost: bool | None = None  # None: on for an open daemon, off with api-keys (D-16)
    force_model_mappings: bool = False
    model_mappings: tuple[MappingRule, ...] = ()
    credits: CreditsPolicy = CreditsPolicy()
    strip_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds; 0 switches `total` off and is refused for the others."""

    header: float = 10.0
    connect: float = 10.0
    tls: float = 10.0
    first_byte: float = 600.0
    idle: float = 300.0
    send: float = 60.0
    keep_alive: float = 75.0
    drain: float = 30.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what peers can make the daemon hold; sizes in bytes, the rest counts."""

    body: int = 64 * MIB
    buffered: int = 512 * MIB
    response: int = 32 * MIB
    header_bytes: int = 32 * 1024
    header_fields: int = 200
    target: int = 12 * 1024
    connections: int = 20000
    connections_per_address: int = 20000
    tunnels: int = 5000


@dataclass(frozen=True, slots=True)
class Streaming:
    """`keepalive` seconds of silence before the client gets a sign of life; `hold` ms and bytes before commit."""

    keepalive: float = 15.0
    hold_ms: int = 2000
    hold_bytes: int = 256 * 1024


@dataclass(frozen=True, slots=True)
class Retry:
    """How often the whole candidate list is tried again, and the longest pause between rounds in seconds."""

    rounds: int = 0
    max_interval: float = 30.0


@dataclass(frozen=True, slots=True)
class UsageConfig:
    """Whether a ledger of tokens and requests is kept, for how many days, and the file with the user's own prices."""

    enabled: bool = True
    retention_days: int = 400
    prices: str | None = None


@dataclass(frozen=True, slots=True)
class CaptureConfig:
    """Where chosen requests are written down, at most how many bytes of them together, and for which models."""

    directory: str
    max_size: int = 256 * MIB
    models: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class Config:
    """One generation of the configuration; `digest` identifies its text, `warnings` are for people."""

    listen: tuple[str, ...] = ("tcp:8317:interface=127.0.0.1",)
    api_keys: tuple[Secret, ...] = ()
    providers: tuple[ProviderConfig, ...] = ()
    ampcode: AmpcodeConfig = AmpcodeConfig()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    streaming: Streaming = Streaming()
    retry: Retry = Retry()
    usage: UsageConfig = UsageConfig()
    capture: CaptureConfig | None = None
    strategy: str = "round-robin"
    session_affinity: bool = True
    cooldown_max: float = 3600.0
    cors_origins: tuple[str, ...] = ()
    removed_betas: tuple[str, ...] = ("context-1m-2025-08-07",)
    translate_strict: bool = False
    translate_reasoning_content: bool = True
    translate_extra_content: bool = True
    path: str | None = None
    digest: str = ""
    warnings: tuple[str, ...] = field(default=(), compare=False)
