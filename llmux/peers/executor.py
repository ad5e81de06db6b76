"""Sends a model request to its candidates in order until one answers (DESIGN D-42).

A failure before the answer was committed moves on to the next credential or candidate; nothing is sent again once a
byte of an answer went to the client, and never does a request go from own keys to credits: the plan holds none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import uniform
from secrets import token_hex
from typing import Any

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from llmux.formats.count import decode_count, estimate
from llmux.formats.losses import RequestRefused
from llmux.headers import media_type
from llmux.peers.call import ModelCall, key_text, native_request
from llmux.peers.credentials import Credential, Credentials
from llmux.peers.demo.exchange import Demo
from llmux.peers.generation import Provider
from llmux.peers.opening import Opening
from llmux.peers.plan import Plan, Step
from llmux.peers.redacted import redacted
from llmux.peers.saved import Exchange, SavedExchange
from llmux.peers.sessions import Sessions
from llmux.peers.translation import SPOKEN, Translation, count_request, decoded, translated_request
from llmux.peers.vault import Vault
from llmux.routing.decision import Attempt
from llmux.wire.outgoing import OutgoingRequest, UpstreamFailure
from llmux.wire.response_head import ResponseHead

_NO_CONNECTION = frozenset({"connect", "dns", "tls", "connect-timeout", "tls-timeout"})
_MOVES_ON = frozenset({401, 408, 425, 429, 529})
LONG_BODY = 256 * 1024
MOST_STEPS = 8
InThread = Callable[..., Deferred[Any]]
Send = Callable[[OutgoingRequest], Exchange]


@dataclass(slots=True)
class Answer:
    """An answer that is going to the client: its head, whose it is, and where its body comes from.

    `story` tells in a few words what was tried before, empty when nothing was.
    """

    exchange: Exchange
    head: ResponseHead
    provider: Provider
    credential: Credential
    attempt: Attempt
    changed: bool
    translation: Translation | None = None
    story: str = ""

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
class _Failures:
    """What went wrong so far, and which of it the client should read in the end."""

    answer: Answer | None = None
    refused: RequestRefused | None = None
    unreachable: ProviderUnreachable | None = None
    steps: list[str] = field(default_factory=list)

    def note(self, provider: str, what: str) -> None:
        """Remember one failed try for the story."""
        if len(self.steps) < MOST_STEPS:
            self.steps.append(f"{provider} ({what})")

    @property
    def story(self) -> str:
        """What was tried in vain."""
        return "tried " + ", ".join(self.steps) if self.steps else ""

    def add_answer(self, answer: Answer) -> None:
        """Keep the last answer; one about a bad key of ours only while there is nothing better."""
        if self.answer is None or answer.head.status != 401:
            self.answer = answer

    def result(self) -> Answer:
        """The answer to pass on, or the exception that says what happened."""
        if self.answer is not None:
            self.answer.story = self.story
            return self.answer
        problem = self.unreachable or self.refused
        if problem is None:
            raise RuntimeError("nothing was tried")
        raise problem


class Executor:
    """Tries candidates; `send` puts a request on the wire and `demo` answers for the built-in provider."""

    log = Logger()

    def __init__(
        self,
        send: Send,
        demo: Demo,
        credentials: Credentials,
        vault: Vault,
        sessions: Sessions,
        clock: IReactorTime,
        in_thread: InThread,
    ) -> None:
        self._send = send
        self._demo = demo
        self._credentials = credentials
        self._vault = vault
        self._sessions = sessions
        self._clock = clock
        self._in_thread = in_thread

    async def answer(self, call: ModelCall) -> Answer:
        """The first answer worth passing on, else the most useful error.

        Raises ProviderUnreachable when no candidate answered at all, RequestRefused when none can be asked. Cancelling
        it aborts the request under way and blames no credential.
        """
        failures = _Failures()
        retry = call.generation.config.retry
        began = self._clock.seconds()
        for number in range(retry.rounds + 1):
            if number:
                pause = self._pause_before(call, number, retry.max_interval)
                if self._clock.seconds() - began + pause > patience(call):
                    break
                await deferLater(self._clock, pause, lambda: None)
            answer = await self._round(call, failures, began)
            if answer is not None:
                answer.story = failures.story
                return answer
            if failures.answer is None and failures.unreachable is None:
                break
        return failures.result()

    async def _round(self, call: ModelCall, failures: _Failures, began: float) -> Answer | None:
        """Ask each candidate once; None when all failed in a way that a later round may mend."""
        plan = Plan(call, self._credentials, self._sessions.preferred(call))
        step = plan.next()
        while step is not None:
            answer = await self._attempt(call, step, plan, failures)
            if answer is not None:
                self._sessions.remember(call, answer.credential)
                return answer
            if self._clock.seconds() - began > patience(call):
                return None
            step = plan.next()
        return None

    async def _attempt(self, call: ModelCall, step: Step, plan: Plan, failures: _Failures) -> Answer | None:
        """One request; None, with the failure noted, when another candidate should be asked."""
        name, model = step.provider.config.name, step.model
        try:
            answer = await self._try(call, step.attempt, step.provider, step.credential)
            status, text = answer.head.status, b""
            if status < 400 and plan.more():
                status, text = await self._look_at_the_beginning(call, answer)
        except RequestRefused as problem:
            # Another candidate may understand what this one cannot even be told.
            self._credentials.abandoned(step.credential, model)
            failures.refused = problem
            failures.note(name, "cannot express it")
            return None
        except UpstreamFailure as failure:
            self._note_failure(step, failure)
            failures.unreachable = ProviderUnreachable(step.provider, failure)
            failures.note(name, failure.kind)
            return None
        if status < 400:
            self._credentials.succeeded(step.credential, model)
            return answer
        if not moves_on(status) or not (plan.more() or call.generation.config.retry.rounds):
            self._credentials.failed(step.credential, model, status, answer.head.headers, text)
            return answer
        saved = SavedExchange(answer.exchange, self._clock)
        body = await saved.read()
        self._credentials.failed(step.credential, model, status, answer.head.headers, body)
        answer.exchange = saved
        failures.add_answer(answer)
        failures.note(name, str(status))
        self.log.info("{provider} answered {status} for {model}", provider=name, status=status, model=model)
        return None

    async def _look_at_the_beginning(self, call: ModelCall, answer: Answer) -> tuple[int, bytes]:
        """Wait for the first event; an error in disguise counts as the status that it should have had (DESIGN D-42)."""
        streaming = call.generation.config.streaming
        stream = media_type(answer.head.headers) == b"text/event-stream"
        opening = Opening(answer.exchange, stream, self._clock, streaming.hold_ms / 1000, streaming.hold_bytes)
        try:
            found = await opening.verdict
        except CancelledError:
            self._credentials.abandoned(answer.credential, answer.attempt.candidate.model)
            raise
        answer.exchange = opening
        return (answer.head.status, b"") if found is None else (found.status, found.body)

    def _pause_before(self, call: ModelCall, number: int, longest: float) -> float:
        """Seconds before another round: until somebody is ready, doubling, and with jitter."""
        ready = min(
            self._credentials.ready_in(attempt.candidate.provider, attempt.candidate.model)
            for attempt in call.decision.attempts
        )
        return min(max(ready, 2.0 ** (number - 1)), longest) * uniform(0.8, 1.2)

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
        safe = redacted(exchange, head.status, (key_text(credential.key),))
        return Answer(safe, head, provider, credential, attempt, changed, translation)

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

    def _note_failure(self, step: Step, failure: UpstreamFailure) -> None:
        name, model, credential = step.provider.config.name, step.model, step.credential
        if failure.kind == "aborted":
            self._credentials.abandoned(credential, model)
        elif failure.kind in _NO_CONNECTION:
            self._credentials.unreachable(name, failure.kind)
        else:
            self._credentials.failed(credential, model, 502, [])
        self.log.warn("{provider} failed for {model}: {failure}", provider=name, model=model, failure=str(failure))


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


def patience(call: ModelCall) -> float:
    """Seconds that a client waits for its first byte, all tries together."""
    return call.generation.config.timeouts.first_byte


def moves_on(status: int) -> bool:
    """Whether another candidate is asked after this status (DESIGN D-42)."""
    return status in _MOVES_ON or status >= 500
