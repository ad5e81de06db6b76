"""The transparent reverse proxy: everything that is not a model request, WebSockets included (SPEC 11, 14, 16)."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from llmux.errors import upstream_failed
from llmux.headers import RawHeaders, from_upstream
from llmux.peers.generation import Generation
from llmux.peers.redacted import differs, redacted
from llmux.peers.saved import Exchange as AnyExchange
from llmux.rewrite.response import GunzipTransform, ResponseTransform, gunzip_transform
from llmux.web.late_head import LateHead
from llmux.wire.body import RequestBody
from llmux.wire.exchange import Exchange
from llmux.wire.outgoing import UpstreamFailure
from llmux.wire.pool import Pool
from llmux.wire.relay import Outcome, Relay
from llmux.wire.request import Request
from llmux.wire.response_head import ResponseHead
from llmux.wire.tunnel import join

Edit = Callable[[int, bytes, RawHeaders, int], tuple[RawHeaders, ResponseTransform | GunzipTransform | None]]
"""Chooses the transform of a body by status, method, headers and the most bytes that may be held of it."""


def wants_upgrade(request: Request) -> bool:
    """Whether a client asks for another protocol; for HTTP/2 without TLS it may ask, and stays with HTTP/1.1."""
    return request.upgrade is not None and not request.upgrade.lower().startswith(b"h2c")


class Passthrough:
    """Sends requests to the upstream as they are and its answers back as they come."""

    log = Logger()

    def __init__(self, pool: Pool, clock: IReactorTime) -> None:
        self._pool = pool
        self._clock = clock
        self.tunnels = 0

    async def forward(
        self,
        request: Request,
        generation: Generation,
        *,
        target: bytes,
        client_key: str | None,
        lend_key: bool = True,
        body: bytes | bytearray | RequestBody | None,
        headers: RawHeaders | None = None,
        extra: Callable[[bool], RawHeaders] = lambda changed: [],
        edit: Edit = gunzip_transform,
        watch: Callable[[bytes], None] | None = None,
        whole: Callable[[], bool] | None = None,
        unsent: Callable[[], None] | None = None,
    ) -> Outcome | None:
        """One request and its answer, and how that ended; raises HTTPProblem when the upstream gives no answer.

        `headers` stand for the request's own when its body was changed, `extra` gives headers of ours for the answer
        when told whether its body may differ from the upstream's, `edit` chooses the transform of its body, `watch`
        sees every piece of it as it came, and `whole` is asked at its end where the framing cannot tell. `unsent` is
        called when nothing of the request has reached the upstream, and nothing will.
        """
        upstream = generation.upstream
        if upstream is None:
            raise upstream_failed()
        upstream_key = upstream.key_for(client_key) if lend_key else None
        upgrade = request.upgrade if self._may_upgrade(request, generation) else None
        outgoing = upstream.request(
            request.method,
            target,
            request.headers if headers is None else headers,
            body,
            client_key=client_key,
            upstream_key=upstream_key,
            upgrade=upgrade,
        )
        secrets = (upstream_key,)
        exchange = self._pool.send(
            outgoing, lambda status, fields: request.interim(status, from_upstream(fields, secrets))
        )
        try:
            head = await exchange.head
        except (CancelledError, UpstreamFailure) as failure:
            if unsent is not None and not exchange.sent:
                unsent()
            if isinstance(failure, CancelledError):
                raise
            if not request.gone:
                path = target.partition(b"?")[0].decode("latin-1")
                method = request.method.decode("latin-1")
                self.log.error("{method} {path}: upstream: {problem}", method=method, path=path, problem=str(failure))
            raise upstream_failed() from failure
        if head.status == 101:
            await self._tunnel(request, exchange, from_upstream(head.headers, secrets))
            return None
        answer = redacted(exchange, secrets) if head.status >= 400 else exchange
        if not head.until_close:
            whole = None
        headers, transform = edit(
            head.status, request.method, from_upstream(head.headers, secrets), generation.config.limits.response
        )
        return await self._answer(request, answer, head, headers, extra, transform, watch, whole)

    def _may_upgrade(self, request: Request, generation: Generation) -> bool:
        # A body that is still under way could not be told from the bytes of the new protocol.
        return wants_upgrade(request) and request.body.complete and self.tunnels < generation.config.limits.tunnels

    async def _answer(
        self,
        request: Request,
        exchange: AnyExchange,
        head: ResponseHead,
        headers: RawHeaders,
        extra: Callable[[bool], RawHeaders],
        transform: ResponseTransform | GunzipTransform | None,
        watch: Callable[[bytes], None] | None,
        whole: Callable[[], bool] | None,
    ) -> Outcome:
        masked = differs(exchange)
        if transform is None:
            request.start(head.status, headers + extra(masked), head.reason or None)
            relay = Relay(exchange, request, None, watch, whole=whole)
        else:
            late = LateHead(
                request,
                head.status,
                head.reason,
                transform,
                lambda settled: settled + extra(masked or transform.changed),
                upstream_failed,
            )
            late.settle()
            relay = Relay(exchange, late, transform, watch, whole=whole)
        return await relay.done

    async def _tunnel(self, request: Request, exchange: Exchange, headers: RawHeaders) -> None:
        """Join both connections after the upstream's 101 (DESIGN D-41)."""
        tunnel = join(request, exchange, headers, self._clock)
        self.tunnels += 1
        try:
            await tunnel.done
        finally:
            self.tunnels -= 1
