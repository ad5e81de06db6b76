"""Sends a model request to its candidates in order until one answers (DESIGN D-42).

A failure before the answer was committed moves on to the next credential or candidate; nothing is sent again once a
byte of an answer went to the client, and never does a request go from own keys to credits: the plan holds none. What
each failure leads to stands in docs/failover.md.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from random import uniform
from secrets import token_hex
from typing import Any, ParamSpec, TypeVar

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger, LogLevel

from llmux.formats.count import decode_count, estimate
from llmux.formats.jsontext import LONG_BODY
from llmux.formats.losses import RequestRefused
from llmux.headers import RawHeaders, media_type
from llmux.peers.blame import Blame
from llmux.peers.call import ModelCall, native_request
from llmux.peers.credentials import Credential, Credentials
from llmux.peers.demo.exchange import Demo
from llmux.peers.disguise import Disguised, disguised
from llmux.peers.generation import Provider
from llmux.peers.opening import Opening
from llmux.peers.plan import Plan, Step
from llmux.peers.records import Records
from llmux.peers.redacted import differs, redacted
from llmux.peers.saved import Exchange, SavedExchange
from llmux.peers.sessions import Sessions
from llmux.peers.translation import SPOKEN, Translation, count_request, decoded, translated_request
from llmux.peers.tries import Answer, Tries, let_go
from llmux.peers.unmasking import unmasked
from llmux.peers.vault import Vault
from llmux.rewrite.media import encoding
from llmux.routing.decision import Attempt
from llmux.wire.outgoing import OutgoingRequest, UpstreamFailure

_NO_CONNECTION = frozenset({"connect", "dns", "tls", "connect-timeout", "tls-timeout"})
_MOVES_ON = frozenset({401, 408, 425, 429, 529})
_DIED_IN_THE_ANSWER = frozenset({"cut", "idle-timeout"})
P = ParamSpec("P")
T = TypeVar("T")
InThread = Callable[..., Deferred[Any]]
Send = Callable[[OutgoingRequest], Exchange]


class Executor:
    """Tries candidates; `send` puts a request on the wire and `demo` answers for the built-in provider.

    `in_thread` does some work in a thread.
    """

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
        self.in_thread = in_thread
        self.records = Records(type(self))
        self.failed_tries: dict[tuple[str, str], int] = {}

    async def answer(self, call: ModelCall) -> Answer:
        """The first answer worth passing on, else the most useful error.

        Raises ProviderUnreachable when no candidate answered at all, RequestRefused when none can be asked. Cancelling
        it aborts the request under way and blames no credential.
        """
        retry = call.generation.config.retry
        tries = Tries(call, self._clock.seconds(), patience(call))
        for number in range(retry.rounds + 1):
            if number:
                pause = self._pause_before(call, number, retry.max_interval)
                if pause >= tries.left(self._clock.seconds()):
                    break
                await self._wait(pause, tries)
            answer = await self._round(tries, last=number == retry.rounds)
            if answer is not None:
                return answer
            if not tries.mendable:
                break
        return tries.result()

    async def _wait(self, seconds: float, tries: Tries) -> None:
        """Pause between two rounds; a client that leaves then leaves no connection behind."""
        try:
            await deferLater(self._clock, seconds, lambda: None)
        except CancelledError:
            if tries.answer is not None:
                let_go(tries.answer)
            raise

    async def _round(self, tries: Tries, last: bool) -> Answer | None:
        """Ask each candidate; None when all failed in a way that a later round may mend."""
        plan = Plan(tries.call, self._credentials, self._sessions)
        step = plan.next()
        while step is not None:
            try:
                answer = await self._attempt(tries, step, plan, last)
            except CancelledError:
                self._credentials.abandoned(step.credential, step.model)
                if tries.answer is not None:
                    let_go(tries.answer)
                raise
            if answer is not None:
                answer.story, answer.waited = tries.story, tries.waited
                if tries.answer is not None and tries.answer is not answer:
                    let_go(tries.answer)
                return answer
            if tries.left(self._clock.seconds()) <= 0:
                return None
            step = plan.next()
        return None

    async def _attempt(self, tries: Tries, step: Step, plan: Plan, last: bool) -> Answer | None:
        """One request; None, with the failure noted, when another candidate should be asked."""
        call, name, model = tries.call, step.provider.config.name, step.model
        try:
            answer = await self._try(tries, step)
            found = None
            if answer.head.status < 400:
                began = self._clock.seconds()
                found = await self._look_at_the_beginning(call, answer)
                tries.waited += self._clock.seconds() - began
        except RequestRefused as problem:
            # Another candidate may understand what this one cannot even be told.
            self._credentials.abandoned(step.credential, model)
            plan.skip()
            tries.refused = problem
            self._note(tries, name, "cannot express it")
            return None
        except UpstreamFailure as failure:
            self._without_answer(tries, step, plan, failure)
            return None
        if answer.head.status < 400 and found is None:
            self._credentials.succeeded(step.credential, model)
            self._sessions.remember(call, step.credential)
            self._record(step, str(answer.head.status), sent=True, level=LogLevel.debug)
            return answer
        began = self._clock.seconds()
        body = await (self._read(answer) if found is None else unmasked(answer, found, self._clock))
        tries.waited += self._clock.seconds() - began
        status, headers = answer.head.status, answer.head.headers
        held = self._credentials.failed(step.credential, model, status, headers, body)
        answer.advice = advice(headers, held)
        self._record(step, str(status), sent=True, level=LogLevel.info)
        if not moves_on(status) and not (held is not None and held.of_key):
            return answer
        self._note(tries, name, str(status))
        tries.keep(answer)
        if tries.answer is answer and (plan.more() or not last):
            let_go(answer)
        return None

    async def _read(self, answer: Answer) -> bytes:
        """The beginning of an error's body."""
        exchange = answer.exchange
        answer.exchange = saved = SavedExchange(exchange, self._clock)
        body = await saved.read()
        answer.changed = answer.changed or differs(exchange)
        return body

    def _without_answer(self, tries: Tries, step: Step, plan: Plan, failure: UpstreamFailure) -> None:
        """A candidate gave no answer that could be passed on: who is to blame, and what the client is told."""
        name, model = step.provider.config.name, step.model
        seconds = bound(failure, step.provider)
        if failure.kind == "aborted":
            # The client's patience is over, which the other tries have used up, too.
            if 2 * (self._clock.seconds() - tries.asked_at) >= step.provider.clocks.first_byte:
                self._credentials.failed(step.credential, model, 504, [])
            else:
                self._credentials.abandoned(step.credential, model)
            failure = UpstreamFailure("first-byte-timeout", "all tries together", sent=failure.sent)
            seconds = tries.patience
        elif failure.kind in _NO_CONNECTION:
            self._credentials.unreachable(name, failure.kind)
            plan.leave_out(name)
        else:
            self._credentials.failed(step.credential, model, 504 if failure.kind.endswith("-timeout") else 502, [])
        tries.fail(step.provider, failure, seconds)
        self._note(tries, name, failure.kind)
        self._record(step, str(failure), sent=failure.sent, level=LogLevel.warn)

    def _note(self, tries: Tries, provider: str, what: str) -> None:
        """A try failed: for the client's story, and for the sum of all."""
        tries.note(provider, what)
        self.failed_tries[provider, what] = self.failed_tries.get((provider, what), 0) + 1

    def died(self, credential: Credential, model: str, failure: UpstreamFailure) -> None:
        """An answer that was on its way to the client broke off: the next request rather goes elsewhere."""
        if failure.kind in _DIED_IN_THE_ANSWER:
            self._credentials.failed(credential, model, 502, [])

    def ended_in_error(self, credential: Credential, model: str, error: bytes) -> None:
        """An answer on its way to the client ended in an error event: it is judged by what that says."""
        found = disguised(error)
        self._credentials.failed(credential, model, found.status, [], found.document)

    def _record(self, step: Step, outcome: str, *, sent: bool, level: Any) -> None:
        """One line for each request to a provider; the key is told by its place in the list."""
        if level < self.records.least:
            return
        fields = {
            "component": "llmux-try",
            "provider": step.provider.config.name,
            "key": step.credential.number + 1,
            "model": step.model,
            "outcome": outcome,
            "sent": sent,
        }
        self.records.emit(level, "{provider}, key {key}, for {model}: {outcome}", fields)

    def _tell(self, step: Step, codes: tuple[str, ...]) -> None:
        """Log what a request lost on its way to a provider (TRANSLATION 2.4)."""
        if not codes or self.records.least > LogLevel.info:
            return
        fields = {"provider": step.provider.config.name, "model": step.model, "codes": ", ".join(codes)}
        self.records.emit(LogLevel.info, "{provider}, for {model}, is not asked for quite the same: {codes}", fields)

    async def _look_at_the_beginning(self, call: ModelCall, answer: Answer) -> Disguised | None:
        """Wait for the first event, unless it could not be read; gives an error that came in disguise."""
        if encoding(answer.head.headers):
            return None
        streaming = call.generation.config.streaming
        stream = media_type(answer.head.headers) == b"text/event-stream"
        opening = Opening(answer.exchange, stream, self._clock, streaming.hold_ms / 1000, streaming.hold_bytes)
        answer.exchange = opening
        return await opening.verdict

    def _pause_before(self, call: ModelCall, number: int, longest: float) -> float:
        """Seconds before another round: until somebody is ready, doubling, and by chance a little more."""
        ready = min(
            self._credentials.ready_in(attempt.candidate.provider, attempt.candidate.model)
            for attempt in call.decision.attempts
        )
        return min(max(ready, 2.0 ** (number - 1)) * uniform(1.0, 1.25), longest)

    async def _try(self, tries: Tries, step: Step) -> Answer:
        call, attempt, provider, credential = tries.call, step.attempt, step.provider, step.credential
        translation = None
        changed = False
        warnings: tuple[str, ...] = ()
        if provider.config.kind == "demo":
            exchange = self._ask_demo(call, attempt)
        elif attempt.candidate.native:
            request, changed, warnings = native_request(call, provider, credential, attempt)
            exchange = self._send(request)
        else:
            request, translation = await self._translate(call, provider, credential, attempt)
            exchange = self._send(request)
        self._tell(step, warnings if translation is None else translation.warnings)
        # The first try has the clocks of its own provider; the others have what is left of the client's patience.
        late = None
        tries.asked_at = self._clock.seconds()
        if tries.sent:
            late = self._clock.callLater(max(tries.left(tries.asked_at), 0.0), exchange.abort)
        tries.sent += 1
        try:
            head = await exchange.head
        except CancelledError:
            exchange.abort()
            raise
        finally:
            tries.waited += self._clock.seconds() - tries.asked_at
            if late is not None and late.active():
                late.cancel()
        answer = Answer(exchange, head, provider, credential, attempt, changed, translation, warnings=warnings)
        if head.status >= 400:
            answer.exchange = redacted(exchange, answer.secrets)
        return answer

    async def _translate(
        self, call: ModelCall, provider: Provider, credential: Credential, attempt: Attempt
    ) -> tuple[OutgoingRequest, Translation]:
        """Encode the request for the provider, a long one in a thread; raises RequestRefused."""
        created, fresh_id = int(self._clock.seconds()), token_hex(12)
        return await self._long(call, _translate, call, provider, credential, attempt, self._vault, created, fresh_id)

    async def _long(self, call: ModelCall, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do some work on the call's body, for a long one in a thread: other streams must go on meanwhile."""
        if len(call.body) < LONG_BODY:
            return work(*args, **kwargs)
        done: T = await self.in_thread(work, *args, **kwargs)
        return done

    async def count(self, call: ModelCall) -> tuple[int, Attempt, bool]:
        """How many tokens a request has, for a provider of another format, and whether that is an estimate.

        A provider that has no endpoint for it, or whose endpoint fails, gives an estimate (TRANSLATION 7.3).
        """
        attempt = call.decision.attempts[0]
        candidate = attempt.candidate
        provider = call.generation.providers[candidate.provider]
        credential = self._credentials.take(candidate.provider, candidate.model, last_resort=True)
        try:
            question, estimated = await self._long(call, _question, call, provider, credential, attempt)
        except (CancelledError, RequestRefused):
            if credential is not None:
                self._credentials.abandoned(credential, candidate.model)
            raise
        if credential is None or question is None:
            if credential is not None:
                self._credentials.abandoned(credential, candidate.model)
            return estimated, attempt, True
        exchange = self._send(question)
        try:
            head = await exchange.head
            answer = await SavedExchange(exchange, self._clock).read()
            counted = decode_count(SPOKEN[provider.config.kind], msgspec.json.decode(answer))
        except CancelledError:
            exchange.abort()
            self._credentials.abandoned(credential, candidate.model)
            raise
        except (UpstreamFailure, msgspec.MsgspecError, ValueError) as problem:
            self.log.info("{provider} did not count: {kind}", provider=candidate.provider, kind=type(problem).__name__)
            self._credentials.abandoned(credential, candidate.model)
            counted = None
        else:
            if head.status >= 400:
                self._credentials.failed(credential, candidate.model, head.status, head.headers, answer)
                counted = None
            else:
                self._credentials.succeeded(credential, candidate.model)
        return (estimated, attempt, True) if counted is None else (counted, attempt, False)

    def _ask_demo(self, call: ModelCall, attempt: Attempt) -> Exchange:
        verb = call.action or call.verb
        return self._demo.send(call.protocol, verb, attempt.candidate.model, call.body, call.target)


def _question(
    call: ModelCall, provider: Provider, credential: Credential | None, attempt: Attempt
) -> tuple[OutgoingRequest | None, int]:
    """The question for the provider's counting endpoint, if it has one, and an estimate."""
    request = decoded(call)
    question = None if credential is None else count_request(call, request, provider, credential, attempt)
    return question, estimate(request)


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
    """Seconds that a client waits for its first byte, all tries together: the longest that a candidate may take."""
    providers = call.generation.providers
    allowed = [providers[attempt.candidate.provider].clocks.first_byte for attempt in call.decision.attempts]
    return max(call.generation.config.timeouts.first_byte, *allowed)


def moves_on(status: int) -> bool:
    """Whether another candidate is asked after this status (DESIGN D-42)."""
    return status in _MOVES_ON or status >= 500


def bound(failure: UpstreamFailure, provider: Provider) -> float:
    """The seconds that ran out, by the provider's clocks; 0 for a failure that is no timeout."""
    clock, timeout, _ = failure.kind.partition("-timeout")
    seconds: float = getattr(provider.clocks, clock.replace("-", "_"), 0.0) if timeout else 0.0
    return seconds


def advice(headers: RawHeaders, found: Blame | None) -> RawHeaders:
    """When to come back, for a client whose provider said it in a way of its own (reset headers, RetryInfo)."""
    if found is None or found.wait is None or any(name.lower() == b"retry-after" for name, _ in headers):
        return []
    return [(b"Retry-After", b"%d" % ceil(found.wait))]
