"""Keeps a conversation on the credential that holds its prompt cache, for a while and within bounds."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator

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
# Clients move this mark to their newest message, so that it comes and goes in the first.
_CACHE_MARK = re.compile(rb',?\s*"cache_control"\s*:\s*(?:null|\{[^{}]*\})')
# Claude Code's `metadata.user_id` ends in its session, as text or as JSON in a string.
_SESSION = re.compile(rb'session_(?:id\\"\s*:\s*\\")?([0-9a-fA-F-]{36})')


class _Body(msgspec.Struct):
    prompt_cache_key: str | None = None
    metadata: msgspec.Raw = msgspec.Raw()
    system: msgspec.Raw = msgspec.Raw()
    instructions: msgspec.Raw = msgspec.Raw()
    systemInstruction: msgspec.Raw = msgspec.Raw()
    messages: list[msgspec.Raw] | None = None
    contents: list[msgspec.Raw] | None = None
    input: msgspec.Raw = msgspec.Raw()


class _Turn(msgspec.Struct):
    role: str = "user"


_decode = msgspec.json.Decoder(_Body, strict=True).decode
_decode_turn = msgspec.json.Decoder(_Turn, strict=True).decode
_decode_turns = msgspec.json.Decoder(list[msgspec.Raw], strict=True).decode


class Sessions:
    """Remembers which credential of each provider answered a conversation last.

    A conversation is told by its client's headers, by a name in the body, or by how it begins. A fallback to another
    provider is remembered for that provider alone, so that the conversation comes home to its own credential.
    `seconds` is a clock.
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
        self._known: OrderedDict[tuple[str, bytes], tuple[Credential, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def preferred(self, call: ModelCall, provider: str) -> Credential | None:
        """The credential of a provider that this conversation had, None when it is new or when there is no choice."""
        known = self._of(call, provider)
        return None if known is None else known[0]

    def latest(self, call: ModelCall, providers: tuple[str, ...]) -> str | None:
        """The one of several equal providers that answered this conversation last."""
        known = [(found[1], name) for name in providers if (found := self._of(call, name)) is not None]
        return max(known)[1] if known else None

    def remember(self, call: ModelCall, credential: Credential) -> None:
        """This credential answered; it is preferred for the time to live."""
        if not self._matters(call, credential.provider):
            return
        key = (credential.provider, self._session(call))
        self._known[key] = (credential, self._seconds() + self._time_to_live)
        self._known.move_to_end(key)
        while len(self._known) > self._most:
            self._known.popitem(last=False)

    def _of(self, call: ModelCall, provider: str) -> tuple[Credential, float] | None:
        if not self._known or not self._matters(call, provider):
            return None
        found = self._known.get((provider, self._session(call)))
        return found if found is not None and self._seconds() < found[1] else None

    def _matters(self, call: ModelCall, provider: str) -> bool:
        """Whether there is a choice that a conversation could care about; telling them apart costs time."""
        config = call.generation.config
        return config.session_affinity and (config.strategy == "weighted" or self._credentials.several(provider))

    def _session(self, call: ModelCall) -> bytes:
        if call.session is None:
            call.session = session_of(call)
        return call.session


def session_of(call: ModelCall) -> bytes:
    """What tells this conversation from others: a digest, so that no prompt is kept."""
    named = {name.lower(): value for name, value in call.headers}
    for header in _HEADERS:
        if named.get(header):
            return _digest(call.client_key, named[header])
    return _digest(call.client_key, _beginning(call.body))


def _beginning(body: bytes | bytearray) -> bytes:
    """The cache key or session in a body, or what stays from turn to turn: the system text and the first user turn."""
    try:
        parsed = _decode(body)
        if parsed.prompt_cache_key:
            return parsed.prompt_cache_key.encode("utf-8", "replace")
        session = _SESSION.search(bytes(parsed.metadata)[:_LEADING_BYTES])
        if session is not None:
            return session[1]
        turns = [*_first_turns(parsed)]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return bytes(body[:_LEADING_BYTES])
    parts = (parsed.system, parsed.instructions, parsed.systemInstruction, *turns)
    return b"\0".join(_CACHE_MARK.sub(b"", bytes(part)[:_LEADING_BYTES]) for part in parts)


def _first_turns(body: _Body) -> Iterator[msgspec.Raw]:
    """The turns up to the first of the user."""
    turns = body.messages or body.contents
    if turns is None:
        given = bytes(body.input).lstrip()
        turns = _decode_turns(given) if given.startswith(b"[") else [body.input]
    for turn in turns:
        yield turn
        if not bytes(turn).lstrip().startswith(b"{") or _decode_turn(turn).role == "user":
            return


def _digest(client_key: str | None, what: bytes) -> bytes:
    return hashlib.blake2b((client_key or "").encode() + b"\0" + what, digest_size=16).digest()
