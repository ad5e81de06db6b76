"""`ModelRoutingWrapper`: what every model route does, from the body to the relayed answer (SPEC 0)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import LogLevel

from llmux.client_keys import Identity
from llmux.errors import (
    HTTPProblem,
    body_too_large,
    model_missing,
    no_provider,
    provider_failed,
    to_json,
)
from llmux.formats.count import encode_count
from llmux.formats.jsontext import LONG_BODY
from llmux.formats.losses import RequestRefused
from llmux.formats.neutral import Format
from llmux.headers import RawHeaders, for_changed_body, from_provider
from llmux.peers.call import Body, ModelCall
from llmux.peers.endpoints import COUNT
from llmux.peers.executor import Executor, bound
from llmux.peers.generation import Generation, Lasting
from llmux.peers.records import Records
from llmux.peers.served import ServedRequests
from llmux.peers.tries import Answer, ProviderUnreachable
from llmux.rewrite.amp_shape import ToolNames
from llmux.rewrite.cleaning import cleaning_steps
from llmux.rewrite.gunzip import TooLarge, plain_request
from llmux.rewrite.response import GunzipTransform, gunzip_transform, response_transform
from llmux.routing.decision import RoutingDecision, RoutingRequest
from llmux.routing.extractor import ModelExtractor
from llmux.routing.record import record
from llmux.web.accounts import Account, Accounts
from llmux.web.captured import captured
from llmux.web.cors import cors_headers
from llmux.web.journal import Entry, Journal
from llmux.web.late_head import LateHead
from llmux.web.matching import Match
from llmux.web.passthrough import Passthrough
from llmux.web.telling import refusal, said_of, told, unanswered
from llmux.web.translated import TranslatedAnswer, warned
from llmux.web.verbs import wanted
from llmux.web.vigil import Vigil, Watch, over_stream
from llmux.wire.body import BodyLost, BodyTooLarge
from llmux.wire.outgoing import UpstreamFailure
from llmux.wire.relay import NO_LAST_WORDS, Outcome, Relay
from llmux.wire.request import Request

LEVELS = {"debug": LogLevel.debug, "info": LogLevel.info, "warning": LogLevel.warn}
REQUEST_ID = b"x-amp-client-request-id"
_MOST_KEPT = 1024 * 1024  # bytes of a request that wait, unread, for the first tool call of its answer
_IDENTICAL, _SPLICED, _TRANSLATED = ((b"x-llmux-body", how) for how in (b"identical", b"spliced", b"translated"))


class ModelRoutingWrapper:
    """Collects, cleans, peeks, decides, logs, and hands the request to the executor or to the upstream."""

    def __init__(
        self,
        executor: Executor,
        passthrough: Passthrough,
        lasting: Lasting,
        served: ServedRequests,
        clock: IReactorTime,
        keepalive: Callable[[], float],
        accounts: Accounts,
    ) -> None:
        self._executor = executor
        self._passthrough = passthrough
        self._lasting = lasting
        self._served = served
        self._clock = clock
        self._extractor = ModelExtractor()
        self.watch = Watch(clock, keepalive)
        self.journal = Journal(clock.seconds)
        self._accounts = accounts
        self.records = Records(type(self))

    async def handle(self, request: Request, match: Match, identity: Identity, generation: Generation) -> None:
        """Answer one model request; raises HTTPProblem for whatever ends it early."""
        want = wanted(match)
        limit = generation.config.limits.body
        try:
            raw = await request.body.collect(limit)
        except BodyTooLarge:
            raise body_too_large(want.protocol, limit) from None
        except BodyLost:
            # The client is gone or broke the framing; the wire has told it what there was to tell.
            request.break_off()
            return
        began = self._clock.seconds()
        try:
            plain, was_gzip = plain_request(request.headers, raw, limit)
        except TooLarge:
            raise body_too_large(want.protocol, limit) from None
        peek = self._extractor.peek(plain, None, match.raw, want.protocol == "gemini")
        if peek.model is None:
            raise model_missing(want.protocol)
        # Cleaning takes nothing out that the peek looks at, so that a spotless body is read once.
        body = plain if peek.spotless else await self._cleaned(plain)
        decision = generation.router.resolve(
            RoutingRequest(peek.model, want.protocol, force=generation.config.ampcode.force_model_mappings)
        )
        self._log_decision(decision, request)
        capture = self._lasting.captures.begin(generation.config, peek.model)
        if capture is not None:
            capture.client_request(request.method, request.uri, request.headers, plain)
            capture.note("decision", route=decision.route_type.value, reason=decision.reason)
            request = captured(request, capture)
        with (
            capture or nullcontext(),
            self.journal.begin(decision, want.protocol, request) as entry,
            self._accounts.open(began, decision, identity.key, request, want.verb != COUNT) as account,
        ):
            entry.counting = account
            encoded = raw if was_gzip and body is plain else None
            if decision.should_proxy:
                sent = encoded or body
                headers = request.headers if sent is raw else for_changed_body(request.headers, None)
                await self._on_credits(request, match, identity, generation, decision, headers, sent, entry, account)
                return
            if not decision.attempts:
                raise told(no_provider(want.protocol, peek.model, decision.refusal), said_of(decision, "", ""))
            request_id = request.header(REQUEST_ID)
            if request_id is not None:
                self._served.add(request_id)
            call = ModelCall(
                generation=generation,
                protocol=want.protocol,
                verb=want.verb,
                action=want.action,
                target=request.uri,
                headers=request.headers,
                body=body,
                encoded=encoded,
                stream=want.action == "streamGenerateContent" if want.action else peek.stream,
                client_key=identity.key,
                requested_model=peek.model,
                decision=decision,
                capture=capture,
                unsigned=peek.unsigned and want.protocol == "chat",
            )
            del raw, plain, body, encoded  # this frame lasts as long as the answer, and `call` lets go of them before
            if want.verb == COUNT and not decision.attempts[0].candidate.native:
                await self._count(request, call, entry)
            else:
                await self._from_provider(request, call, entry, account)

    async def _cleaned(self, body: Body) -> Body:
        """Clean a body (SPEC 7.1); a long one in pieces, so that other streams go on in between."""
        steps = cleaning_steps(body)
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                cleaned: Body = stop.value
                return cleaned
            if len(body) > LONG_BODY:
                await deferLater(self._clock, 0, lambda: None)

    async def _on_credits(
        self,
        request: Request,
        match: Match,
        identity: Identity,
        generation: Generation,
        decision: RoutingDecision,
        headers: RawHeaders,
        body: Body,
        entry: Entry,
        account: Account,
    ) -> None:
        """Pass a request that costs credits to the upstream, byte for byte but for the cleaning (SPEC R-RQ-3)."""
        # The decision was made in this very turn, so that what it found left is still there.
        self._lasting.credits.charge(generation.config.ampcode.credits.daily_requests)
        cors = cors_headers(generation.config.cors_origins, request.header(b"origin"))
        said = said_of(decision, "upstream", decision.resolved_model)
        entry.provider = account.provider = "upstream"
        protocol = match.route.protocol or ""

        def answering(
            status: int, method: bytes, fields: RawHeaders, most: int
        ) -> tuple[RawHeaders, GunzipTransform | None]:
            self.journal.answering(entry, "upstream", decision.resolved_model)
            account.watch(protocol, status, over_stream(protocol, request, status, fields))
            return gunzip_transform(status, method, fields, most)

        try:
            outcome = await self._passthrough.forward(
                request,
                generation,
                target=match.route.credits_prefix.encode() + request.uri,
                client_key=identity.key,
                headers=headers,
                body=body,
                extra=lambda changed: [*said, _SPLICED if changed else _IDENTICAL, *cors],
                edit=answering,
                watch=account.see,
                whole=account.whole,
                unsent=self._lasting.credits.refund,
            )
        except HTTPProblem as problem:
            raise told(problem, said) from problem.__cause__
        if outcome is not None:
            self._ended(entry, account, account.vigil, outcome)

    async def _count(self, request: Request, call: ModelCall, entry: Entry) -> None:
        """Answer a counting question for a provider of another format (TRANSLATION 7.3)."""
        try:
            tokens, attempt, estimated = await self._executor.count(call)
        except RequestRefused as problem:
            raise told(refusal(call.protocol, problem), said_of(call.decision, "", "")) from None
        said = [*said_of(call.decision, attempt.candidate.provider, attempt.model), _TRANSLATED]
        said += cors_headers(call.generation.config.cors_origins, request.header(b"origin"))
        if estimated:
            said.append((b"x-llmux-estimated", b"true"))
        body = to_json(encode_count(cast(Format, call.protocol), tokens))
        self.journal.answering(entry, attempt.candidate.provider, attempt.model)
        request.respond(200, [(b"Content-Type", b"application/json"), *said], body)

    async def _from_provider(self, request: Request, call: ModelCall, entry: Entry, account: Account) -> None:
        try:
            answer = await self._executor.answer(call)
        except ProviderUnreachable as problem:
            name = entry.provider = account.provider = problem.provider.config.name
            entry.tried(problem.story)
            said = said_of(call.decision, name, call.decision.resolved_model, problem.story)
            raise told(unanswered(call.protocol, name, problem.failure, problem.seconds), said) from problem
        except RequestRefused as problem:
            raise told(refusal(call.protocol, problem), said_of(call.decision, "", "")) from None
        self.journal.answering(entry, answer.provider.config.name, answer.attempt.model, answer.story)
        head = answer.head
        vigil = over_stream(
            call.protocol,
            request,
            head.status,
            head.headers,
            translated=answer.translation is not None,
            untouchable=head.length is not None,
        )
        account.answered(answer, vigil)
        if call.capture is not None:
            answer.exchange = call.capture.provider_side(answer.exchange, answer.head)
        relaying = self._relay(request, call, answer, vigil, account)
        # The answer is committed: nothing needs the bodies and the heads any more, and a stream may last for hours.
        call.body, call.encoded, call.headers = b"", None, []
        request.body.release()
        if request.status:
            request.forget_head()
        credential, model = answer.credential, answer.attempt.candidate.model
        del answer, head
        if vigil is None:
            outcome = await relaying.done
        else:
            self.watch.begin(vigil)
            try:
                outcome = await relaying.done
            finally:
                self.watch.end(vigil)
        if isinstance(relaying, TranslatedAnswer) and relaying.vault_entries:
            self._lasting.vault.put(call.client_key, relaying.vault_entries)
        if outcome.failure is not None and not outcome.client_gone:
            self._executor.died(credential, model, outcome.failure)
        elif vigil is not None and vigil.ping is None and vigil.error:
            self._executor.ended_in_error(credential, model, vigil.error)
        self._ended(entry, account, vigil, outcome)

    def _ended(self, entry: Entry, account: Account, vigil: Vigil | None, outcome: Outcome) -> None:
        """Take down how an answer ended; `vigil` is who watched over a stream."""
        failure = str(outcome.failure) if outcome.failure is not None and not outcome.client_gone else ""
        if vigil is not None and vigil.ping is None:
            account.failed = vigil.ended_in_error
            if outcome.complete and not vigil.ended_well:
                failure = NO_LAST_WORDS
        if failure:
            account.failed = True
            entry.failure = failure
            self.watch.cut += 1
            self._executor.log.warn(
                "{provider}: the answer for {model} was cut: {failure}",
                provider=account.provider,
                model=account.model,
                failure=failure,
            )

    def _relay(
        self, request: Request, call: ModelCall, answer: Answer, vigil: Vigil | None, account: Account
    ) -> Relay | TranslatedAnswer:
        decision, head = call.decision, answer.head
        said = said_of(decision, answer.provider.config.name, answer.attempt.model, answer.story)
        said += cors_headers(call.generation.config.cors_origins, request.header(b"origin"))
        fixes = decision.effects.amp_shape_fixes and call.protocol == "anthropic"
        names = ToolNames(call.body) if fixes else None
        if names is not None and len(call.body) > _MOST_KEPT:
            names.settle()
        if answer.translation is not None:
            translated = TranslatedAnswer(
                request,
                answer.exchange,
                head,
                answer.translation,
                [*from_provider(head.headers, answer.secrets), *answer.advice],
                [*said, _TRANSLATED],
                call.generation.config.limits.response,
                self._executor.in_thread,
                vigil,
                account.see,
                names,
            )
            account.counting = translated
            return translated
        said += warned(answer.warnings)
        watch = account.watch(call.protocol, head.status, vigil)
        whole = account.whole if head.until_close else None
        headers, transform = response_transform(
            head.status,
            request.method,
            [*from_provider(head.headers, answer.secrets), *answer.advice],
            rewrite_model=call.requested_model if decision.effects.rewrite_response_model else None,
            shape_fixes=fixes,
            provider_is_anthropic=answer.provider.config.kind == "anthropic",
            tools=names,
            limit=call.generation.config.limits.response,
        )
        if transform is None:
            said.append(_SPLICED if answer.changed else _IDENTICAL)
            request.start(head.status, headers + said, head.reason or None)
            return Relay(answer.exchange, request, None, watch, whole=whole)
        settled = transform

        def finished(final: RawHeaders) -> RawHeaders:
            spliced = answer.changed or settled.label == "spliced"
            return [*final, *said, _SPLICED if spliced else _IDENTICAL]

        broken: list[UpstreamFailure] = []

        def last_words(failure: UpstreamFailure) -> bytes:
            broken.append(failure)
            return b""

        def instead() -> HTTPProblem:
            name = answer.provider.config.name
            if not broken:
                return told(provider_failed(call.protocol, name), said)
            seconds = bound(broken[0], answer.provider)
            return told(unanswered(call.protocol, name, broken[0], seconds), said)

        late = LateHead(request, head.status, head.reason, transform, finished, instead)
        late.settle()
        return Relay(answer.exchange, late, transform, watch, last_words, whole)

    def _log_decision(self, decision: RoutingDecision, request: Request) -> None:
        level = LEVELS[decision.route_type.level]
        if level < self.records.least:
            return
        _, message, fields = record(decision, request.path.decode("latin-1"), self._clock.seconds())
        self.records.emit(level, message, fields)
