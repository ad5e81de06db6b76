"""A model request for a provider that speaks another format than the route (DESIGN D-28, TRANSLATION)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from llmux.formats.capabilities import capabilities
from llmux.formats.client import ClientCtx
from llmux.formats.count import decode_count_request, encode_count_request
from llmux.formats.jsontext import dump_body, parse_body
from llmux.formats.neutral import Format, Request
from llmux.formats.recalling import recall
from llmux.formats.requests import REQUESTS
from llmux.formats.target import Encoded, Target
from llmux.formats.thinking import with_suffix
from llmux.headers import RawHeaders
from llmux.peers.call import ModelCall, outgoing
from llmux.peers.credentials import Credential
from llmux.peers.endpoints import COUNT, placed
from llmux.peers.generation import Provider
from llmux.peers.vault import Vault
from llmux.routing.decision import Attempt
from llmux.routing.suffix import interpret
from llmux.targets import split_target
from llmux.wire.outgoing import OutgoingRequest

SPOKEN: Mapping[str, Format] = {
    "anthropic": "anthropic",
    "openai": "chat",
    "openai-responses": "responses",
    "gemini": "gemini",
}
"""The format of each provider kind."""


@dataclass(frozen=True, slots=True)
class Translation:
    """What the way back needs: both formats, the client's side of the exchange, and what the request lost."""

    upstream: Format
    client: Format
    ctx: ClientCtx
    stream: bool
    array: bool
    warnings: tuple[str, ...]


def decoded(call: ModelCall) -> Request:
    """The client's request in the neutral form; raises RequestRefused for a body that is not what its format says."""
    body = parse_body(call.body)
    if call.verb == COUNT:
        return decode_count_request(cast(Format, call.protocol), body, call.requested_model)
    codec = REQUESTS[cast(Format, call.protocol)]
    if call.protocol == "gemini":
        return codec.decode(body, call.requested_model, call.stream)
    return codec.decode(body, None, None)


def translated_request(
    call: ModelCall,
    request: Request,
    provider: Provider,
    credential: Credential,
    attempt: Attempt,
    vault: Vault,
    created: int,
    fresh_id: str,
) -> tuple[OutgoingRequest, Translation]:
    """The request in the provider's format, and what its answer needs; raises RequestRefused (TRANSLATION 2.4).

    Pure but for the vault's lookup, so that a long conversation can be translated in a thread.
    """
    upstream = SPOKEN[provider.config.kind]
    model = attempt.candidate.model
    request = _with_suffix(recall(request, vault.of(call.client_key)), attempt.suffix)
    target = target_of(call, provider, model)
    encoded = REQUESTS[upstream].encode(request, target)
    sent = _encoded_request(call, provider, credential, encoded)
    config = call.generation.config
    ctx = replace(
        ClientCtx.of(request, call.requested_model, upstream, model, created, fresh_id),
        reasoning_content=config.translate_reasoning_content,
        extra_content=config.translate_extra_content,
    )
    array = call.action == "streamGenerateContent" and b"alt=sse" not in split_target(call.target)[1].split(b"&")
    client = cast(Format, call.protocol)
    return sent, Translation(upstream, client, ctx, request.stream, array, encoded.warnings)


def target_of(call: ModelCall, provider: Provider, model: str) -> Target:
    """What a request is encoded for: the model and what the configuration says of it (TRANSLATION 2.5)."""
    entries = [(entry.name, entry.capabilities) for entry in provider.config.models]
    known = capabilities(SPOKEN[provider.config.kind], model, provider.config.capabilities, entries)
    return Target(model, known, call.generation.config.translate_strict)


def count_request(
    call: ModelCall, request: Request, provider: Provider, credential: Credential, attempt: Attempt
) -> OutgoingRequest | None:
    """The question how many tokens a request has; None when the provider has no endpoint for it (TRANSLATION 7.3)."""
    model = attempt.candidate.model
    encoded = encode_count_request(request, SPOKEN[provider.config.kind], target_of(call, provider, model))
    if encoded is None:
        return None
    return _encoded_request(call, provider, credential, encoded)


def _encoded_request(call: ModelCall, provider: Provider, credential: Credential, encoded: Encoded) -> OutgoingRequest:
    path, query = split_target(placed(provider.base_path, encoded.path))
    sent = outgoing(call, provider, credential, path, dump_body(encoded.body), plain=True, query=query)
    sent.headers = _replaced(sent.headers, encoded.headers)
    return sent


def _with_suffix(request: Request, suffix: str) -> Request:
    asked = interpret(suffix) if suffix else None
    if asked is None:
        return request
    match asked.mode:
        case "none":
            return with_suffix(request, "off")
        case "auto":
            return with_suffix(request, "auto")
        case "level":
            return with_suffix(request, "effort", level=asked.level)
        case "budget":
            return with_suffix(request, "budget", budget=asked.budget)
        case _:
            return request


def _replaced(headers: RawHeaders, own: RawHeaders) -> RawHeaders:
    """The headers with those of the encoder in place of any of the same name."""
    if not own:
        return headers
    names = {name.lower() for name, _ in own}
    return [*(header for header in headers if header[0].lower() not in names), *own]
