"""A generateContent request as a neutral one (TRANSLATION 3.1 to 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmux.formats import members, thinking, websearch
from llmux.formats.decoding import guarded, leading_system
from llmux.formats.gemini.decode_contents import decode_contents
from llmux.formats.gemini.spelling import camel
from llmux.formats.losses import malformed
from llmux.formats.members import at
from llmux.formats.neutral import Blocker, Choice, Json, Limits, Output, Reasoning, Request, Sampling, SystemText, Tool
from llmux.formats.schema import from_gemini

_TIERS = {"standard": "default", "flex": "flex", "priority": "priority"}
_JSON = "application/json"
_SEARCHES = ("googleSearch", "googleSearchRetrieval")
_CONFIG = "generationConfig"


def decode_request(body: Mapping[str, Any], url_model: str | None = None, stream: bool | None = None) -> Request:
    """The neutral form of `body`; model and streaming are in the URL.

    Raises RequestRefused (400, with the path) for known members that are malformed.
    """
    return guarded(_decode, body, url_model, stream)


def _decode(body: Mapping[str, Any], url_model: str | None, stream: bool | None) -> Request:
    body = camel(body)
    blockers: list[Blocker] = []
    if body.get("cachedContent") is not None:
        blockers.append(Blocker("unsupported_parameter", "cachedContent"))
    system = _system(body)
    turns, lost = decode_contents(body, blockers)
    leading, turns = leading_system(turns, units=1)
    config = camel(members.mapping(body, _CONFIG) or {})
    tier = members.text(body, "serviceTier")
    model = url_model or members.text(body, "model") or ""
    return Request(
        format="gemini",
        model=model.removeprefix("models/"),
        stream=bool(stream),
        want_usage=True,
        system=system + leading,
        turns=turns,
        tools=_tools(body),
        choice=_choice(body),
        sampling=_sampling(config),
        limits=Limits(
            members.integer(config, "maxOutputTokens", _CONFIG),
            members.texts(config, "stopSequences", _CONFIG),
        ),
        reasoning=_reasoning(config, lost),
        output=_output(config, lost),
        tier=_TIERS.get(tier.lower()) if tier else None,
        lost=tuple(lost),
        blockers=tuple(blockers),
    )


def _system(body: Json) -> tuple[SystemText, ...]:
    given = body.get("systemInstruction")
    if isinstance(given, str):
        return (SystemText(given),) if given else ()
    content = members.mapping(body, "systemInstruction") or {}
    parts = members.mappings(content, "parts", "systemInstruction")
    texts = [members.text(part, "text", f"systemInstruction.parts.{index}") for index, part in enumerate(parts)]
    return tuple(SystemText(text) for text in texts if text)


def _sampling(config: Json) -> Sampling:
    return Sampling(
        temperature=members.number(config, "temperature", _CONFIG),
        top_p=members.number(config, "topP", _CONFIG),
        top_k=members.number(config, "topK", _CONFIG),
        seed=members.integer(config, "seed", _CONFIG),
        presence_penalty=members.number(config, "presencePenalty", _CONFIG),
        frequency_penalty=members.number(config, "frequencyPenalty", _CONFIG),
        n=members.integer(config, "candidateCount", _CONFIG),
        logprobs=members.flag(config, "responseLogprobs", _CONFIG),
        top_logprobs=members.integer(config, "logprobs", _CONFIG),
    )


def _reasoning(config: Json, lost: list[str]) -> Reasoning:
    path = at(_CONFIG, "thinkingConfig")
    wanted = camel(members.mapping(config, "thinkingConfig", _CONFIG) or {})
    show = members.flag(wanted, "includeThoughts", path)
    budget = members.integer(wanted, "thinkingBudget", path)
    if budget is not None:
        return thinking.of_budget(budget, show)
    level = members.text(wanted, "thinkingLevel", path)
    if not level or level == "THINKING_LEVEL_UNSPECIFIED":
        return Reasoning(show=show)
    known = thinking.of_effort(level, show)
    if known is None:
        lost.append("dropped:reasoning_effort")
    return known or Reasoning(show=show)


def _output(config: Json, lost: list[str]) -> Output:
    modalities = tuple(word.lower() for word in members.texts(config, "responseModalities", _CONFIG))
    modalities = tuple(word for word in modalities if word not in ("text", "modality_unspecified"))
    schema: Json | None = members.mapping(config, "responseJsonSchema", _CONFIG)
    if schema is None:
        own = members.mapping(config, "responseSchema", _CONFIG)
        schema = from_gemini(own) if own is not None else None
    mime = (members.text(config, "responseMimeType", _CONFIG) or "").lower()
    if mime not in ("", "text/plain", _JSON):
        lost.append("dropped:responseMimeType")
        return Output(modalities=modalities)
    if schema is not None:
        return Output("schema", schema=schema, modalities=modalities)
    return Output("json" if mime == _JSON else "text", modalities=modalities)


def _tools(body: Json) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for index, listed in enumerate(members.mappings(body, "tools")):
        group = camel(listed)
        path = f"tools.{index}"
        for name, value in group.items():
            if name == "functionDeclarations":
                tools += _functions(group, path)
            elif value is not None:
                kind = websearch.KIND if name in _SEARCHES else name
                tools.append(Tool(name, server=True, server_kind=kind, label=f"tools.{name}"))
    return tuple(tools)


def _functions(group: Json, path: str) -> list[Tool]:
    tools: list[Tool] = []
    for index, declared in enumerate(members.mappings(group, "functionDeclarations", path)):
        function = camel(declared)
        place = f"{path}.functionDeclarations.{index}"
        schema: Json | None = members.mapping(function, "parametersJsonSchema", place)
        if schema is None:
            own = members.mapping(function, "parameters", place)
            schema = from_gemini(own) if own is not None else None
        name = members.needed_text(function, "name", place)
        tools.append(Tool(name, members.text(function, "description", place), schema))
    return tools


def _choice(body: Json) -> Choice | None:
    outer = camel(members.mapping(body, "toolConfig") or {})
    config = camel(members.mapping(outer, "functionCallingConfig", "toolConfig") or {})
    path = "toolConfig.functionCallingConfig"
    mode = (members.text(config, "mode", path) or "").upper()
    names = members.texts(config, "allowedFunctionNames", path)
    if mode in ("", "MODE_UNSPECIFIED"):
        return None
    if mode == "NONE":
        return Choice("none")
    if mode not in ("AUTO", "ANY", "VALIDATED"):
        raise malformed(at(path, "mode"), "AUTO, ANY, NONE or VALIDATED")
    if mode == "AUTO" or not names:
        return Choice("any" if mode == "ANY" else "auto")
    if mode == "ANY" and len(names) == 1:
        return Choice("one", names)
    return Choice("subset", names, forced=mode == "ANY")
