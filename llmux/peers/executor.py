"""Sends a model request to its candidates in order until one answers (DESIGN D-42).

A failure before the answer was committed moves on to the next credential or candidate; nothing is sent again once a
byte of an answer went to the client, and never does a request go from own keys to credits: the plan holds none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from llmux.formats.count import decode_count, estimate
from llmux.formats.losses import RequestRefused
from llmux.peers.call import ModelCall, key_text, native_request
from llmux.peers.credentials import Credential, Credentials
from llmux.peers.demo.exchange import Demo
from llmux.peers.generation import Provider
from llmux.peers.saved import Exchange, SavedExchange
from llmux.peers.translation import SPOKEN, Translation, count_request, decoded, translated_request
from llmux.peers.vault import Vault
from llmux.routing.decision import Attempt
from llmux.wire.outgoing import OutgoingRequest, UpstreamFailure
from llmux.wire.response_head import ResponseHead

_NO_CONNECTION = frozenset({"connect", "dns", "tls", "connect-timeout", "tls-timeout"})
_MOVES_ON = frozenset({401, 408, 425, 429, 529})


LONG_BODY = 256 * 1024
InThread = Callable[..., Deferred[Any]]
Send = Callable[[OutgoingRequest], Exchange]


@dataclass(slots=True)
class Answer:
    """An answer that is going to the client: its head, whose it is, and where its body comes from."""

    exchange: Exchange
    head: ResponseHead
    provider: Provider
    credential: Credential
    attempt: Attempt
    changed: bool
    translation: Translation | None = None

    @property
    def secrets(self) -> tuple[str | None, ...]:
        """What must not come back to the client in a header or an error body."""
        return (key_text(self.credential.key),)


class ProviderUnreachable(Exception):
    """No candidate gave an answer; `failure` is what happened to the last one."""

    def __init__(self, provider: Provider, failure: UpstreamFailure) -> None:
        super().__init__(f"{provider.config.name}: {failure}")
        self.provider = provider
        self.failure = failure


@dataclass(slots=True)
class _Plan:
    """Which credential of which candidate is next; cooling ones only when nothing else was ever tried."""

    call: ModelCall
    credentials: Credentials
    tried: set[Credential] = field(default_factory=set)

    def __iter__(self) -> Iterator[tuple[Attempt, Provider, Credential]]:
        for attempt in self.call.decision.attempts:
            yield from self._credentials_of(attempt)
        if not self.tried:
            for attempt in self.call.decision.attempts[:1]:
                yield from self._credentials_of(attempt, last_resort=True)

    def _credentials_of(
        self, attempt: Attempt, last_resort: bool = False
    ) -> Iterator[tuple[Attempt, Provider, Credential]]:
        candidate = attempt.candidate
        tried: set[Credential] = set()
        while True:
            credential = self.credentials.take(candidate.provider, candidate.model, tried, last_resort=last_resort)
            if credential is None:
                return
            tried.add(credential)
            self.tried.add(credential)
            yield attempt, self.call.generation.providers[candidate.provider], credential
            if last_resort:
                return


class Executor:
    """Tries candidates; `send` puts a request on the wire and `demo` answers for the built-in provider."""

    log = Logger()

    def __init__(
        self,
        send: Send,
        demo: Demo,
        credentials: Credentials,
        vault: Vault,
        clock: IReactorTime,
        in_thread: InThread,
    ) -> None:
        self._send = send
        self._demo = demo
        self._credentials = credentials
        self._vault = vault
        self._clock = clock
        self._in_thread = in_thread

    async def answer(self, call: ModelCall) -> Answer:
        """The first answer worth passing on; raises ProviderUnreachable when no candidate gave any.

        Cancelling it aborts the request under way and blames no credential.
        """
        steps = iter(_Plan(call, self._credentials))
        step = next(steps)
        refused: Answer | None = None
        while True:
            attempt, provider, credential = step
            model = attempt.candidate.model
            try:
                answer = await self._try(call, attempt, provider, credential)
            except RequestRefused:
                # Another candidate may understand what this one cannot even be told.
                self._credentials.abandoned(credential, model)
                following = next(steps, None)
                if following is None:
                    if refused is not None:
                        return refused
                    raise
                step = following
                continue
            except UpstreamFailure as failure:
                self._note_failure(call, provider, credential, model, failure)
                following = next(steps, None)
                if following is None:
                    if refused is not None:
                        return refused
                    raise ProviderUnreachable(provider, failure) from failure
                step = following
                continue
            if not moves_on(answer.head.status):
                self._judge(answer, b"")
                return answer
            following = next(steps, None)
            if following is None:
                self._judge(answer, b"")
                return answer
            refused = await self._read_refusal(answer)
            self.log.info(
                "{provider} answered {status} for {model}; trying {next_provider}",
                provider=provider.config.name,
                status=answer.head.status,
                model=model,
                next_provider=following[1].config.name,
            )
            step = following

    async def _try(self, call: ModelCall, attempt: Attempt, provider: Provider, credential: Credential) -> Answer:
        translation = None
        changed = False
        if provider.config.kind == "demo":
            exchange = self._ask_demo(call, attempt)
        elif attempt.candidate.native:
            request, changed = native_request(call, provider, credential, attempt)
            exchange = self._send(request)
        else:
            request, translation = await self._translate(call, provider, credential, attempt)
            exchange = self._send(request)
        try:
            head = await exchange.head
        except CancelledError:
            exchange.abort()
            self._credentials.abandoned(credential, attempt.candidate.model)
            raise
        return Answer(exchange, head, provider, credential, attempt, changed, translation)

    async def _translate(
        self, call: ModelCall, provider: Provider, credential: Credential, attempt: Attempt
    ) -> tuple[OutgoingRequest, Translation]:
        """Encode the request for the provider, a long one in a thread; raises RequestRefused."""
        arguments = (call, provider, credential, attempt, self._vault, int(self._clock.seconds()), token_hex(12))
        if len(call.body) < LONG_BODY:
            return _translate(*arguments)
        translated: tuple[OutgoingRequest, Translation] = await self._in_thread(_translate, *arguments)
        return translated

    async def count(self, call: ModelCall) -> tuple[int, Attempt, bool]:
        """How many tokens a request has, for a provider of another format, and whether that is an estimate.

        A provider that has no endpoint for it, or whose endpoint fails, gives an estimate (TRANSLATION 7.3).
        """
        request = decoded(call)
        attempt = call.decision.attempts[0]
        candidate = attempt.candidate
        provider = call.generation.providers[candidate.provider]
        credential = self._credentials.take(candidate.provider, candidate.model, last_resort=True)
        question = None if credential is None else count_request(call, request, provider, credential, attempt)
        if credential is None or question is None:
            return estimate(request), attempt, True
        exchange = self._send(question)
        try:
            head = await exchange.head
            answer = await SavedExchange(exchange, self._clock).read()
            counted = decode_count(SPOKEN[provider.config.kind], msgspec.json.decode(answer))
        except CancelledError:
            exchange.abort()
            raise
        except (UpstreamFailure, msgspec.MsgspecError, ValueError) as problem:
            self.log.info("{provider} did not count: {kind}", provider=candidate.provider, kind=type(problem).__name__)
            counted = None
        else:
            if head.status >= 400:
                self._credentials.failed(credential, candidate.model, head.status, head.headers, answer)
                counted = None
        return (estimate(request), attempt, True) if counted is None else (counted, attempt, False)

    def _ask_demo(self, call: ModelCall, attempt: Attempt) -> Exchange:
        verb = call.action or call.verb
        return self._demo.send(call.protocol, verb, attempt.candidate.model, call.body, call.target)

    def _judge(self, answer: Answer, body: bytes) -> None:
        """Tell the credentials what an answer means for them."""
        model = answer.attempt.candidate.model
        if answer.head.status < 400:
            self._credentials.succeeded(answer.credential, model)
        else:
            self._credentials.failed(answer.credential, model, answer.head.status, answer.head.headers, body)

    def _note_failure(
        self, call: ModelCall, provider: Provider, credential: Credential, model: str, failure: UpstreamFailure
    ) -> None:
        name = provider.config.name
        if failure.kind == "aborted":
            self._credentials.abandoned(credential, model)
        elif failure.kind in _NO_CONNECTION:
            self._credentials.unreachable(name, failure.kind)
        else:
            self._credentials.failed(credential, model, 502, [])
        self.log.warn("{provider} failed for {model}: {failure}", provider=name, model=model, failure=str(failure))

    async def _read_refusal(self, answer: Answer) -> Answer:
        """Read the beginning of an error body, for the blame and in case that nothing better comes."""
        saved = SavedExchange(answer.exchange, self._clock)
        body = await saved.read()
        self._judge(answer, body)
        answer.exchange = saved
        return answer


def _translate(
    call: ModelCall,
    provider: Provider,
    credential: Credential,
    attempt: Attempt,
    vault: Vault,
    created: int,
    fresh_id: str,
) -> tuple[OutgoingRequest, Translation]:
    return translated_request(call, decoded(call), provider, credential, attempt, vault, created, fresh_id)


def moves_on(status: int) -> bool:
    """Whether another candidate is asked after this status (DESIGN D-42)."""
    return status in _MOVES_ON or status >= 500
