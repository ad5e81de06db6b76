"""Who looks at the status page: browsers that signed in with a client key, and the tokens that their forms carry.

A browser cannot send a key in a header. HTTP Basic would make it send the key with every request to this origin, the
upstream's own pages included, and it knows no end. So a form takes the key once, and a cookie for this path alone holds
a random number that is worth nothing elsewhere, to which no script has access, and that ends with the process.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from secrets import token_bytes, token_urlsafe

from llmux.client_keys import Access, ClientKeys, Identity
from llmux.headers import RawHeaders

MOST_SESSIONS = 64
SESSION_SECONDS = 12 * 3600.0
_COOKIE = b"llmux-session-"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who may look at the page; `session` is empty for who needs none. `token` is what the forms carry."""

    session: str
    token: str

    def __repr__(self) -> str:
        return f"Visitor({'signed in' if self.session else 'no session'})"


@dataclass(slots=True)
class _Session:
    key: str
    until: float


class Visitors:
    """The sessions of this process, at most 64, each for 12 hours after its last use; `seconds` gives the time.

    A session ends when its client key leaves the configuration.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._secret = token_bytes(32)
        self._sessions: OrderedDict[str, _Session] = OrderedDict()

    def sign_in(self, keys: ClientKeys, key: str) -> Visitor | None:
        """Begin a session if the client key is right."""
        identity = _identify(keys, key)
        if identity.access is not Access.VALID or identity.key is None:
            return None
        while len(self._sessions) >= MOST_SESSIONS:
            self._sessions.popitem(last=False)
        session = token_urlsafe(32)
        self._sessions[session] = _Session(identity.key, self._seconds() + SESSION_SECONDS)
        return self._visitor(session)

    def sign_out(self, visitor: Visitor) -> None:
        """End a session."""
        self._sessions.pop(visitor.session, None)

    def recognise(self, keys: ClientKeys, headers: RawHeaders) -> Visitor | None:
        """The visitor of a session's cookie, which lives on by it; None without a session."""
        for session in _cookies(headers):
            visitor = self._visitor(session)
            if self.holds(visitor, keys):
                self._sessions[session].until = self._seconds() + SESSION_SECONDS
                self._sessions.move_to_end(session)
                return visitor
        return None

    def holds(self, visitor: Visitor, keys: ClientKeys) -> bool:
        """Whether a visitor with a session still has it."""
        session = self._sessions.get(visitor.session)
        if session is None:
            return False
        if session.until > self._seconds() and _identify(keys, session.key).access is Access.VALID:
            return True
        del self._sessions[visitor.session]
        return False

    def without_session(self) -> Visitor:
        """Somebody who needs no session: a daemon without keys, or a client that shows its key by itself."""
        return self._visitor("")

    def _visitor(self, session: str) -> Visitor:
        return Visitor(session, self._token(f"page {session}"))

    @property
    def sign_in_token(self) -> str:
        """What the form for signing in carries."""
        return self._token("sign-in")

    def _token(self, subject: str) -> str:
        return hmac.new(self._secret, subject.encode(), "sha256").hexdigest()


def proves(token: str, shown: str) -> bool:
    """Whether what a form carried is the token it should have."""
    return hmac.compare_digest(token.encode(), shown.encode("utf-8", "replace"))


def cookie(visitor: Visitor, port: bytes, secure: bool) -> bytes:
    """The Set-Cookie of a session, or the one that ends it; its name keeps daemons on other ports apart."""
    age = b"%d" % SESSION_SECONDS if visitor.session else b"0"
    tail = b"; Secure" if secure else b""
    value = visitor.session.encode()
    return _COOKIE + port + b"=" + value + b"; Path=/llmux; HttpOnly; SameSite=Strict; Max-Age=" + age + tail


def port_of(headers: RawHeaders) -> bytes:
    """The port that the client believes it speaks to, from its Host."""
    for name, value in headers:
        if name.lower() == b"host":
            port = value.rpartition(b"]")[2].rpartition(b":")[2]
            return port if port.isdigit() else b"default"
    return b"default"


def _cookies(headers: RawHeaders) -> list[str]:
    name = _COOKIE + port_of(headers) + b"="
    return [
        pair.strip()[len(name) :].decode("latin-1")
        for field, value in headers
        if field.lower() == b"cookie"
        for pair in value.split(b";")
        if pair.strip().startswith(name)
    ]


def _identify(keys: ClientKeys, key: str) -> Identity:
    return keys.identify([(b"x-api-key", key.encode("utf-8", "replace"))], b"")
