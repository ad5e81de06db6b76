"""Error answers without our own credentials in them: some services echo the key that they refuse (HOSTILE 11)."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.defer import Deferred

from llmux.headers import RawHeaders, sought
from llmux.peers.saved import Exchange
from llmux.wire.outgoing import Receiver, UpstreamFailure
from llmux.wire.response_head import ResponseHead

_MASK = b"*"


class Mask:
    """Puts asterisks in place of secrets, whatever pieces they come in; the length of the body stays what it is.

    `found` says that there was one.
    """

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = [(secret, _MASK * len(secret)) for secret in secrets]
        self._held = b""
        self.found = False

    def feed(self, data: bytes) -> bytes:
        """The bytes that are safe by now; what may be the beginning of a secret is held back."""
        if self._held:
            data = self._held + data
        for secret, mask in self._secrets:
            if secret in data:
                self.found = True
                data = data.replace(secret, mask)
        held = 0
        for secret, _ in self._secrets:
            for size in range(min(len(secret) - 1, len(data)), held, -1):
                if data.endswith(secret[:size]):
                    held = size
                    break
        self._held = data[len(data) - held :]
        return data[: len(data) - held]

    def close(self) -> bytes:
        """What was held back: it was no secret."""
        held, self._held = self._held, b""
        return held


class RedactedExchange:
    """An exchange whose body goes through a mask."""

    def __init__(self, exchange: Exchange, secrets: Iterable[bytes]) -> None:
        self.head: Deferred[ResponseHead] = exchange.head
        self._exchange = exchange
        self._mask = Mask(secrets)
        self._receiver: Receiver | None = None
        self._over = False

    @property
    def differs(self) -> bool:
        """Whether a secret was masked, or may still be."""
        return self._mask.found or not self._over

    def relay(self, receiver: Receiver) -> None:
        """Hand the body to `receiver`."""
        self._receiver = receiver
        self._exchange.relay(self)

    def redirect(self, receiver: Receiver) -> None:
        """Hand the rest of the body to another receiver."""
        self._receiver = receiver

    def data(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._receiver is not None and (safe := self._mask.feed(data)):
            self._receiver.data(safe)

    def end(self, trailers: RawHeaders) -> None:
        """Take the end of the body."""
        self._flush()
        if self._receiver is not None:
            self._receiver.end(trailers)

    def failed(self, failure: UpstreamFailure) -> None:
        """Take notice that the body broke off."""
        self._flush()
        if self._receiver is not None:
            self._receiver.failed(failure)

    def pause(self) -> None:
        """Stop reading the body."""
        self._exchange.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._exchange.resume()

    def abort(self) -> None:
        """Give the answer up; nobody hears of it again."""
        self._receiver = None
        self._exchange.abort()

    def _flush(self) -> None:
        self._over = True
        rest = self._mask.close()
        if rest and self._receiver is not None:
            self._receiver.data(rest)


def redacted(exchange: Exchange, secrets: Iterable[str | None]) -> Exchange:
    """The exchange of an error answer with a mask before it, or as it is when there is nothing to hide."""
    wanted = sought(secrets)
    return RedactedExchange(exchange, wanted) if wanted else exchange


def differs(exchange: Exchange) -> bool:
    """Whether the body that comes out of an exchange may be another than what the peer sent."""
    return isinstance(exchange, RedactedExchange) and exchange.differs
