"""A model call and what asks its providers, without sockets: exchanges are played by hand, the clock stands still."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from llmux.config import load_bytes
from llmux.headers import RawHeaders
from llmux.peers.call import ModelCall
from llmux.peers.capture import Captures
from llmux.peers.credentials import Credentials
from llmux.peers.credits import DailyCredits
from llmux.peers.demo.exchange import Demo
from llmux.peers.executor import Executor
from llmux.peers.generation import Generation, Lasting, build
from llmux.peers.secrets import UpstreamKeys
from llmux.peers.sessions import Sessions
from llmux.peers.vault import Vault
from llmux.routing.decision import RoutingRequest
from llmux.wire.outgoing import OutgoingRequest, Receiver, UpstreamFailure
from llmux.wire.response_head import ResponseHead

MODEL = "m-1"
NOW = 1_790_000_000.0
EVENTS: RawHeaders = [(b"Content-Type", b"text/event-stream")]


def in_thread(work: Any, *arguments: Any, **named: Any) -> Deferred[Any]:
    """Do it at once: tests have no threads."""
    return succeed(work(*arguments, **named))


class PlayedExchange:
    """An exchange whose answer a test plays; it keeps what was done to it in `events`."""

    def __init__(self, request: OutgoingRequest | None = None) -> None:
        self.request = request
        self.head: Deferred[ResponseHead] = Deferred(lambda _: self.events.append("cancel"))
        self.events: list[str] = []
        self.receiver: Receiver | None = None
        self._early: list[bytes] = []
        self._outcome: UpstreamFailure | RawHeaders | None = None

    def relay(self, receiver: Receiver) -> None:
        """Hand over what came."""
        self.receiver = receiver
        for piece in self._early:
            self.receiver.data(piece)
        if isinstance(self._outcome, UpstreamFailure):
            self.receiver.failed(self._outcome)
        elif self._outcome is not None:
            self.receiver.end(self._outcome)

    def redirect(self, receiver: Receiver) -> None:
        """Hand over the rest to somebody else."""
        self.receiver = receiver

    def pause(self) -> None:
        """Note it."""
        self.events.append("pause")

    def resume(self) -> None:
        """Note it."""
        self.events.append("resume")

    def abort(self) -> None:
        """Note it, and fail a head that has not come."""
        self.events.append("abort")
        self.receiver = None
        if not self.head.called:
            self.head.errback(UpstreamFailure("aborted", sent=True))
            self.head.addErrback(lambda _: None)

    # what the provider does

    def answer(self, status: int = 200, headers: RawHeaders | None = None, body: bytes | None = None) -> None:
        """The head comes, and the whole body if there is one."""
        self.head.callback(ResponseHead(status, b"", [] if headers is None else headers))
        if body is not None:
            self.data(body)
            self.end()

    def data(self, data: bytes) -> None:
        """A piece of the body comes."""
        if self.receiver is None:
            self._early.append(data)
        else:
            self.receiver.data(data)

    def end(self) -> None:
        """The body is complete."""
        if self.receiver is None:
            self._outcome = []
        else:
            self.receiver.end([])

    def fail(self, kind: str, sent: bool = True) -> None:
        """The exchange breaks off."""
        failure = UpstreamFailure(kind, sent=sent)
        if self.receiver is not None:
            self.receiver.failed(failure)
        elif self.head.called:
            self._outcome = failure
        else:
            self.head.errback(failure)


class Reading:
    """Receives a body."""

    def __init__(self) -> None:
        self.body = b""
        self.outcome = ""

    def data(self, data: bytes) -> None:
        """Take a piece."""
        self.body += data

    def end(self, trailers: RawHeaders) -> None:
        """Take the end."""
        self.outcome = "end"

    def failed(self, failure: UpstreamFailure) -> None:
        """Take a failure."""
        self.outcome = failure.kind


class Calling:
    """One configuration with everything that a call needs, and the exchanges that were begun."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.credentials = Credentials(self.clock.seconds)
        self.lasting = Lasting(
            self.credentials,
            DailyCredits(self.clock.seconds),
            UpstreamKeys(self.clock.seconds, lambda: None, {}),
            Vault(),
            Captures(in_thread, self.clock.seconds),
        )
        self.sessions = Sessions(self.credentials, self.clock.seconds)
        self.sent: list[PlayedExchange] = []
        self.executor = Executor(
            self._send, Demo(self.clock), self.credentials, Vault(), self.sessions, self.clock, in_thread
        )
        self.number = 0
        self.generation = self.configure(config)

    def configure(self, config: Mapping[str, Any]) -> Generation:
        """Put another configuration in force."""
        self.number += 1
        text = yaml.safe_dump(dict(config)).encode()
        self.generation = build(load_bytes(text, "llmux.yaml", {}), self.number, self.lasting)
        return self.generation

    def _send(self, request: OutgoingRequest) -> PlayedExchange:
        self.sent.append(PlayedExchange(request))
        return self.sent[-1]

    def call(
        self,
        model: str = MODEL,
        body: Mapping[str, Any] | bytes | None = None,
        headers: RawHeaders | None = None,
        client_key: str | None = "ck-1",
        protocol: str = "chat",
    ) -> ModelCall:
        """A request of a client as the executor gets it."""
        if not isinstance(body, bytes):
            body = json.dumps({"model": model, **(body or {"messages": [{"role": "user", "content": "hi"}]})}).encode()
        decision = self.generation.router.resolve(RoutingRequest(model, protocol))
        target = b"/v1/messages" if protocol == "anthropic" else b"/v1/chat/completions"
        return ModelCall(
            self.generation,
            protocol,
            "generate",
            "",
            target,
            [(b"Content-Type", b"application/json"), *(headers or [])],
            body,
            None,
            b'"stream": true' in body,
            client_key,
            model,
            decision,
        )

    def keys(self) -> list[str]:
        """The key of each request that was sent."""
        return [*self._keys()]

    def _keys(self) -> Iterator[str]:
        for exchange in self.sent:
            assert exchange.request is not None
            named = {name.lower(): value for name, value in exchange.request.headers}
            yield named.get(b"authorization", b"Bearer -").partition(b" ")[2].decode()

    @property
    def newest(self) -> PlayedExchange:
        """The exchange that was begun last."""
        return self.sent[-1]

    def cooling(self) -> list[tuple[str, str, str | None]]:
        """What is left alone, as (provider, reason, model)."""
        return [(row.provider, row.reason, row.model) for row in self.credentials.listing()]


def providers(*names: str, keys: int = 1, **more: Any) -> list[dict[str, Any]]:
    """Providers that serve one model, each with keys of its own: `pk-a-1`, `pk-a-2`, ..."""
    return [
        {
            "name": name,
            "kind": "openai",
            "base-url": f"http://{name}.example",
            "api-keys": [f"pk-{name}-{number}" for number in range(1, keys + 1)],
            "models": [MODEL],
            **more,
        }
        for name in names
    ]
