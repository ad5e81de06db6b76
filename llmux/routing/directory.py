"""Which providers serve which models (SPEC R-DC-3, R-DC-4; DESIGN D-13, D-28)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from llmux.config.model import ModelEntry, ProviderConfig
from llmux.routing.decision import Candidate
from llmux.routing.wildcard import is_pattern, matches, matches_any

PROTOCOLS = ("anthropic", "chat", "completions", "responses", "gemini")
TRANSLATED = frozenset({"anthropic", "chat", "responses", "gemini"})
NATIVE: Mapping[str, frozenset[str]] = {
    "anthropic": frozenset({"anthropic"}),
    "openai": frozenset({"chat", "completions"}),
    "openai-responses": frozenset({"responses"}),
    "gemini": frozenset({"gemini"}),
    "demo": frozenset(PROTOCOLS),
}
_OPENAI_MODELS = ("gpt-*", *(f"o{number}*" for number in range(1, 10)), "chatgpt-*", "codex-*")
DEFAULT_MODELS: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("claude-*",),
    "openai": _OPENAI_MODELS,
    "openai-responses": _OPENAI_MODELS,
    "gemini": ("gemini-*", "gemma-*"),
    "demo": ("demo", "demo-*"),
}
"""What a provider serves that has no `models` list, by kind."""

_CREDENTIAL_HEADERS = frozenset({"authorization", "x-api-key", "x-goog-api-key"})
_REMEMBERED = 4096
_LONGEST_REMEMBERED = 256

Cooling = Callable[[str, str], bool]
"""Says whether a provider (by name) is cooling down for a model (by the provider's own name)."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A name that can be asked for, and the providers that serve it in the order in which they are tried."""

    name: str
    providers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProviderState:
    """What an explanation says about one provider: `outcome` begins with `serves` when it is a candidate."""

    provider: str
    outcome: str


class _Provider:
    """One provider's list, taken apart for lookup."""

    def __init__(self, config: ProviderConfig, translate: bool) -> None:
        self.name = config.name
        self.priority = config.priority
        self.unusable = unusable(config)
        self.native = NATIVE.get(config.kind, frozenset())
        self.formats = self.native | TRANSLATED if translate else self.native
        if config.protocols is not None:
            allowed = set(config.protocols)
            # The restriction speaks of formats; the old completions go with the chat that replaced them.
            if "chat" in allowed:
                allowed.add("completions")
            self.formats = self.formats & allowed
        self.warnings: list[str] = []
        self.excluded = config.excluded_models
        # Alias or name that is asked for -> names to send; patterns are tried in order when no exact entry fits.
        self.exact: dict[str, list[str]] = {}
        self.patterns: list[tuple[str, str | None]] = []
        for entry in config.models or tuple(ModelEntry(name) for name in DEFAULT_MODELS.get(config.kind, ())):
            self._add(entry)

    def _add(self, entry: ModelEntry) -> None:
        if entry.alias is not None and is_pattern(entry.name):
            self.warnings.append(f"provider {self.name}: the pattern {entry.name!r} cannot have an alias; ignored")
        elif is_pattern(entry.alias or entry.name):
            self.patterns.append((entry.alias or entry.name, entry.name if entry.alias else None))
        else:
            names = self.exact.setdefault(entry.alias or entry.name, [])
            if entry.name not in names:
                names.append(entry.name)

    def models(self, asked: str) -> tuple[str, ...]:
        """The names to send for an asked name, none when it is not on the list or excluded."""
        names = self.exact.get(asked)
        if names is None:
            real = next((real or asked for pattern, real in self.patterns if matches(pattern, asked)), None)
            names = [] if real is None else [real]
        if not names or matches_any(self.excluded, asked):
            return ()
        return tuple(name for name in names if not matches_any(self.excluded, name))

    def refuses(self, protocol: str | None) -> bool:
        return protocol is not None and protocol not in self.formats


class Directory:
    """Answers who serves a name, from one generation of the configuration.

    A name is served when a provider's list has it exactly or by a `*` pattern (case counts), or as an alias, and
    `excluded-models` matches neither the asked name nor the one to be sent. An entry with an alias is served under the
    alias only. Without a list the patterns of the kind apply (DEFAULT_MODELS).

    `translate` makes a provider a candidate for formats that it does not speak itself; `completions` is never
    translated. `cooling` is asked each time and changes the order only, never who is a candidate (SPEC R-DC-4).
    """

    def __init__(
        self, providers: Iterable[ProviderConfig], translate: bool = True, cooling: Cooling | None = None
    ) -> None:
        self._providers = [_Provider(provider, translate) for provider in providers]
        self._usable = [provider for provider in self._providers if not provider.unusable]
        self._cooling = cooling
        self._found: dict[tuple[str, str, str | None, str | None], tuple[Candidate, ...]] = {}
        self.provider_names = tuple(provider.name for provider in self._providers)
        self.warnings = tuple(warning for provider in self._providers for warning in provider.warnings)

    def candidates(
        self, base: str, full: str, protocol: str | None = None, pin: str | None = None
    ) -> tuple[Candidate, ...]:
        """Who serves `base`, or if nobody does `full`, for a route of `protocol` (None: any); `pin` names a provider.

        Ready before cooling down, then lower priority number, then native before translated, then file order. Raises
        ValueError for a protocol that does not exist, since "nobody" could cost credits.
        """
        key = (base, full, protocol, pin)
        found = self._found.get(key)
        if found is None:
            found = self._look_up(base, full, protocol, pin)
            if len(base) <= _LONGEST_REMEMBERED and len(full) <= _LONGEST_REMEMBERED:
                if len(self._found) >= _REMEMBERED:
                    self._found.clear()
                self._found[key] = found
        cooling = self._cooling
        if cooling is None or not found:
            return found
        states = [cooling(candidate.provider, candidate.model) for candidate in found]
        if True not in states:
            return found
        both = tuple(zip(states, found, strict=True))
        return (
            *(candidate for cools, candidate in both if not cools),
            *(replace(candidate, ready=False) for cools, candidate in both if cools),
        )

    def models(self, protocol: str | None = None) -> tuple[ServedModel, ...]:
        """Names that can be listed: exact entries and aliases of usable providers, in file order; no patterns."""
        names = dict.fromkeys(name for provider in self._usable for name in provider.exact)
        served = ((name, self._serving(name, protocol, None)) for name in names)
        return tuple(
            ServedModel(name, tuple(dict.fromkeys(candidate.provider for candidate in candidates)))
            for name, candidates in served
            if candidates
        )

    def explain(self, base: str, full: str, protocol: str | None = None) -> tuple[ProviderState, ...]:
        """For each configured provider whether it is a candidate and if not, why."""
        found = {candidate.provider: candidate for candidate in reversed(self.candidates(base, full, protocol))}
        return tuple(
            ProviderState(provider.name, self._outcome(provider, found.get(provider.name), base, full, protocol))
            for provider in self._providers
        )

    def _outcome(
        self, provider: _Provider, candidate: Candidate | None, base: str, full: str, protocol: str | None
    ) -> str:
        if provider.unusable:
            return provider.unusable
        if candidate is not None:
            how = "" if candidate.native else f", translating from {protocol}"
            state = "" if candidate.ready else ", cooling down"
            return f"serves it as {candidate.model}{how}{state}"
        asked = base if provider.models(base) else full
        if provider.models(asked):
            # Only the whole name is listed, and another provider lists the base (SPEC R-DC-3).
            return f"cannot serve {protocol} requests" if provider.refuses(protocol) else "lists the whole name only"
        listed = asked in provider.exact or any(matches(pattern, asked) for pattern, _ in provider.patterns)
        return "excluded by excluded-models" if listed else "does not list it"

    def _look_up(self, base: str, full: str, protocol: str | None, pin: str | None) -> tuple[Candidate, ...]:
        if protocol is not None and protocol not in PROTOCOLS:
            raise ValueError(f"no such protocol: {protocol}")
        found = self._serving(base, protocol, pin)
        if found or full == base:
            return found
        return tuple(replace(candidate, whole=True) for candidate in self._serving(full, protocol, pin))

    def _serving(self, name: str, protocol: str | None, pin: str | None) -> tuple[Candidate, ...]:
        found: list[tuple[int, Candidate]] = []
        for provider in self._usable:
            if provider.refuses(protocol) or (pin is not None and pin != provider.name):
                continue
            native = protocol is None or protocol in provider.native
            found += [(provider.priority, Candidate(provider.name, model, native)) for model in provider.models(name)]
        found.sort(key=lambda pair: (pair[0], not pair[1].native))
        return tuple(candidate for _, candidate in found)


def unusable(config: ProviderConfig) -> str | None:
    """Why a provider can serve nothing, or None when it can: it is enabled and has credentials.

    Credentials are a key, a header that carries one, or none at all for the demo and for a `base-url` that is not a
    vendor's (`api.*` or `*.googleapis.com`), such as a model server of one's own.
    """
    if not config.enabled:
        return "disabled"
    if any(key.reveal().strip() for key in config.api_keys):
        return None
    if config.kind == "demo" or any(name.lower() in _CREDENTIAL_HEADERS for name, _ in config.headers):
        return None
    host = urlsplit(config.base_url).hostname or ""
    if host and not host.startswith("api.") and not host.endswith(".googleapis.com"):
        return None
    return "has no api-keys"
