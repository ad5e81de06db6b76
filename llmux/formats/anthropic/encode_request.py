"""A neutral request as a Messages request (TRANSLATION 2.6, 3.1 to 3.3, 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmux.formats import sampling, thinking, websearch
from llmux.formats.anthropic.encode_messages import encode_messages
from llmux.formats.capabilities import Capabilities
from llmux.formats.history import last_call_turn
from llmux.formats.losses import Losses
from llmux.formats.neutral import Choice, Redacted, Request, Thinking, Tool
from llmux.formats.schema import parameters
from llmux.formats.target import Encoded, Target, guarded, said, tier, user_id
from llmux.formats.toolnames import ToolNames, tool_names
from llmux.formats.toolset import CUSTOM_SCHEMA, Toolset, select

PATH = "/v1/messages"
_MAX_TOKENS = 32000
_MOST_TEMPERATURE = 1.0
_LEAST_TOP_P_THINKING = 0.95
_KEPT = frozenset(["top_k", "stop"])


@dataclass(frozen=True, slots=True)
class _Thought:
    """The thinking members of a request; `manual` is thinking with a budget, which forbids other members."""

    config: dict[str, Any] | None = None
    effort: str | None = None
    manual: bool = False


def encode_request(request: Request, target: Target) -> Encoded:
    """The body for `target`. Raises RequestRefused for what Messages cannot express."""
    return guarded(_encode, request, target)


def _encode(request: Request, target: Target) -> Encoded:
    losses = Losses(request, target.strict)
    losses.check_blockers()
    caps = target.capabilities
    sampling.one_choice_only(request, losses)
    if request.output.modalities:
        raise losses.refuse("modalities")
    sampling.drop_all_but(request, _KEPT, losses)
    if request.output.kind == "json":
        losses.drop("output")
    names = tool_names(request, "anthropic", target.model)
    toolset = select(request, "anthropic", caps, losses)
    limit = sampling.max_tokens(request, caps, losses)
    limit = limit if limit is not None else caps.max_output or _MAX_TOKENS
    thought = _thought(request, caps, toolset, limit, losses)
    service_tier, tier_lost = tier(request.tier, "anthropic")
    if tier_lost:
        losses.drop("service_tier")
    user = user_id(request.user)
    body: dict[str, Any] = {
        "model": target.model,
        "max_tokens": limit,
        **encode_messages(request, caps, names, losses),
        **_sampling(request, caps, thought, losses),
        **said(
            {
                "stop_sequences": _stops(request, losses) or None,
                "thinking": thought.config,
                "output_config": _output_config(request, thought) or None,
                "metadata": {"user_id": user} if user is not None else None,
                "service_tier": service_tier,
            }
        ),
        **_tools(toolset, names),
    }
    if request.stream:
        body["stream"] = True
    if names.renamed:
        losses.warn("renamed:tool")
    return Encoded(body, PATH, [(b"anthropic-version", caps.api_version.encode())], losses.codes)


def _thought(request: Request, caps: Capabilities, toolset: Toolset, max_tokens: int, losses: Losses) -> _Thought:
    reasoning = request.reasoning
    if reasoning.mode == "off":
        return _Thought({"type": "disabled"}) if caps.thinking != "none" else _Thought()
    if not thinking.wants_thinking(reasoning):
        return _Thought()
    if caps.thinking == "none":
        losses.warn("dropped:reasoning_effort")
        return _Thought()
    if caps.thinking != "budget":
        effort = thinking.effort(reasoning, caps, losses) if reasoning.mode != "auto" else None
        config = {"type": "adaptive", "display": "summarized"} if reasoning.show else {"type": "adaptive"}
        return _Thought(config, effort)
    forced = toolset.choice is not None and toolset.choice.kind in ("any", "one")
    if forced or not _is_last_call_signed(request):
        losses.warn("dropped:reasoning_effort")
        return _Thought()
    budget = thinking.anthropic_budget(reasoning, caps, max_tokens, losses)
    return _Thought({"type": "enabled", "budget_tokens": budget}, manual=True) if budget is not None else _Thought()


def _is_last_call_signed(request: Request) -> bool:
    turn = last_call_turn(request.turns)
    return turn is None or any(
        isinstance(part, Thinking | Redacted) and part.signature is not None and part.signature.origin == "anthropic"
        for part in turn.parts
    )


def _sampling(request: Request, caps: Capabilities, thought: _Thought, losses: Losses) -> dict[str, Any]:
    asked = request.sampling
    members: dict[str, Any] = said({"temperature": asked.temperature, "top_p": asked.top_p, "top_k": asked.top_k})
    if caps.sampling == "none":
        forbidden = list(members)
    elif thought.manual:
        allowed = {"temperature": asked.temperature == 1, "top_p": (asked.top_p or 0) >= _LEAST_TOP_P_THINKING}
        forbidden = [name for name in members if not allowed.get(name, False)]
    else:
        forbidden = []
    if caps.sampling == "one" and "top_p" in members and "temperature" in members and "temperature" not in forbidden:
        forbidden.append("top_p")
    for name in dict.fromkeys(forbidden):
        losses.drop(name)
        del members[name]
    if members.get("temperature", 0) > _MOST_TEMPERATURE:
        losses.clamp("temperature")
        members["temperature"] = _MOST_TEMPERATURE
    if "top_k" in members:
        members["top_k"] = int(members["top_k"])
    return members


def _stops(request: Request, losses: Losses) -> list[str]:
    kept = [stop for stop in request.limits.stop if stop.strip()]
    if len(kept) < len(request.limits.stop):
        losses.drop("stop")
    return kept


def _output_config(request: Request, thought: _Thought) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if thought.effort is not None:
        config["effort"] = thought.effort
    if request.output.kind == "schema":
        config["format"] = {"type": "json_schema", "schema": request.output.schema}
    return config


def _tools(toolset: Toolset, names: ToolNames) -> dict[str, Any]:
    if not toolset.tools:
        return {}
    members: dict[str, Any] = {"tools": [_tool(tool, names) for tool in toolset.tools]}
    choice = _choice(toolset, names)
    if choice is not None:
        members["tool_choice"] = choice
    return members


def _tool(tool: Tool, names: ToolNames) -> dict[str, Any]:
    if tool.server:
        return websearch.for_anthropic(tool.config)
    return said(
        {
            "name": names.upstream_name(tool.name, tool.namespace),
            "description": tool.description,
            "input_schema": parameters(CUSTOM_SCHEMA if tool.custom else tool.schema, "anthropic"),
            "strict": True if tool.strict else None,
        }
    )


def _choice(toolset: Toolset, names: ToolNames) -> dict[str, Any] | None:
    choice = toolset.choice
    if choice is None:
        if toolset.parallel is not False:
            return None
        choice = Choice("auto")
    written: dict[str, Any] = {"type": choice.kind}
    if choice.kind == "one":
        name = choice.names[0] if choice.server_kind else names.upstream_name(choice.names[0])
        written = {"type": "tool", "name": name}
    if toolset.parallel is False and choice.kind != "none":
        written["disable_parallel_tool_use"] = True
    return written
