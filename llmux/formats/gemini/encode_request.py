"""A neutral request as a generateContent request (TRANSLATION 3.1 to 3.3)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from llmux.formats import sampling, thinking
from llmux.formats.capabilities import Capabilities
from llmux.formats.gemini.encode_contents import encode_contents
from llmux.formats.losses import Losses
from llmux.formats.neutral import Choice, Request, Tool
from llmux.formats.schema_gemini import json_dialect, openapi_dialect
from llmux.formats.target import Encoded, Target, guarded, said, tier
from llmux.formats.toolnames import ToolNames, tool_names
from llmux.formats.toolset import CUSTOM_SCHEMA, Toolset, select

_STOPS = 5
_KEPT = frozenset(["top_k", "seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "stop"])
_MODES = {"auto": "AUTO", "none": "NONE", "any": "ANY"}
_COLLECTIONS = ("models/", "tunedModels/", "publishers/", "projects/")


def encode_request(request: Request, target: Target) -> Encoded:
    """The body and path for `target`. Raises RequestRefused for what generateContent cannot express."""
    return guarded(_encode, request, target)


def _encode(request: Request, target: Target) -> Encoded:
    losses = Losses(request, target.strict)
    losses.check_blockers()
    caps = target.capabilities
    sampling.check_modalities(request, caps, losses)
    sampling.drop_all_but(request, _KEPT, losses)
    if request.parallel is False and request.tools:
        losses.drop("parallel_tool_calls")
    names = tool_names(request, "gemini", target.model)
    toolset = select(request, "gemini", caps, losses)
    service_tier, tier_lost = tier(request.tier, "gemini")
    if tier_lost:
        losses.drop("service_tier")
    body: dict[str, Any] = encode_contents(request, caps, names, losses)
    config = _generation_config(request, caps, losses)
    if config:
        body["generationConfig"] = config
    body |= _tools(toolset, names, caps, losses)
    if service_tier is not None:
        body["serviceTier"] = service_tier
    if names.renamed:
        losses.warn("renamed:tool")
    return Encoded(body, path(target.model, caps, request.stream), [], losses.codes)


def path(model: str, caps: Capabilities, stream: bool) -> str:
    """The path and query for one model below the service's root."""
    resource = model if model.startswith(_COLLECTIONS) else f"models/{model}"
    verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/{caps.api_version}/{quote(resource, safe='/-._~:@', errors='replace')}:{verb}"


def _generation_config(request: Request, caps: Capabilities, losses: Losses) -> dict[str, Any]:
    asked = request.sampling
    spoken = sampling.temperature_and_top_p(request, caps, losses)
    modalities = [word.upper() for word in ("text", *request.output.modalities)]
    return said(
        {
            "temperature": spoken.get("temperature"),
            "topP": spoken.get("top_p"),
            "topK": asked.top_k,
            "seed": asked.seed,
            "presencePenalty": asked.presence_penalty,
            "frequencyPenalty": asked.frequency_penalty,
            "candidateCount": asked.n if (asked.n or 1) > 1 else None,
            "responseLogprobs": asked.logprobs or None,
            "logprobs": asked.top_logprobs if asked.logprobs else None,
            "maxOutputTokens": sampling.max_tokens(request, caps, losses),
            "stopSequences": sampling.stops(request, _STOPS, losses) or None,
            "thinkingConfig": _thinking(request, caps, losses) or None,
            "responseModalities": modalities if request.output.modalities else None,
            **_output(request, caps, losses),
        }
    )


def _output(request: Request, caps: Capabilities, losses: Losses) -> dict[str, Any]:
    output = request.output
    if output.kind == "text":
        return {}
    members: dict[str, Any] = {"responseMimeType": "application/json"}
    if output.kind == "schema" and output.schema is not None:
        if caps.schema_dialect == "openapi":
            members["responseSchema"] = openapi_dialect(output.schema, losses.warn)
        else:
            members["responseJsonSchema"] = json_dialect(output.schema, losses.warn)
    return members


def _thinking(request: Request, caps: Capabilities, losses: Losses) -> dict[str, Any]:
    reasoning = request.reasoning
    if caps.thinking == "none":
        if thinking.wants_thinking(reasoning):
            losses.warn("dropped:reasoning_effort")
        return {}
    members: dict[str, Any] = {}
    if caps.thinking == "budget":
        if reasoning.mode != "default":
            members["thinkingBudget"] = thinking.gemini_budget(reasoning, caps, losses)
    elif reasoning.mode == "off":
        lowest = thinking.nearest_effort("none", caps.effort_levels)
        members["thinkingLevel"] = lowest.upper() if lowest else None
    elif reasoning.mode in ("effort", "budget"):
        level = thinking.effort(reasoning, caps, losses)
        members["thinkingLevel"] = level.upper() if level else None
    if reasoning.show and reasoning.mode != "off":
        members["includeThoughts"] = True
    return said(members)


def _tools(toolset: Toolset, names: ToolNames, caps: Capabilities, losses: Losses) -> dict[str, Any]:
    tools: list[dict[str, Any]] = []
    if toolset.functions:
        declared = [_function(tool, names, caps, losses) for tool in toolset.functions]
        tools.append({"functionDeclarations": declared})
    if toolset.search is not None:
        tools.append({"googleSearch": {}})
    if not tools:
        return {}
    if toolset.choice is None:
        return {"tools": tools}
    return {"tools": tools, "toolConfig": {"functionCallingConfig": _calling(toolset.choice, names)}}


def _function(tool: Tool, names: ToolNames, caps: Capabilities, losses: Losses) -> dict[str, Any]:
    function: dict[str, Any] = {"name": names.upstream_name(tool.name, tool.namespace)}
    if tool.description is not None:
        function["description"] = tool.description
    schema = CUSTOM_SCHEMA if tool.custom else tool.schema
    if schema is None:
        return function
    if caps.schema_dialect != "openapi":
        function["parametersJsonSchema"] = json_dialect(schema, losses.warn)
        return function
    converted = openapi_dialect(schema, losses.warn)
    if converted.get("properties") or converted.get("anyOf"):  # an object without properties is a 400 there
        function["parameters"] = converted
    return function


def _calling(choice: Choice, names: ToolNames) -> dict[str, Any]:
    if choice.kind not in ("one", "subset"):
        return {"mode": _MODES[choice.kind]}
    allowed = [names.upstream_name(name) for name in choice.names]
    mode = "ANY" if choice.kind == "one" or choice.forced else "VALIDATED"
    return {"mode": mode, "allowedFunctionNames": allowed}
