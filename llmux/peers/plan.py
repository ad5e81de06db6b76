"""The order in which candidates and their credentials are tried for one request (DESIGN D-42, SPEC R-DC-4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from llmux.peers.call import ModelCall
from llmux.peers.credentials import Credential, Credentials
from llmux.peers.generation import Provider
from llmux.routing.decision import Attempt


class Step(NamedTuple):
    """One request to send: which candidate, and with which credential."""

    attempt: Attempt
    provider: Provider
    credential: Credential

    @property
    def model(self) -> str:
        """The provider's own name of the model."""
        return self.attempt.candidate.model


@dataclass(slots=True)
class Plan:
    """Gives each candidate's credentials in turn.

    Credentials that cool down are left out, unless nothing was tried at all and nothing else is left: then the one
    that is ready soonest is tried rather than to fail (DESIGN D-27). `preferred` is the credential that a session had
    before.
    """

    call: ModelCall
    credentials: Credentials
    preferred: Credential | None = None
    _at: int = 0
    _tried: dict[int, set[Credential]] = field(default_factory=dict)
    _last_resort: bool = False

    def next(self) -> Step | None:
        """The next step, None when there is none left."""
        attempts = self.call.decision.attempts
        while self._at < len(attempts):
            step = self._take(self._at, last_resort=False)
            if step is not None:
                return step
            self._at += 1
        if not self._tried and not self._last_resort:
            self._last_resort = True
            return self._take(0, last_resort=True)
        return None

    def more(self) -> bool:
        """Whether `next` would give another step, without taking anybody's turn."""
        attempts = self.call.decision.attempts
        return any(
            self.credentials.any_ready(
                attempts[at].candidate.provider, attempts[at].candidate.model, self._tried.get(at, ())
            )
            for at in range(self._at, len(attempts))
        )

    def _take(self, at: int, last_resort: bool) -> Step | None:
        attempt = self.call.decision.attempts[at]
        candidate = attempt.candidate
        tried = self._tried.get(at, set())
        preferred = self.preferred if not tried else None
        credential = self.credentials.take(
            candidate.provider, candidate.model, tried, last_resort=last_resort, preferred=preferred
        )
        if credential is None:
            return None
        self._tried[at] = {*tried, credential}
        return Step(attempt, self.call.generation.providers[candidate.provider], credential)
