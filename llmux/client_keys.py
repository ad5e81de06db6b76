"""Which client key a request carries, wherever its client put it (SPEC R-RT-12)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from hmac import compare_digest
from operator import itemgetter

from llmux.headers import RawHeaders
from llmux.targets import query_credentials

# In the order in which they say whose request it is, where several of them hold a valid key.
_PLACES = (b"authorization", b"x-goog-api-key", b"x-api-key")
_LONGEST_NAME = len(b"x-goog-api-key")


class Access(Enum):
    """What the credentials of a request amount to; OPEN is a daemon without `api-keys`."""

    OPEN = "open"
    VALID = "valid"
    MISSING = "missing"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Identity:
    """The outcome of a key check; `key` is the configured key that matched, for VALID only."""

    access: Access
    key: str | None = None

    @property
    def allowed(self) -> bool:
        """Whether the request may go on."""
        return self.access is Access.VALID or self.access is Access.OPEN

    def __repr__(self) -> str:
        return f"Identity({self.access.value})"


_OPEN, _MISSING, _INVALID = Identity(Access.OPEN), Identity(Access.MISSING), Identity(Access.INVALID)


def _authorization(value: bytes) -> bytes:
    value = value.strip()
    if value[:6].lower() != b"bearer":
        return value
    rest = value[6:]
    return rest.strip() if not rest or rest[:1].isspace() else value


def credentials_of(headers: RawHeaders, target: bytes) -> list[bytes]:
    """List every non-empty credential of a request: `Authorization`, the two key headers, `key` and `auth_token`."""
    placed = []
    for name, value in headers:
        if len(name) > _LONGEST_NAME:
            continue
        name = name.lower()
        if name in _PLACES:
            credential = _authorization(value) if name == _PLACES[0] else value.strip()
            placed.append((_PLACES.index(name), credential))
    if len(placed) > 1:
        placed.sort(key=itemgetter(0))
    found = [credential for _, credential in placed]
    if b"?" in target:
        found += query_credentials(target)
    return [credential for credential in found if credential]


class ClientKeys:
    """The configured client keys, compared in constant time (SPEC R-RT-12)."""

    def __init__(self, keys: Iterable[str]) -> None:
        trimmed = (key.strip() for key in keys)
        self._keys = [(key.encode(), Identity(Access.VALID, key)) for key in trimmed if key]

    def identify(self, headers: RawHeaders, target: bytes) -> Identity:
        """Tell whose request it is; any one credential that matches is enough, and the first that does says who."""
        if not self._keys:
            return _OPEN
        credentials = credentials_of(headers, target)
        if not credentials:
            return _MISSING
        identity = _INVALID
        for credential in credentials:
            # No early exit: the time taken must not tell which key was nearly right.
            for key, valid in self._keys:
                if compare_digest(credential, key) and identity is _INVALID:
                    identity = valid
        return identity
