"""The credentials of the providers: whose turn it is, and which are left alone for a while (DESIGN D-27, D-42)."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field

from llmux.config.model import ProviderConfig
from llmux.config.secret import Secret
from llmux.headers import RawHeaders
from llmux.peers.blame import Blame, blame
from llmux.peers.turns import Turns

FIRST_WAIT = 30.0
LONGEST_DEFAULT_WAIT = 900.0
LASTING_WAIT = 900.0
PROBE_SECONDS = 60.0
MOST_COOLDOWNS = 10_000
_MOST_DOUBLINGS = 16

_Place = tuple[str, Secret | None, str | None]


@dataclass(frozen=True, slots=True)
class Credential:
    """One key of a provider, or the fact that it needs none; equal when provider and key are."""

    provider: str
    key: Secret | None
    number: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Cooldown:
    """One cooldown for people; `model` None concerns all models, times are in seconds, `credential` is masked.

    `remaining` 0 means that the next request is a probe, `probing` that one is on its way.
    """

    provider: str
    credential: str
    model: str | None
    reason: str
    status: int
    failures: int
    age: float
    remaining: float
    probing: bool


@dataclass(slots=True)
class _Entry:
    reason: str
    status: int
    failures: int
    since: float
    wait: float
    probe_until: float = 0.0

    def remaining(self, now: float) -> float:
        # `min` in case that the clock was set back.
        return min(max(0.0, self.since + self.wait - now), self.wait)

    def ready(self, now: float) -> bool:
        return self.remaining(now) == 0.0 and not self.probing(now)

    def probing(self, now: float) -> bool:
        return now < self.probe_until <= now + PROBE_SECONDS


class Credentials:
    """Chooses credentials in turn and remembers which failed, per credential and model.

    `seconds` gives epoch seconds. A cooldown starts at 30 s and doubles to 15 min unless the provider asks for more,
    and never exceeds `cooldown_max`; 0 switches them off. After it one request probes, and success ends it. Whoever
    takes a credential says later what became of it: `succeeded`, `failed`, `unreachable` or `abandoned`.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._by_provider: dict[str, tuple[Credential, ...]] = {}
        self._turns = Turns()
        self._cooldown_max = 3600.0
        self._entries: dict[_Place, _Entry] = {}

    def configure(
        self, providers: Iterable[ProviderConfig], strategy: str = "round-robin", cooldown_max: float = 3600.0
    ) -> None:
        """Take a new configuration; cooldowns stay where provider name and key are the same."""
        self._by_provider = {
            provider.name: tuple(
                Credential(provider.name, key, number) for number, key in enumerate(provider.api_keys or (None,))
            )
            for provider in providers
        }
        self._turns = Turns(strategy) if strategy != self._turns.strategy else self._turns
        self._turns.forget()
        self._cooldown_max = cooldown_max
        known = {(credential.provider, credential.key) for credential in self._all()}
        self._entries = {
            place: entry for place, entry in self._entries.items() if place[:2] in known and cooldown_max > 0
        }

    def _all(self) -> Iterable[Credential]:
        return (credential for credentials in self._by_provider.values() for credential in credentials)

    def _entries_of(self, credential: Credential, model: str) -> list[_Entry]:
        if not self._entries:
            return []
        places = ((credential.provider, credential.key, model), (credential.provider, credential.key, None))
        return [entry for place in places if (entry := self._entries.get(place)) is not None]

    def _ready(self, credential: Credential, model: str, now: float) -> bool:
        return all(entry.ready(now) for entry in self._entries_of(credential, model))

    def _remaining(self, credential: Credential, model: str, now: float) -> float:
        return max((entry.remaining(now) for entry in self._entries_of(credential, model)), default=0.0)

    def cooling(self, provider: str, model: str) -> bool:
        """Whether no credential of a provider is ready for a model (SPEC R-DC-4)."""
        if not self._entries:
            return False
        now = self._seconds()
        return not any(self._ready(credential, model, now) for credential in self._by_provider.get(provider, ()))

    def ready_in(self, provider: str, model: str) -> float:
        """Seconds until the first credential of a provider is ready for a model, 0 if one is."""
        now = self._seconds()
        credentials = self._by_provider.get(provider, ())
        return min((self._remaining(credential, model, now) for credential in credentials), default=0.0)

    def take(
        self,
        provider: str,
        model: str,
        tried: Container[Credential] = (),
        *,
        last_resort: bool = False,
        preferred: Credential | None = None,
    ) -> Credential | None:
        """Choose the credential whose turn it is, None when none is left.

        `tried` are left out. `last_resort` gives one that is cooling down, the one ready soonest, when no other is
        (DESIGN D-27). `preferred` is taken out of turn if it is ready.
        """
        now = self._seconds()
        left = [credential for credential in self._by_provider.get(provider, ()) if credential not in tried]
        ready = [credential for credential in left if self._ready(credential, model, now)] if self._entries else left
        if preferred is not None and preferred in ready:
            chosen = preferred
        elif ready:
            chosen = self._turns.pick(provider, ready)
        elif last_resort and left:
            chosen = min(left, key=lambda credential: self._remaining(credential, model, now))
        else:
            return None
        for entry in self._entries_of(chosen, model):
            entry.probe_until = now + PROBE_SECONDS
        return chosen

    def whose_turn(self, providers: tuple[str, ...], weights: Sequence[int]) -> str:
        """Which of several equal providers is asked first, by weight; credentials themselves are equal."""
        return self._turns.pick(providers, providers, weights)

    def knows(self, provider: str) -> bool:
        """Whether a provider of this name is configured now."""
        return provider in self._by_provider

    def several(self, provider: str) -> bool:
        """Whether a provider has more than one credential, so that it matters which one is taken."""
        return len(self._by_provider.get(provider, ())) > 1

    def any_ready(self, provider: str, model: str, tried: Container[Credential] = ()) -> bool:
        """Whether `take` would give a credential, without taking a turn."""
        now = self._seconds() if self._entries else 0.0
        return any(
            credential not in tried and (not self._entries or self._ready(credential, model, now))
            for credential in self._by_provider.get(provider, ())
        )

    def succeeded(self, credential: Credential, model: str) -> None:
        """An answer without an error: what was held against the credential before it was taken is forgotten.

        The success of a request that was on its way when another failed proves nothing about the time after.
        """
        for named in (model, None) if self._entries else ():
            place = (credential.provider, credential.key, named)
            entry = self._entries.get(place)
            if entry is not None and entry.probe_until:
                del self._entries[place]

    def abandoned(self, credential: Credential, model: str) -> None:
        """The client left, or the request itself was at fault: a probe is over, and nothing came of it."""
        for entry in self._entries_of(credential, model):
            entry.probe_until = 0.0

    def failed(
        self, credential: Credential, model: str, status: int, headers: RawHeaders, body: bytes = b""
    ) -> Blame | None:
        """An error status; starts or extends a cooldown unless the request itself was at fault, and gives the reason.

        `body` is the beginning of the error body.
        """
        found = blame(status, headers, body, self._seconds())
        if found is None:
            self.abandoned(credential, model)
            return None
        self._cool(credential, None if found.whole else model, found, status)
        self.abandoned(credential, model)
        return found

    def unreachable(self, provider: str, reason: str = "unreachable") -> None:
        """No connection, or none that could be used: every credential of the provider is left alone."""
        for credential in self._by_provider.get(provider, ()):
            self._cool(credential, None, Blame(reason, whole=True), 0)
        for place, entry in self._entries.items():
            if place[0] == provider:
                entry.probe_until = 0.0

    def _cool(self, credential: Credential, model: str | None, found: Blame, status: int) -> None:
        if self._cooldown_max <= 0 or credential not in self._by_provider.get(credential.provider, ()):
            return
        now = self._seconds()
        place = (credential.provider, credential.key, model)
        before = self._entries.pop(place, None)
        cooling = before is not None and before.remaining(now) > 0.0
        # Requests that were on their way together fail together: that is one failure, not many.
        failures = (before.failures if before else 0) + (0 if cooling else 1)
        if found.wait is not None:
            wait = found.wait
        elif found.lasting:
            wait = LASTING_WAIT * 2 ** min(failures - 1, _MOST_DOUBLINGS)
        else:
            wait = min(FIRST_WAIT * 2 ** min(failures - 1, _MOST_DOUBLINGS), LONGEST_DEFAULT_WAIT)
        wait = min(wait, self._cooldown_max)
        if before is not None and cooling and now + wait <= before.since + before.wait:
            self._entries[place] = before
            return
        if len(self._entries) >= MOST_COOLDOWNS:
            self._entries.pop(next(iter(self._entries)))
        self._entries[place] = _Entry(found.reason, status, failures, now, wait)

    def listing(self) -> list[Cooldown]:
        """All cooldowns, those that wait for a probe included, longest remaining first."""
        now = self._seconds()
        rows = [
            Cooldown(
                provider=provider,
                credential="none" if key is None else str(key),
                model=model,
                reason=entry.reason,
                status=entry.status,
                failures=entry.failures,
                age=max(0.0, now - entry.since),
                remaining=entry.remaining(now),
                probing=entry.probing(now),
            )
            for (provider, key, model), entry in self._entries.items()
        ]
        return sorted(rows, key=lambda row: -row.remaining)

    def clear(self, provider: str, model: str | None = None) -> int:
        """End the cooldowns of a provider, or those that keep it from one model; gives how many there were."""
        gone = [
            place for place in self._entries if place[0] == provider and (model is None or place[2] in (model, None))
        ]
        for place in gone:
            del self._entries[place]
        return len(gone)
