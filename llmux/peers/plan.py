"""The order in which candidates and their credentials are tried for one request (DESIGN D-42, SPEC R-DC-4)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple, Protocol

from llmux.peers.call import ModelCall
from llmux.peers.credentials import Credential, Credentials
from llmux.peers.generation import Provider
from llmux.routing.decision import Attempt


class Affinity(Protocol):
    """Who answered the conversation of a request before."""

    def preferred(self, call: ModelCall, provider: str) -> Credential | None: ...

    def latest(self, call: ModelCall, providers: tuple[str, ...]) -> str | None: ...


class Step(NamedTuple):
    """One request to send: which candidate, and with which credential."""

    attempt: Attempt
    provider: Provider
    credential: Credential

    @property
    def model(self) -> str:
        """The provider's own name of the model."""
        return self.attempt.candidate.model


class Plan:
    """Gives each candidate's credentials in turn.

    Credentials that cool down are left out, unless nobody could be asked at all and nothing else is left: then the
    first candidate's that is ready soonest is tried rather than to fail (DESIGN D-27). A conversation keeps the
    credential that it had with each provider. With the strategy `weighted` the first of several equal candidates is
    chosen by weight.
    """

    def __init__(self, call: ModelCall, credentials: Credentials, affinity: Affinity) -> None:
        self._call = call
        self._credentials = credentials
        self._affinity = affinity
        self._attempts = (
            [*self._by_weight()] if call.generation.config.strategy == "weighted" else call.decision.attempts
        )
        self._at = 0
        self._tried: dict[int, tuple[Credential, ...]] = {}
        self._left_out: set[str] = set()
        self._unable: set[int] = set()
        self._latest = 0
        self._asked = 0

    def next(self) -> Step | None:
        """The next step, None when there is none left."""
        while self._at < len(self._attempts):
            step = self._take(self._at, last_resort=False)
            if step is not None:
                return step
            self._at += 1
        if not self._asked:
            for at in range(len(self._attempts)):
                step = self._take(at, last_resort=True)
                if step is not None:
                    return step
        return None

    def more(self) -> bool:
        """Whether `next` would give another step, without taking anybody's turn."""
        return any(
            at not in self._unable
            and candidate.provider not in self._left_out
            and self._credentials.any_ready(candidate.provider, candidate.model, self._tried.get(at, ()))
            for at in range(self._at, len(self._attempts))
            for candidate in (self._attempts[at].candidate,)
        )

    def skip(self) -> None:
        """Go on to the next candidate: the latest cannot serve the request, whatever the key, and was not asked."""
        self._unable.add(self._latest)
        self._asked -= 1

    def leave_out(self, provider: str) -> None:
        """Do not try this provider again: it cannot be reached, whatever the key, and so was not asked."""
        self._left_out.add(provider)
        self._asked -= 1

    def _take(self, at: int, last_resort: bool) -> Step | None:
        attempt = self._attempts[at]
        candidate = attempt.candidate
        if at in self._unable or candidate.provider in self._left_out:
            return None
        tried = self._tried.get(at, ())
        preferred = None if tried else self._affinity.preferred(self._call, candidate.provider)
        credential = self._credentials.take(
            candidate.provider, candidate.model, tried, last_resort=last_resort, preferred=preferred
        )
        provider = self._call.generation.providers[candidate.provider]
        own = provider.config.api_keys or (None,)
        if credential.key not in own if credential else not self._credentials.knows(candidate.provider):
            # A reload came between: the new key must not go to the address of the old configuration.
            credential = _own(provider, tried)
        if credential is None:
            return None
        self._tried[at] = (*tried, credential)
        self._latest = at
        self._asked += 1
        return Step(attempt, provider, credential)

    def _by_weight(self) -> Iterator[Attempt]:
        """The candidates, but of those that are equal in everything but their place the one whose turn it is first."""
        providers = self._call.generation.providers

        def rank(attempt: Attempt) -> tuple[object, ...]:
            candidate = attempt.candidate
            priority = providers[candidate.provider].config.priority
            return attempt.model, candidate.ready, priority, candidate.native

        for _, equals in groupby(self._call.decision.attempts, rank):
            group = list(equals)
            names = tuple(dict.fromkeys(attempt.candidate.provider for attempt in group))
            if len(names) > 1:
                first = self._affinity.latest(self._call, names)
                if first is None:
                    first = self._credentials.whose_turn(names, [providers[name].config.weight for name in names])
                group.sort(key=lambda attempt: attempt.candidate.provider != first)
            yield from group


def _own(provider: Provider, tried: tuple[Credential, ...]) -> Credential | None:
    """The first key of a provider as its own generation has it that was not tried."""
    keys = provider.config.api_keys or (None,)
    own = (Credential(provider.config.name, key, number) for number, key in enumerate(keys))
    return next((credential for credential in own if credential not in tried), None)
