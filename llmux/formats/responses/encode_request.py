"""A neutral request as a Responses request (TRANSLATION 3.1 to 3.3)."""

from __future__ import annotations

from typing import Any

from llmux.formats import sampling, thinking, websearch
from llmux.formats.losses import Losses
from llmux.formats.neutral import Choice, Request, Tool
from llmux.formats.responses.encode_items import encode_items
from llmux.formats.schema import parameters
from llmux.formats.target import Encoded, Target, guarded, said, tier, user_id
from llmux.formats.toolnames import ToolNames, tool_names
from llmux.formats.toolset import CUSTOM_SCHEMA, Toolset, select

PATH = "/v1/responses"
_LEAST_TOKENS = 16
_KEPT = frozenset(["logprobs", "top_logprobs", "verbosity"])
_LOGPROBS = "message.output_text.logprobs"
_ENCRYPTED = "reasoning.encrypted_content"


def encode_request(request: Request, target: Target) -> Encoded:
    """The body for `target`: nothing is stored, and encrypted reasoning is asked for, since llmux keeps no state.

    Raises RequestRefused for what Responses cannot express.
    """
    return guarded(_encode, request, target)


def _encode(request: Request, target: Target) -> Encoded:
    losses = Losses(request, target.strict)
    losses.check_blockers()
    caps = target.capabilities
    sampling.one_choice_only(request, losses)
    if request.output.modalities:
        raise losses.refuse("modalities")
    sampling.drop_all_but(request, _KEPT, losses)
    names = tool_names(request, "responses", target.model)
    body: dict[str, Any] = {"model": target.model, **encode_items(request, caps, names, losses)}
    asked = request.sampling
    service_tier, tier_lost = tier(request.tier, "responses")
    if tier_lost:
        losses.drop("service_tier")
    include = [_ENCRYPTED] if caps.thinking != "none" else []
    if asked.logprobs:
        include.append(_LOGPROBS)
    body |= said(
        {
            "max_output_tokens": sampling.max_tokens(request, caps, losses, _LEAST_TOKENS),
            **sampling.temperature_and_top_p(request, caps, losses),
            "top_logprobs": asked.top_logprobs if asked.logprobs else None,
            "reasoning": _reasoning(request, target, losses) or None,
            "text": _text(request) or None,
            "safety_identifier": user_id(request.user),
            "prompt_cache_key": request.cache_key,
            "service_tier": service_tier,
            "stream": True if request.stream else None,
            "include": include or None,
            "store": False,
        }
    )
    body |= _tools(select(request, "responses", caps, losses), names, caps.custom_tools)
    if names.renamed:
        losses.warn("renamed:tool")
    return Encoded(body, PATH, [], losses.codes)


def _reasoning(request: Request, target: Target, losses: Losses) -> dict[str, Any]:
    reasoning = request.reasoning
    if target.capabilities.thinking == "none":
        if thinking.wants_thinking(reasoning):
            losses.warn("dropped:reasoning_effort")
        return {}
    members: dict[str, Any] = {}
    if reasoning.mode in ("off", "effort", "budget"):
        members["effort"] = thinking.effort_or_off(reasoning, target.capabilities, losses)
    if reasoning.show and reasoning.mode != "off":
        members["summary"] = "auto"
    return said(members)


def _text(request: Request) -> dict[str, Any]:
    output = request.output
    members: dict[str, Any] = {}
    if output.kind == "json":
        members["format"] = {"type": "json_object"}
    elif output.kind == "schema":
        form = {
            "type": "json_schema",
            "name": output.name or "output",
            "description": output.description,
            "schema": output.schema,
            "strict": bool(output.strict),
        }
        members["format"] = said(form)
    if output.verbosity is not None:
        members["verbosity"] = output.verbosity
    return members


def _tools(toolset: Toolset, names: ToolNames, custom: bool) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if toolset.tools:
        members["tools"] = [_tool(tool, names, custom) for tool in toolset.tools]
    if toolset.choice is not None:
        members["tool_choice"] = _choice(toolset.choice, names, custom)
    if toolset.parallel is not None:
        members["parallel_tool_calls"] = toolset.parallel
    return members


def _tool(tool: Tool, names: ToolNames, custom: bool) -> dict[str, Any]:
    if tool.server:
        return websearch.for_responses(tool.config)
    name = names.upstream_name(tool.name, tool.namespace)
    if tool.custom and custom:
        form = {"type": "grammar", **tool.grammar} if tool.grammar else None
        return said({"type": "custom", "name": name, "description": tool.description, "format": form})
    return said(
        {
            "type": "function",
            "name": name,
            "description": tool.description,
            "parameters": parameters(CUSTOM_SCHEMA if tool.custom else tool.schema, "responses"),
            "strict": bool(tool.strict),
        }
    )


def _choice(choice: Choice, names: ToolNames, custom: bool) -> str | dict[str, Any]:
    if choice.kind == "one":
        return _named(choice.names[0], names, custom)
    if choice.kind == "subset":
        allowed = [_named(name, names, custom) for name in choice.names]
        return {"type": "allowed_tools", "mode": "required" if choice.forced else "auto", "tools": allowed}
    return "required" if choice.kind == "any" else choice.kind


def _named(client_name: str, names: ToolNames, custom: bool) -> dict[str, Any]:
    name = names.upstream_name(client_name)
    tool = names.tool(name)
    return {"type": "custom" if custom and tool is not None and tool.custom else "function", "name": name}
