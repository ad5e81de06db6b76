"""What was tried for one request: the answer in the end, or what to tell the client when there is none."""

from __future__ import annotations

from dataclasses import dataclass, field

from llmux.formats.losses import RequestRefused
from llmux.headers import RawHeaders
from llmux.peers.call import ModelCall, key_text
from llmux.peers.credentials import Credential
from llmux.peers.generation import Provider
from llmux.peers.saved import Exchange, SavedExchange
from llmux.peers.translation import Translation
from llmux.routing.decision import Attempt
from llmux.wire.outgoing import UpstreamFailure
from llmux.wire.response_head import ResponseHead

MOST_TOLD = 8
_SHORTEST_WORD = 16


@dataclass(slots=True)
class Answer:
    """An answer that is going to the client: its head, whose it is, and where its body comes from.

    `story` tells in a few words what was tried before, empty when nothing was; `waited` are the seconds that went by
    with waiting for providers; `advice` are headers of ours about when to come back; `warnings` are codes for
    `x-llmux-warning` where nothing was translated.
    """

    exchange: Exchange
    head: ResponseHead
    provider: Provider
    credential: Credential
    attempt: Attempt
    changed: bool
    translation: Translation | None = None
    story: str = ""
    waited: float = 0.0
    advice: RawHeaders = field(default_factory=list)
    warnings: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[str | None, ...]:
        """What must not come back to the client in a header or an error body.

        A configured header may hold a credential of a gateway, with or without a scheme before it; short words are
        versions and names, which an error had better keep.
        """
        words = (word for _, value in self.provider.config.headers for word in value.split())
        return (key_text(self.credential.key), *(word for word in words if len(word) >= _SHORTEST_WORD))


class ProviderUnreachable(Exception):
    """No candidate gave an answer; `failure` is what happened to the last one.

    `seconds` is the bound that ran out when the failure is a timeout, `story` what was tried.
    """

    def __init__(self, provider: Provider, failure: UpstreamFailure, seconds: float) -> None:
        super().__init__(f"{provider.config.name}: {failure}")
        self.provider = provider
        self.failure = failure
        self.seconds = seconds
        self.story = ""


@dataclass(slots=True)
class Tries:
    """What went wrong so far for a request, and which of it the client should read in the end.

    `patience` is how long the client waits for the head of an answer, in seconds from `began` on; `asked_at` is when
    the latest try was sent, of `sent`. `waited` are the seconds that were spent on waiting for providers.
    """

    call: ModelCall
    began: float
    patience: float
    sent: int = 0
    asked_at: float = 0.0
    waited: float = 0.0
    answer: Answer | None = None
    refused: RequestRefused | None = None
    unreachable: ProviderUnreachable | None = None
    _told: list[str] = field(default_factory=list)
    _untold: int = 0

    def left(self, now: float) -> float:
        """Seconds until the client has waited long enough, all tries together."""
        return self.began + self.patience - now

    @property
    def mendable(self) -> bool:
        """Whether another round could do better: somebody was asked at all."""
        return self.answer is not None or self.unreachable is not None

    def note(self, provider: str, what: str) -> None:
        """Remember one failed try for the story."""
        if len(self._told) < MOST_TOLD:
            self._told.append(f"{provider} ({what})")
        else:
            self._untold += 1

    @property
    def story(self) -> str:
        """What was tried in vain."""
        if not self._told:
            return ""
        more = f" and {self._untold} more" if self._untold else ""
        return "tried " + ", ".join(self._told) + more

    def keep(self, answer: Answer) -> None:
        """Keep the last error answer; one about a bad key of ours only while there is nothing better."""
        if self.answer is not None and answer.head.status == 401:
            let_go(answer)
            return
        if self.answer is not None:
            let_go(self.answer)
        self.answer = answer

    def fail(self, provider: Provider, failure: UpstreamFailure, seconds: float) -> None:
        """Somebody was asked and did not answer."""
        self.unreachable = ProviderUnreachable(provider, failure, seconds)

    def result(self) -> Answer:
        """The answer to pass on, or the exception that says what happened."""
        if self.answer is not None:
            self.answer.story, self.answer.waited = self.story, self.waited
            return self.answer
        if self.unreachable is not None:
            self.unreachable.story = self.story
            raise self.unreachable
        if self.refused is not None:
            raise self.refused
        raise RuntimeError("nothing was tried")


def let_go(answer: Answer) -> None:
    """Close the connection of an error answer that is not to be read any further."""
    if isinstance(answer.exchange, SavedExchange):
        answer.exchange.give_up()
