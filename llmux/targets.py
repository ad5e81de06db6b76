"""Request targets as they cross the daemon: which queries lose a credential, which paths are refused (SPEC 11)."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_DECODINGS = 3
_DOT_SEGMENT = re.compile(rb"(?:^|[/\\])\.{1,2}(?:;[^/\\]*)?(?:[/\\]|$)")
_AUTHORITY = re.compile(rb"[^/]:\d{1,5}(?:/|$)")
_CLIENT_PARAMETERS = frozenset((b"key", b"auth_token"))
_CREDENTIAL_PARAMETERS = frozenset((b"key", b"auth_token", b"api_key", b"access_token"))
_MAY_NAME_A_CREDENTIAL = re.compile(rb"key|token|%", re.IGNORECASE)
# Prefixes that services give to their API keys: such a value is a secret, whoever's it is.
SERVICE_KEY = re.compile(rb"(?:sk|rk|gsk|xai|sgamp)[-_]|AIza")


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" ")) if b"%" in text or b"+" in text else text


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Give the path and the query of an origin-form target; the query is empty when there is none."""
    path, _, query = target.partition(b"?")
    return path, query


def query_credentials(target: bytes) -> list[bytes]:
    """List the decoded values of `key` and `auth_token`, empty ones left out (SPEC R-RT-12)."""
    query = split_target(target)[1]
    if not query or not _MAY_NAME_A_CREDENTIAL.search(query):
        return []
    pairs = (pair.partition(b"=") for pair in query.split(b"&"))
    values = (_decoded(value).strip() for name, _, value in pairs if _decoded(name) in _CLIENT_PARAMETERS)
    return [value for value in values if value]


def _is_foreign(pair: bytes, client_key: bytes | None) -> bool:
    name, _, value = pair.partition(b"=")
    name = _decoded(name)
    if name not in _CREDENTIAL_PARAMETERS:
        return False
    value = _decoded(value).strip()
    if client_key and name in _CLIENT_PARAMETERS and value == client_key:
        return True
    return SERVICE_KEY.match(value) is not None


def _is_credential(pair: bytes) -> bool:
    return _decoded(pair.partition(b"=")[0]) in _CREDENTIAL_PARAMETERS


def _without(path: bytes, kept: list[bytes]) -> bytes:
    query = b"&".join(kept)
    return path + b"?" + query if query else path


def strip_query(target: bytes, client_key: str | None) -> bytes:
    """Take out of a query, on its way to the upstream, what the client authenticated with (SPEC R-HD-8).

    `key` and `auth_token` go when they equal `client_key` after decoding, and so does any credential parameter whose
    value has the form of a service's API key (HOSTILE 11). Every other byte stays, and so does a bare `?`.
    """
    path, query = split_target(target)
    if not query or not _MAY_NAME_A_CREDENTIAL.search(query):
        return target
    wanted = client_key.encode() if client_key else None
    pairs = query.split(b"&")
    kept = [pair for pair in pairs if not _is_foreign(pair, wanted)]
    return target if len(kept) == len(pairs) else _without(path, kept)


def strip_query_credentials(target: bytes) -> bytes:
    """Take every `key`, `auth_token`, `api_key` and `access_token` out of a query towards a provider (HOSTILE 11)."""
    path, query = split_target(target)
    if not query or not _MAY_NAME_A_CREDENTIAL.search(query):
        return target
    pairs = query.split(b"&")
    kept = [pair for pair in pairs if not _is_credential(pair)]
    return target if len(kept) == len(pairs) else _without(path, kept)


def has_dot_segment(target: bytes) -> bool:
    r"""Tell whether a path segment is `.` or `..` as sent or after up to three decodings (SPEC R-HD-11, HOSTILE 12).

    `/` and `\` divide segments, encoded or not, and `..;x` counts as `..`. The query is not looked at.
    """
    path = split_target(target)[0]
    if b"." not in path and b"%" not in path:
        return False
    for _ in range(_DECODINGS):
        if _DOT_SEGMENT.search(path):
            return True
        if b"%" not in path:
            return False
        path = unquote_to_bytes(path)
    return _DOT_SEGMENT.search(path) is not None


def names_an_authority(target: bytes) -> bool:
    """Tell whether a path segment reads as `host:port`, a trick on whoever glues paths to host names (HOSTILE P19)."""
    return _AUTHORITY.search(split_target(target)[0]) is not None


def join_target(base_path: bytes, target: bytes) -> bytes:
    """Put the base path of an upstream or provider before a raw target, one slash between them (SPEC R-HD-6)."""
    base = base_path.rstrip(b"/")
    return base + target if base else target
