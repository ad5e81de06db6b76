"""Keeps a conversation on the credential that holds its prompt cache, for a while and within bounds."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from llmux.peers.call import ModelCall
from llmux.peers.credentials import Credential, Credentials

MOST_SESSIONS = 10_000
TIME_TO_LIVE = 3600.0
# The clients' own names for a conversation, most telling first (CLIENTS 2, AMP 3).
_HEADERS = (
    b"x-amp-thread-id",
    b"x-claude-code-session-id",
    b"session-id",
    b"session_id",
    b"thread-id",
    b"conversation-id",
    b"x-session-affinity",
    b"x-session-id",
    b"x-grok-conv-id",
)
_LEADING_BYTES = 4096


class _Body(msgspec.Struct):
    prompt_cache_key: str | None = None
    system: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    messages: list[msgspec.Raw] | None = None
    contents: list[msgspec.Raw] | None = None
    input: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Body, strict=True).decode


class Sessions:
    """Remembers which credential of a provider answered a conversation last.

    A conversation is told by its client's headers, by `prompt_cache_key`, or by how it begins. `seconds` is a clock.
    """

    def __init__(
        self,
        credentials: Credentials,
        seconds: Callable[[], float],
        most: int = MOST_SESSIONS,
        time_to_live: float = TIME_TO_LIVE,
    ) -> None:
        self._credentials = credentials
        self._seconds = seconds
        self._most = most
        self._time_to_live = time_to_live
        self._known: OrderedDict[bytes, tuple[Credential, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def preferred(self, call: ModelCall) -> Credential | None:
        """The credential that this conversation had, None when it is new or when there is no choice."""
        key = self._key(call)
        if key is None:
            return None
        credential, until = self._known.get(key, (None, 0.0))
        return credential if self._seconds() < until else None

    def remember(self, call: ModelCall, credential: Credential) -> None:
        """This credential answered; it is preferred for the time to live."""
        key = self._key(call)
        if key is None:
            return
        self._known[key] = (credential, self._seconds() + self._time_to_live)
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def _key(self, call: ModelCall) -> bytes | None:
        if not call.generation.config.session_affinity:
            return None
        provider = call.decision.attempts[0].candidate.provider
        if not self._credentials.several(provider):
            return None
        if call.session is None:
            call.session = session_of(call)
        return provider.encode() + b"\0" + call.session


def session_of(call: ModelCall) -> bytes:
    """What tells this conversation from others: a digest, so that no prompt is kept."""
    named = {name.lower(): value for name, value in call.headers}
    for header in _HEADERS:
        if named.get(header):
            return _digest(call.client_key, named[header])
    return _digest(call.client_key, _beginning(call.body))


def _beginning(body: bytes | bytearray) -> bytes:
    """The cache key of a body, or the parts of it that stay the same from turn to turn: system text, first message."""
    try:
        parsed = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return bytes(body[:_LEADING_BYTES])
    if parsed.prompt_cache_key:
        return parsed.prompt_cache_key.encode("utf-8", "replace")
    turns = parsed.messages or parsed.contents or [parsed.input]
    first = b"".join(bytes(turn)[:_LEADING_BYTES] for turn in turns[:2])
    return b"\0".join((bytes(parsed.system)[:_LEADING_BYTES], bytes(parsed.instructions)[:_LEADING_BYTES], first))


def _digest(client_key: str | None, what: bytes) -> bytes:
    return hashlib.blake2b((client_key or "").encode() + b"\0" + what, digest_size=16).digest()
