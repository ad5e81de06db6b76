"""Sampling and output members that several targets treat alike (TRANSLATION 2.4)."""

from __future__ import annotations

from llmux.formats.capabilities import Capabilities
from llmux.formats.losses import Losses
from llmux.formats.neutral import Request


def drop_all_but(request: Request, kept: frozenset[str], losses: Losses) -> None:
    """Warn of every sampling and limit member the client set that is not among `kept`."""
    sampling = request.sampling
    said = {
        "top_k": sampling.top_k is not None,
        "seed": sampling.seed is not None,
        "presence_penalty": bool(sampling.presence_penalty),
        "frequency_penalty": bool(sampling.frequency_penalty),
        "logit_bias": bool(sampling.logit_bias),
        "logprobs": bool(sampling.logprobs),
        "top_logprobs": bool(sampling.top_logprobs),
        "stop": bool(request.limits.stop),
        "verbosity": request.output.verbosity is not None,
    }
    for field, present in said.items():
        if present and field not in kept:
            losses.drop(field)


def one_choice_only(request: Request, losses: Losses) -> None:
    """Raise RequestRefused when the client wants several answers from a target that gives one."""
    if (request.sampling.n or 1) > 1:
        raise losses.refuse("n")


def check_modalities(request: Request, caps: Capabilities, losses: Losses) -> None:
    """Raise RequestRefused when the client wants sound or pictures that the target does not make."""
    if any(word not in caps.modalities for word in request.output.modalities):
        raise losses.refuse("modalities")


def stops(request: Request, most: int, losses: Losses) -> list[str]:
    """The stop sequences, as many as the target takes."""
    wanted = request.limits.stop
    if len(wanted) > most:
        losses.clamp("stop")
    return list(wanted[:most])


def temperature_and_top_p(request: Request, caps: Capabilities, losses: Losses) -> dict[str, float]:
    """What of the two the target takes: both, one (temperature wins) or none."""
    members = {"temperature": request.sampling.temperature, "top_p": request.sampling.top_p}
    said = {name: value for name, value in members.items() if value is not None}
    if caps.sampling == "none":
        for name in said:
            losses.drop(name)
        return {}
    if caps.sampling == "one" and len(said) == 2:
        losses.drop("top_p")
        del said["top_p"]
    return said


def max_tokens(request: Request, caps: Capabilities, losses: Losses, least: int = 1) -> int | None:
    """The client's limit, within what the target takes; None if it said nothing."""
    asked = request.limits.max_tokens
    if asked is None:
        return None
    limit = max(asked, least)
    if caps.max_output is not None:
        limit = min(limit, caps.max_output)
    if limit != asked:
        losses.clamp("max_tokens")
    return limit
