"""A Chat Completions request as a neutral one (TRANSLATION 3.1 to 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from llmux.formats import members, thinking, websearch
from llmux.formats.chat.decode_messages import decode_messages
from llmux.formats.decoding import guarded, leading_system
from llmux.formats.losses import malformed
from llmux.formats.members import at
from llmux.formats.neutral import Blocker, Choice, Json, Limits, Output, Request, Sampling, Tool

_UNKNOWN_ELSEWHERE = ("prediction", "moderation")
_CHOICES: Mapping[str, Literal["auto", "none", "any"]] = {"auto": "auto", "none": "none", "required": "any"}


def decode_request(body: Mapping[str, Any], url_model: str | None = None, stream: bool | None = None) -> Request:
    """The neutral form of `body`. Raises RequestRefused (400, with the path) for known members that are malformed."""
    return guarded(_decode, body, url_model, stream)


def _decode(body: Mapping[str, Any], url_model: str | None, stream: bool | None) -> Request:
    blockers: list[Blocker] = []
    lost = [f"dropped:{name}" for name in _UNKNOWN_ELSEWHERE if body.get(name) is not None]
    system, turns = leading_system(decode_messages(body, blockers))
    names = {}
    max_tokens = members.integer(body, "max_completion_tokens")
    if max_tokens is None:
        max_tokens = members.integer(body, "max_tokens")
        names["max_tokens"] = "max_tokens"
    reasoning = thinking.of_effort(members.text(body, "reasoning_effort") or "default")
    if reasoning is None and body.get("reasoning_effort") not in (None, "default"):
        lost.append("dropped:reasoning_effort")
    options = members.mapping(body, "stream_options")
    streaming = members.flag(body, "stream") if stream is None else stream
    return Request(
        format="chat",
        model=url_model or members.text(body, "model") or "",
        stream=bool(streaming),
        want_usage=bool(options and options.get("include_usage") is True),
        system=system,
        turns=turns,
        tools=_tools(body),
        choice=_choice(body),
        parallel=members.flag(body, "parallel_tool_calls"),
        sampling=_sampling(body),
        limits=Limits(max_tokens, members.texts(body, "stop")),
        reasoning=reasoning or thinking.DEFAULT,
        output=_output(body),
        user=members.text(body, "user") or members.text(body, "safety_identifier"),
        cache_key=members.text(body, "prompt_cache_key"),
        tier=members.text(body, "service_tier"),
        lost=tuple(lost),
        blockers=tuple(blockers),
        names=names,
        legacy_functions=body.get("functions") is not None,
    )


def _sampling(body: Mapping[str, Any]) -> Sampling:
    return Sampling(
        temperature=members.number(body, "temperature"),
        top_p=members.number(body, "top_p"),
        top_k=members.number(body, "top_k"),
        seed=members.integer(body, "seed"),
        presence_penalty=members.number(body, "presence_penalty"),
        frequency_penalty=members.number(body, "frequency_penalty"),
        logit_bias=members.mapping(body, "logit_bias") or None,
        n=members.integer(body, "n"),
        logprobs=members.flag(body, "logprobs"),
        top_logprobs=members.integer(body, "top_logprobs"),
    )


def _output(body: Mapping[str, Any]) -> Output:
    verbosity = members.text(body, "verbosity")
    wanted = members.texts(body, "modalities")
    modalities = tuple(word.lower() for word in wanted if word.lower() != "text")
    form = members.mapping(body, "response_format")
    kind = members.text(form, "type", "response_format") if form else None
    if form is None or kind in (None, "text"):
        return Output(verbosity=verbosity, modalities=modalities)
    if kind == "json_object":
        return Output("json", verbosity=verbosity, modalities=modalities)
    if kind != "json_schema":
        raise malformed("response_format.type", "text, json_object or json_schema")
    path = "response_format.json_schema"
    detail = members.needed_mapping(form, "json_schema", "response_format")
    return Output(
        "schema",
        name=members.text(detail, "name", path),
        schema=members.mapping(detail, "schema", path) or {},
        strict=members.flag(detail, "strict", path),
        description=members.text(detail, "description", path),
        verbosity=verbosity,
        modalities=modalities,
    )


def _tools(body: Mapping[str, Any]) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for index, tool in enumerate(members.mappings(body, "tools")):
        path = f"tools.{index}"
        kind = members.text(tool, "type", path) or "function"
        if kind == "function":
            tools.append(_function(members.needed_mapping(tool, "function", path), at(path, "function")))
        elif kind == "custom":
            tools.append(_custom(members.needed_mapping(tool, "custom", path), at(path, "custom")))
        else:
            tools.append(Tool(kind, server=True, server_kind=kind, label=f"tools.{kind}"))
    for index, function in enumerate(members.mappings(body, "functions")):
        tools.append(_function(function, f"functions.{index}"))
    search = members.mapping(body, "web_search_options")
    if search is not None:
        settings = websearch.config(search.get("search_context_size"), search.get("user_location"))
        name = "web_search_options"
        tools.append(Tool(name, server=True, server_kind=websearch.KIND, label=name, config=settings))
    return tuple(tools)


def _function(function: Json, path: str) -> Tool:
    return Tool(
        members.needed_text(function, "name", path),
        description=members.text(function, "description", path),
        schema=members.mapping(function, "parameters", path),
        strict=members.flag(function, "strict", path),
    )


def _custom(custom: Json, path: str) -> Tool:
    form = members.mapping(custom, "format", path)
    grammar = form.get("grammar", form) if form and form.get("type") == "grammar" else None
    return Tool(
        members.needed_text(custom, "name", path),
        description=members.text(custom, "description", path),
        custom=True,
        grammar=_grammar(grammar) if isinstance(grammar, Mapping) else None,
    )


def _grammar(grammar: Json) -> Json:
    return {key: grammar[key] for key in ("syntax", "definition") if isinstance(grammar.get(key), str)}


def _choice(body: Mapping[str, Any]) -> Choice | None:
    wanted = body.get("tool_choice")
    if wanted is None:
        wanted = body.get("function_call")
        if isinstance(wanted, Mapping):
            return Choice("one", (members.needed_text(wanted, "name", "function_call"),))
    if wanted is None:
        return None
    if isinstance(wanted, str):
        if wanted not in _CHOICES:
            raise malformed("tool_choice", "none, auto, required or an object")
        return Choice(_CHOICES[wanted])
    if not isinstance(wanted, Mapping):
        raise malformed("tool_choice", "a string or an object")
    return _chosen(wanted)


def _chosen(wanted: Json) -> Choice:
    path = "tool_choice"
    kind = members.text(wanted, "type", path)
    if kind in ("function", "custom"):
        named = members.needed_mapping(wanted, kind, path)
        return Choice("one", (members.needed_text(named, "name", at(path, kind)),))
    if kind == "allowed_tools":
        allowed = members.needed_mapping(wanted, "allowed_tools", path)
        path = at(path, "allowed_tools")
        names = []
        for index, tool in enumerate(members.mappings(allowed, "tools", path)):
            place = f"{path}.tools.{index}"
            named = members.mapping(tool, "function", place) or members.mapping(tool, "custom", place) or tool
            if isinstance(named.get("name"), str):
                names.append(named["name"])
        return Choice("subset", tuple(names), forced=members.text(allowed, "mode", path) == "required")
    return Choice("one", server_kind=kind or "unknown")
