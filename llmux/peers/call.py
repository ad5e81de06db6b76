"""One model request on its way: what was asked, and how its bytes look towards a given provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llmux.config.secret import Secret
from llmux.formats.capabilities import capabilities as known_capabilities
from llmux.formats.losses import inexact
from llmux.headers import RawHeaders, filter_betas, to_provider
from llmux.peers.capture import Capture
from llmux.peers.credentials import Credential
from llmux.peers.endpoints import COUNT, GENERATE, gemini_path, provider_path
from llmux.peers.generation import Generation, Provider
from llmux.rewrite.model import ModelRewriter
from llmux.rewrite.thinking import Thinking, apply_thinking
from llmux.rewrite.untagging import signs_matter, untag_request
from llmux.routing.decision import Attempt, RoutingDecision
from llmux.routing.suffix import interpret
from llmux.routing.wildcard import matches
from llmux.targets import split_target, strip_query_credentials
from llmux.wire.outgoing import OutgoingRequest

Body = bytes | bytearray
_GOOGLE = ".googleapis.com"


@dataclass(slots=True)
class ModelCall:
    """A model request after the peek.

    `body` is cleaned and decoded; `encoded` is the body as received when it came in a content encoding and cleaning
    changed nothing, so that it can be sent as it was. `action` is Gemini's method, empty elsewhere. `unsigned` says
    that a body of Chat Completions is known to hold no signatures of Gemini's.
    """

    generation: Generation
    protocol: str
    verb: str
    action: str
    target: bytes
    headers: RawHeaders = field(repr=False)
    body: Body = field(repr=False)
    encoded: Body | None = field(repr=False)
    stream: bool
    client_key: str | None = field(repr=False)
    requested_model: str
    decision: RoutingDecision
    session: bytes | None = field(default=None, repr=False)
    capture: Capture | None = field(default=None, repr=False)
    unsigned: bool = False


def native_request(
    call: ModelCall, provider: Provider, credential: Credential, attempt: Attempt
) -> tuple[OutgoingRequest, bool, tuple[str, ...]]:
    """The request for a provider that speaks the route's format, whether a byte of its body was changed, and warnings.

    Only the spans that the decision names change: the model when the provider calls it otherwise, the thinking settings
    when the name carries a suffix (SPEC R-RQ-1, R-SF-5), and blobs that another vendor left in the conversation
    (TRANSLATION 2.7). Raises RequestRefused instead of warning when `translate.strict` says so.
    """
    name = attempt.candidate.model
    body = call.body
    warned: list[str] = []
    if name != call.requested_model:
        body = ModelRewriter(name).request(body)
    if attempt.suffix and call.verb == GENERATE and call.protocol != "completions":
        known = capabilities(provider, name)
        body = apply_thinking(body, call.protocol, thinking(attempt.suffix), known, warned.append)
    if call.verb == GENERATE or call.verb == COUNT:
        matters = not call.unsigned and signs_matter(body, call.protocol)
        if matters or call.protocol != "chat":
            signs = matters and signs_calls(provider, name, call.protocol)
            body = untag_request(body, call.protocol, signs, warned.append)
    if warned and call.generation.config.translate_strict:
        raise inexact(warned[0], "messages")
    changed = body is not call.body and body != call.body
    sent, plain = body, True
    if not changed and call.encoded is not None:
        sent, plain = call.encoded, False
    if call.protocol == "gemini":
        path = gemini_path(provider.base_path, name, call.action)
    else:
        path = provider_path(provider.base_path, call.protocol, call.verb)
    return outgoing(call, provider, credential, path, sent, plain=plain), changed, tuple(dict.fromkeys(warned))


def outgoing(
    call: ModelCall,
    provider: Provider,
    credential: Credential,
    path: bytes,
    body: Body,
    *,
    plain: bool,
    query: bytes | None = None,
) -> OutgoingRequest:
    """The request with the headers and the credential of a provider; the client's query goes along unless replaced."""
    config = provider.config
    headers = call.headers
    if call.decision.effects.filter_betas and config.kind == "anthropic":  # no other gets the field at all
        headers = filter_betas(headers, call.generation.config.removed_betas)
    if query is None:
        query = split_target(strip_query_credentials(call.target))[1]
    sent = OutgoingRequest(
        origin=provider.origin,
        method=b"POST",
        target=path + b"?" + query if query else path,
        headers=to_provider(
            headers, config.kind, key_text(credential.key), config.headers, client_key=call.client_key, plain=plain
        ),
        body=body,
        clocks=provider.clocks,
    )
    if call.capture is not None:
        call.capture.provider_request(config.name, sent)
    return sent


def thinking(suffix: str) -> Thinking | None:
    """What a suffix asks for, None when it means nothing (SPEC R-SF-3)."""
    asked = interpret(suffix)
    match asked.mode:
        case "none":
            return Thinking("off")
        case "auto":
            return Thinking("auto")
        case "level":
            return Thinking("level", level=asked.level)
        case "budget":
            return Thinking("budget", budget=asked.budget)
        case _:
            return None


def signs_calls(provider: Provider, model: str, protocol: str) -> bool:
    """Whether a model refuses calls without a signature (TRANSLATION 2.5, `signature_required`).

    On Chat routes also whether it is any Gemini model: those want their signatures back, and no other server may get
    them.
    """
    if protocol == "chat" and ("gemini" in model.lower() or provider.origin.host.endswith(_GOOGLE)):
        return True
    entries = [(entry.name, entry.capabilities) for entry in provider.config.models]
    return known_capabilities("gemini", model, provider.config.capabilities, entries).signature_required


def capabilities(provider: Provider, model: str) -> Mapping[str, Any]:
    """What the configuration says that a model can do: its own entry before the provider's (TRANSLATION 2.5)."""
    own = next((entry.capabilities for entry in provider.config.models if matches(entry.name, model)), {})
    return {**provider.config.capabilities, **own}


def key_text(key: Secret | None) -> str | None:
    """The key itself, for the wire."""
    return None if key is None else key.reveal()
