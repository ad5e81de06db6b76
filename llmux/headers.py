"""Header lists as they cross the daemon: which names stop, which are replaced (SPEC 11 and 12)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache

from llmux.targets import SERVICE_KEY

RawHeaders = list[tuple[bytes, bytes]]

ANTHROPIC_VERSION = b"2023-06-01"
REDACTED = b"[redacted]"

_DROP, _KEEP, _CONNECTION = range(3)
_LONGEST_REMEMBERED, _MOST_REMEMBERED = 64, 4096
_SHORTEST_SEARCHED = 4
_ORDINARY_TOKENS = frozenset((b"", b"keep-alive", b"close", b"upgrade"))
# Header names are compared in lower case and with `-` for `_`: some servers take `X_Api_Key` for `X-Api-Key`.
_FOLD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ_", b"abcdefghijklmnopqrstuvwxyz-")

_HOP_BY_HOP = frozenset(b"keep-alive te trailer trailers transfer-encoding upgrade http2-settings proxy".split())
_REQUEST_FRAMING = frozenset(b"host content-length expect".split())
_CREDENTIALS = frozenset(b"authorization x-api-key x-goog-api-key api-key".split())
_TRACES = frozenset(
    b"x-real-ip forwarded via x-client-ip true-client-ip cf-connecting-ip fastly-client-ip x-cluster-client-ip".split()
)
_CLIENT_TRAITS = frozenset(
    b"x-title x-stainless-lang x-stainless-package-version x-stainless-os x-stainless-arch x-stainless-runtime"
    b" x-stainless-runtime-version http-referer referer sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-mode"
    b" sec-fetch-site sec-fetch-dest priority accept-encoding".split()
)
_TO_UPSTREAM_DROPPED = _HOP_BY_HOP | _REQUEST_FRAMING | _CREDENTIALS | _TRACES | _CLIENT_TRAITS
_FROM_UPSTREAM_DROPPED = _HOP_BY_HOP | _TRACES
_FROM_UPSTREAM_PREFIXES = (b"proxy-", b"x-forwarded-", b"access-control-", b"x-llmux-")
_FROM_PROVIDER_DROPPED = _FROM_UPSTREAM_DROPPED | frozenset(
    b"set-cookie set-cookie2 alt-svc strict-transport-security".split()
)
_GATEWAY_MARKERS = (b"x-litellm-", b"helicone-", b"x-portkey-", b"cf-aig-", b"x-kong-", b"x-bt-")
_FROM_PROVIDER_PREFIXES = _FROM_UPSTREAM_PREFIXES + _GATEWAY_MARKERS
# To a provider goes what is listed here and nothing else: a header that nobody knows may carry anybody's secret.
_TO_PROVIDER_KEPT = frozenset(
    b"content-type content-encoding content-language accept accept-language user-agent x-request-id x-client-request-id"
    b" idempotency-key session-id conversation-id thread-id x-session-id x-session-affinity x-grok-conv-id x-app"
    b" x-server-timeout".split()
)
_OPENAI_PREFIXES = (b"openai-", b"x-codex-")
_KIND_PREFIXES: dict[str, tuple[bytes, ...]] = {
    "anthropic": (b"anthropic-", b"x-claude-code-"),
    "openai": _OPENAI_PREFIXES,
    "openai-responses": _OPENAI_PREFIXES,
    "gemini": (b"x-goog-api-client", b"x-goog-request-params"),
}
_BODY_DIGESTS = frozenset(b"digest content-digest repr-digest content-md5".split())


class _NameTable(dict[bytes, int]):
    """Remembers the verdict on a header name as it was spelled, for short names and up to a bound."""

    def __init__(self, keeps: Callable[[bytes], bool]) -> None:
        super().__init__()
        self._keeps = keeps

    def __missing__(self, name: bytes) -> int:
        folded = name.translate(_FOLD)
        verdict = _CONNECTION if folded == b"connection" else _KEEP if self._keeps(folded) else _DROP
        if len(name) <= _LONGEST_REMEMBERED and len(self) < _MOST_REMEMBERED:
            self[name] = verdict
        return verdict


def _all_but(names: frozenset[bytes], prefixes: tuple[bytes, ...]) -> _NameTable:
    return _NameTable(lambda name: name not in names and not name.startswith(prefixes))


def _only(names: frozenset[bytes], prefixes: tuple[bytes, ...]) -> _NameTable:
    return _NameTable(lambda name: (name in names or name.startswith(prefixes)) and name not in _CREDENTIALS)


_TO_UPSTREAM = _all_but(_TO_UPSTREAM_DROPPED, (b"proxy-", b"x-forwarded-"))
_FROM_UPSTREAM = _all_but(_FROM_UPSTREAM_DROPPED, _FROM_UPSTREAM_PREFIXES)
_FROM_PROVIDER = _all_but(_FROM_PROVIDER_DROPPED, _FROM_PROVIDER_PREFIXES)
_TO_PROVIDER = {kind: _only(_TO_PROVIDER_KEPT, prefixes) for kind, prefixes in _KIND_PREFIXES.items()}
_TO_PROVIDER_OTHER = _only(_TO_PROVIDER_KEPT, ())


def _passing(headers: RawHeaders, table: _NameTable) -> RawHeaders:
    """Keep what the table keeps, less every name that a Connection line lists (SPEC R-HD-7)."""
    kept: RawHeaders = []
    connection = b""
    for header in headers:
        verdict = table[header[0]]
        if verdict == _KEEP:
            kept.append(header)
        elif verdict == _CONNECTION:
            connection += b"," + header[1]
    if connection:
        listed = {token.strip().lower() for token in connection.split(b",")} - _ORDINARY_TOKENS
        if listed:
            return [header for header in kept if header[0].lower() not in listed]
    return kept


def _without_keys_in_cookies(headers: RawHeaders) -> RawHeaders:
    """Take cookies out whose value is a service's API key: no login page sets those (HOSTILE 11, DESIGN D-56)."""
    if not any(len(name) == 6 and name.lower() == b"cookie" and SERVICE_KEY.search(value) for name, value in headers):
        return headers
    kept: RawHeaders = []
    for name, value in headers:
        if name.lower() == b"cookie":
            pairs = [pair for pair in value.split(b";") if not SERVICE_KEY.match(pair.partition(b"=")[2].strip())]
            if not pairs:
                continue
            value = b";".join(pairs).strip()
        kept.append((name, value))
    return kept


def to_upstream(headers: RawHeaders, upstream_key: str | None) -> RawHeaders:
    """Make the headers of a request to the upstream, its credential put in last (SPEC R-HD-1, 4, 5, 7).

    Host, framing and `Upgrade` are left out: whoever sends the request writes its own.
    """
    kept = _without_keys_in_cookies(_passing(headers, _TO_UPSTREAM))
    if upstream_key:
        key = upstream_key.encode()
        kept.append((b"X-Api-Key", key))
        kept.append((b"Authorization", b"Bearer " + key))
    return kept


@lru_cache(maxsize=256)
def _configured(extra: tuple[tuple[str, str], ...]) -> tuple[tuple[tuple[bytes, bytes], ...], frozenset[bytes]]:
    sent = tuple((name.encode(), value.encode()) for name, value in extra)
    return sent, frozenset(name.translate(_FOLD) for name, _ in sent)


def _credential(kind: str, key: str | None) -> tuple[bytes, bytes] | None:
    if not key:
        return None
    if kind == "anthropic":
        return b"x-api-key", key.encode()
    if kind == "gemini":
        return b"x-goog-api-key", key.encode()
    return b"Authorization", b"Bearer " + key.encode()


def to_provider(
    headers: RawHeaders,
    kind: str,
    key: str | None,
    extra: Sequence[tuple[str, str]] = (),
    *,
    client_key: str | None = None,
    plain: bool = False,
    identity: bool = False,
) -> RawHeaders:
    """Make the headers of a model request to a provider of `kind` (SPEC R-HD-12, DESIGN D-56).

    Only names that model services know go there. `extra` is the provider's own configuration and replaces headers of
    the same name. A value that holds `client_key` is left out. `plain` says that the body was decoded or rewritten in
    another format, `identity` that the answer must come without a content encoding.
    """
    kept = _passing(headers, _TO_PROVIDER.get(kind, _TO_PROVIDER_OTHER))
    if client_key and len(client_key) >= _SHORTEST_SEARCHED:
        wanted = client_key.encode()
        kept = [header for header in kept if wanted not in header[1]]
    names = {name.lower() for name, _ in kept}
    if plain and b"content-encoding" in names:
        kept = [header for header in kept if header[0].lower() != b"content-encoding"]
    if b"content-type" not in names:
        kept.append((b"Content-Type", b"application/json"))
    if kind == "anthropic" and b"anthropic-version" not in names:
        kept.append((b"anthropic-version", ANTHROPIC_VERSION))
    if identity:
        kept.append((b"Accept-Encoding", b"identity"))
    credential = _credential(kind, key)
    if credential is not None:
        kept.append(credential)
    if extra:
        sent, replaced = _configured(tuple(extra))
        kept = [header for header in kept if header[0].translate(_FOLD) not in replaced]
        kept += sent
    return kept


def sought(secrets: Iterable[str | None]) -> list[bytes]:
    """Those of our credentials that are worth looking for in what a peer says: very short ones occur by chance."""
    return [secret.encode() for secret in secrets if secret and len(secret) >= _SHORTEST_SEARCHED]


def redact(data: bytes, secrets: Iterable[str | None]) -> bytes:
    """Replace each of our own credentials that a peer echoes in a header value (HOSTILE 11)."""
    for secret in sought(secrets):
        data = data.replace(secret, REDACTED)
    return data


def _redacted(headers: RawHeaders, secrets: Sequence[str | None]) -> RawHeaders:
    for secret in sought(secrets):
        for _, value in headers:
            if secret in value:
                return [(name, redact(value, secrets)) for name, value in headers]
    return headers


def from_upstream(headers: RawHeaders, secrets: Sequence[str | None] = ()) -> RawHeaders:
    """Make the headers of an answer of the upstream as the client gets them (SPEC R-HD-7, 9, 10).

    `secrets` are the credentials that were sent there. `Access-Control-*` is only ever the daemon's own to say.
    """
    return _redacted(_passing(headers, _FROM_UPSTREAM), secrets)


def from_provider(headers: RawHeaders, secrets: Sequence[str | None] = ()) -> RawHeaders:
    """Make the headers of a provider's answer as the client gets them (SPEC R-HD-7, R-HD-12)."""
    return _redacted(_passing(headers, _FROM_PROVIDER), secrets)


def for_changed_body(headers: RawHeaders, length: int | None) -> RawHeaders:
    """Drop what no longer describes a body that was changed; `length` None leaves the framing open (SPEC R-RJ-6, 7)."""
    stale = _BODY_DIGESTS | {b"content-length", b"content-encoding"}
    kept = [header for header in headers if header[0].lower() not in stale]
    if length is not None:
        kept.append((b"Content-Length", b"%d" % length))
    return kept


def filter_betas(headers: RawHeaders, removed: Collection[str]) -> RawHeaders:
    """Take features out of every `Anthropic-Beta` line, and the line when nothing is left (SPEC R-BT-1)."""
    unwanted = {b"", *(feature.encode() for feature in removed)}
    kept: RawHeaders = []
    for header in headers:
        if len(header[0]) != 14 or header[0].lower() != b"anthropic-beta":
            kept.append(header)
            continue
        features = [feature for item in header[1].split(b",") if (feature := item.strip()) not in unwanted]
        if features:
            kept.append((header[0], b",".join(features)))
    return kept


def media_type(headers: RawHeaders) -> bytes:
    """Give the media type of a body in lower case without parameters, empty when no header says it."""
    for name, value in headers:
        if len(name) == 12 and name.lower() == b"content-type":
            return value.partition(b";")[0].strip().lower()
    return b""
