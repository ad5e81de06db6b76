"""Writes down both sides of chosen requests, with their timing and without a secret, for `llmux replay`.

Off by default. One file per request, a JSON object per line, for its owner's eyes only (mode 0600). What is written is
redacted before it is kept: credentials in headers and queries by name, and every known key wherever it stands. Prompts
and answers are what a capture is for, so they are in it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from secrets import token_hex
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from llmux.config.model import CaptureConfig, Config
from llmux.headers import RawHeaders, redact, sought
from llmux.peers.redacted import Mask
from llmux.peers.saved import Exchange
from llmux.routing.wildcard import matches_any
from llmux.targets import strip_query_credentials
from llmux.wire.outgoing import OutgoingRequest, Receiver, UpstreamFailure
from llmux.wire.response_head import ResponseHead

FLUSH_BYTES = 256 * 1024
HIDDEN = "[redacted]"
_SECRET = rb"auth|authorization|cookie|credential|key|password|secret|sig|signature|token"
# Newer Amp clients send a token in a WebSocket's subprotocol.
_SECRET_HEADER = re.compile(rb"(?:.*-)?(?:%b)|sec-websocket-protocol" % _SECRET, re.IGNORECASE)
_SECRET_PARAMETER = re.compile(rb"(?<=[?&])((?:[^&=]*[-_])?(?:%b)=)[^&]*" % _SECRET, re.IGNORECASE)
InThread = Callable[..., Deferred[Any]]


def secrets_of(config: Config) -> Iterator[str]:
    """Every key that a configuration holds, and every extra header's value, which may be one."""
    yield from keys_of(config)
    yield from (value for provider in config.providers for _, value in provider.headers)


def keys_of(config: Config) -> Iterator[str]:
    """Every key that a configuration holds."""
    yield from (key.reveal() for key in config.api_keys)
    yield from (key.reveal() for provider in config.providers for key in provider.api_keys)
    amp = config.ampcode
    if amp.upstream_api_key is not None:
        yield amp.upstream_api_key.reveal()
    for entry in amp.upstream_api_keys:
        yield entry.upstream_api_key.reveal()
        yield from (key.reveal() for key in entry.api_keys)


class Captures:
    """Begins captures as the configuration wants them, and keeps their folder below its size."""

    log = Logger()

    def __init__(self, in_thread: InThread, seconds: Callable[[], float] = time.time) -> None:
        self._in_thread = in_thread
        self._seconds = seconds
        self._turn = DeferredLock()
        self._complained = False

    def begin(self, whole: Config, model: str) -> Capture | None:
        """A capture of a request for `model`, None when it is not wanted."""
        config = whole.capture
        if config is None or not matches_any(config.models, model):
            return None
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(self._seconds()))
        path = Path(config.directory) / f"{stamp}-{token_hex(4)}.jsonl"
        return Capture(self, config, path, [*secrets_of(whole)], self._seconds)

    def write(self, config: CaptureConfig, path: Path, text: str) -> Deferred[None]:
        """Append to a capture's file in a thread; a failure is said once and never reaches the request."""
        done: Deferred[None] = self._turn.run(self._in_thread, _append, config, path, text)
        return done.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if not self._complained:
            self._complained = True
            self.log.error("captures cannot be written: {problem}", problem=failure.getErrorMessage())


def _append(config: CaptureConfig, path: Path, text: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = not path.exists()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "a") as file:
        file.write(text)
    if new:
        _make_room(config, path)


def _make_room(config: CaptureConfig, newest: Path) -> None:
    """Remove the oldest captures while all of them together are too large."""
    files = sorted((entry for entry in newest.parent.glob("*.jsonl") if entry != newest), key=lambda entry: entry.name)
    sizes = {entry: entry.stat().st_size for entry in files}
    total = sum(sizes.values()) + newest.stat().st_size
    for entry in files:
        if total <= config.max_size:
            return
        entry.unlink()
        total -= sizes[entry]


class Capture:
    """One request being written down."""

    def __init__(
        self,
        captures: Captures,
        config: CaptureConfig,
        path: Path,
        secrets: list[str],
        seconds: Callable[[], float],
    ) -> None:
        self._captures = captures
        self._config = config
        self._path = path
        self._secrets = secrets
        self._seconds = seconds
        self._began = seconds()
        self._lines: list[str] = []
        self._size = 0
        self._written = 0
        self._masks: dict[str, Mask] = {}

    def __enter__(self) -> Capture:
        return self

    def __exit__(self, kind: type[BaseException] | None, problem: BaseException | None, trace: object) -> None:
        for side in [*self._masks]:
            self._rest(side)
        if problem is not None:
            self.note("ended", by=type(problem).__name__)
        self.flush()

    def note(self, side: str, **values: Any) -> None:
        """Write down one thing that happened; milliseconds since the beginning are added."""
        line = json.dumps({"ms": round((self._seconds() - self._began) * 1000, 1), "side": side, **values}) + "\n"
        if self._written + self._size + len(line) > self._config.max_size:
            return
        self._lines.append(line)
        self._size += len(line)
        if self._size > FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what is kept to the thread that writes."""
        if self._lines:
            text = "".join(self._lines)
            self._lines.clear()
            self._written += self._size
            self._size = 0
            self._captures.write(self._config, self._path, text)

    def client_request(self, method: bytes, target: bytes, headers: RawHeaders, body: bytes | bytearray) -> None:
        """The request as the client sent it."""
        self.note(
            "client-request",
            time=self._began,
            method=method.decode("latin-1"),
            target=self._target(target),
            headers=self._headers(headers),
            body=self._text(bytes(body)),
        )

    def provider_request(self, provider: str, request: OutgoingRequest) -> None:
        """The request as it goes to a provider."""
        body = request.body
        self.note(
            "provider-request",
            provider=provider,
            method=request.method.decode("latin-1"),
            target=self._target(request.target),
            headers=self._headers(request.headers),
            body=self._text(bytes(body)) if isinstance(body, bytes | bytearray) else None,
        )

    def head(self, side: str, status: int, headers: RawHeaders) -> None:
        """The head of an answer."""
        self.note(side, status=status, headers=self._headers(headers))

    def data(self, side: str, data: bytes) -> None:
        """A piece of an answer; what may be the beginning of a key waits for the next one."""
        mask = self._masks.get(side)
        if mask is None:
            mask = self._masks[side] = Mask(sought(self._secrets))
        safe = mask.feed(data)
        if safe:
            self.note(side, data=_readable(safe))

    def over(self, side: str, how: str, **values: Any) -> None:
        """The pieces of a side are over."""
        self._rest(side)
        self.note(how, **values)

    def _rest(self, side: str) -> None:
        mask = self._masks.pop(side, None)
        rest = mask.close() if mask is not None else b""
        if rest:
            self.note(side, data=_readable(rest))

    def provider_side(self, exchange: Exchange, head: ResponseHead) -> Exchange:
        """The exchange, with its answer written down as it passes."""
        self.head("provider-answer", head.status, head.headers)
        return _CapturedExchange(exchange, self)

    def _text(self, data: bytes) -> str:
        return _readable(redact(data, self._secrets))

    def _target(self, target: bytes) -> str:
        hidden = _SECRET_PARAMETER.sub(rb"\1" + HIDDEN.encode(), strip_query_credentials(target))
        return self._text(hidden)

    def _headers(self, headers: RawHeaders) -> list[tuple[str, str]]:
        return [
            (name.decode("latin-1"), HIDDEN if _SECRET_HEADER.fullmatch(name) else self._text(value))
            for name, value in headers
        ]


def _readable(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


class _CapturedExchange:
    """An exchange whose body is seen on its way."""

    def __init__(self, exchange: Exchange, capture: Capture) -> None:
        self.head = exchange.head
        self.pause = exchange.pause
        self.resume = exchange.resume
        self.abort = exchange.abort
        self._exchange = exchange
        self._capture = capture
        self._receiver: Receiver | None = None

    def relay(self, receiver: Receiver) -> None:
        """Hand the body on, written down."""
        self._receiver = receiver
        self._exchange.relay(self)

    def redirect(self, receiver: Receiver) -> None:
        """Hand the rest of the body to another receiver."""
        self._receiver = receiver

    def data(self, data: bytes) -> None:
        """Take a piece of the body."""
        self._capture.data("provider-data", data)
        if self._receiver is not None:
            self._receiver.data(data)

    def end(self, trailers: RawHeaders) -> None:
        """Take the end of the body."""
        self._capture.over("provider-data", "provider-end")
        if self._receiver is not None:
            self._receiver.end(trailers)

    def failed(self, failure: UpstreamFailure) -> None:
        """Take notice that the body broke off."""
        self._capture.over("provider-data", "provider-failed", failure=str(failure))
        if self._receiver is not None:
            self._receiver.failed(failure)
