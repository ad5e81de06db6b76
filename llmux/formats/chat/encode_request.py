"""A neutral request as a Chat Completions request (TRANSLATION 3.1 to 3.3)."""

from __future__ import annotations

from typing import Any

from llmux.formats import sampling, thinking, websearch
from llmux.formats.chat.encode_messages import encode_messages
from llmux.formats.losses import Losses
from llmux.formats.neutral import Choice, Request, Tool
from llmux.formats.schema import parameters
from llmux.formats.target import Encoded, Target, guarded, said, tier, user_id
from llmux.formats.toolnames import ToolNames, tool_names
from llmux.formats.toolset import CUSTOM_SCHEMA, Toolset, select

PATH = "/v1/chat/completions"
_STOPS = 4
_KEPT = frozenset(
    [
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "stop",
        "verbosity",
    ]
)


def encode_request(request: Request, target: Target) -> Encoded:
    """The body for `target`. Raises RequestRefused for what Chat Completions cannot express."""
    return guarded(_encode, request, target)


def _encode(request: Request, target: Target) -> Encoded:
    losses = Losses(request, target.strict)
    losses.check_blockers()
    caps = target.capabilities
    sampling.check_modalities(request, caps, losses)
    sampling.drop_all_but(request, _KEPT | {"top_k"} if caps.top_k else _KEPT, losses)
    names = tool_names(request, "chat", target.model)
    body: dict[str, Any] = {"model": target.model, "messages": encode_messages(request, caps, names, losses)}
    limit = sampling.max_tokens(request, caps, losses)
    if limit is not None:
        body[caps.max_tokens_field] = limit
    asked = request.sampling
    service_tier, tier_lost = tier(request.tier, "chat")
    if tier_lost:
        losses.drop("service_tier")
    body |= sampling.temperature_and_top_p(request, caps, losses)
    body |= said(
        {
            "top_k": asked.top_k if caps.top_k else None,
            "stop": sampling.stops(request, _STOPS, losses) or None,
            "seed": asked.seed,
            "presence_penalty": asked.presence_penalty,
            "frequency_penalty": asked.frequency_penalty,
            "logit_bias": asked.logit_bias,
            "n": asked.n if (asked.n or 1) > 1 else None,
            "logprobs": asked.logprobs or None,
            "top_logprobs": asked.top_logprobs if asked.logprobs else None,
            "reasoning_effort": _effort(request, target, losses),
            "response_format": _response_format(request),
            "verbosity": request.output.verbosity,
            "modalities": ["text", *request.output.modalities] if request.output.modalities else None,
            "user": user_id(request.user),
            "prompt_cache_key": request.cache_key,
            "service_tier": service_tier,
        }
    )
    toolset = select(request, "chat", caps, losses)
    body |= _tools(toolset, names, caps.custom_tools)
    if request.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if names.renamed:
        losses.warn("renamed:tool")
    return Encoded(body, PATH, [], losses.codes)


def _effort(request: Request, target: Target, losses: Losses) -> str | None:
    reasoning = request.reasoning
    if target.capabilities.thinking == "none":
        if thinking.wants_thinking(reasoning):
            losses.warn("dropped:reasoning_effort")
        return None
    if reasoning.mode in ("off", "effort", "budget"):
        return thinking.effort_or_off(reasoning, target.capabilities, losses)
    return None


def _response_format(request: Request) -> dict[str, Any] | None:
    output = request.output
    if output.kind == "json":
        return {"type": "json_object"}
    if output.kind != "schema":
        return None
    schema = {
        "name": output.name or "output",
        "description": output.description,
        "schema": output.schema,
        "strict": output.strict,
    }
    return {"type": "json_schema", "json_schema": said(schema)}


def _tools(toolset: Toolset, names: ToolNames, custom: bool) -> dict[str, Any]:
    members: dict[str, Any] = {}
    if toolset.functions:
        members["tools"] = [_tool(tool, names, custom) for tool in toolset.functions]
        if toolset.choice is not None:
            members["tool_choice"] = _choice(toolset.choice, names, custom)
        if toolset.parallel is not None:
            members["parallel_tool_calls"] = toolset.parallel
    if toolset.search is not None:
        members["web_search_options"] = websearch.for_chat(toolset.search.config)
    return members


def _tool(tool: Tool, names: ToolNames, custom: bool) -> dict[str, Any]:
    name = names.upstream_name(tool.name, tool.namespace)
    if tool.custom and custom:
        form = {"type": "grammar", "grammar": tool.grammar} if tool.grammar else None
        return {"type": "custom", "custom": said({"name": name, "description": tool.description, "format": form})}
    function = {
        "name": name,
        "description": tool.description,
        "parameters": parameters(CUSTOM_SCHEMA if tool.custom else tool.schema, "chat"),
        "strict": tool.strict,
    }
    return {"type": "function", "function": said(function)}


def _choice(choice: Choice, names: ToolNames, custom: bool) -> str | dict[str, Any]:
    if choice.kind != "one":
        return "required" if choice.kind == "any" else choice.kind
    name = names.upstream_name(choice.names[0])
    tool = names.tool(name)
    kind = "custom" if custom and tool is not None and tool.custom else "function"
    return {"type": kind, kind: {"name": name}}
