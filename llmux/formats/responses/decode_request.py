"""A Responses request as a neutral one (TRANSLATION 3.1 to 3.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from llmux.formats import members, thinking, websearch
from llmux.formats.decoding import guarded, leading_system
from llmux.formats.losses import malformed
from llmux.formats.members import at
from llmux.formats.neutral import (
    Blocker,
    Choice,
    Json,
    Limits,
    Output,
    Reasoning,
    Request,
    Sampling,
    SystemText,
    Tool,
)
from llmux.formats.responses.decode_items import decode_items

_STATE = ("previous_response_id", "conversation", "prompt")
_LOGPROBS = "message.output_text.logprobs"
_CHOICES: Mapping[str, Literal["auto", "none", "any"]] = {"auto": "auto", "none": "none", "required": "any"}
_SEARCHES = ("web_search", "web_search_preview")
_SILENT = ("tool_search", "programmatic_tool_calling")
_ECHO = (
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "temperature",
    "top_p",
    "max_output_tokens",
    "reasoning",
    "text",
    "metadata",
    "truncation",
)


def decode_request(body: Mapping[str, Any], url_model: str | None = None, stream: bool | None = None) -> Request:
    """The neutral form of `body`. Raises RequestRefused (400, with the path) for known members that are malformed."""
    return guarded(_decode, body, url_model, stream)


def _decode(body: Mapping[str, Any], url_model: str | None, stream: bool | None) -> Request:
    blockers = [Blocker("unsupported_parameter", name) for name in _STATE if body.get(name) is not None]
    if body.get("background") is True:
        blockers.append(Blocker("unsupported_parameter", "background"))
    lost = [f"dropped:{name}" for name in ("max_tool_calls", "context_management", "moderation") if body.get(name)]
    if body.get("truncation") == "auto":
        lost.append("dropped:truncation")
    turns, item_losses = decode_items(body, blockers)
    leading, turns = leading_system(turns, units=1)
    instructions = members.text(body, "instructions")
    system = (SystemText(instructions), *leading) if instructions else leading
    reasoning = _reasoning(body, lost)
    streaming = members.flag(body, "stream") if stream is None else stream
    return Request(
        format="responses",
        model=url_model or members.text(body, "model") or "",
        stream=bool(streaming),
        want_usage=True,
        system=system,
        turns=turns,
        tools=_tools(members.mappings(body, "tools"), "tools"),
        choice=_choice(body),
        parallel=members.flag(body, "parallel_tool_calls"),
        sampling=_sampling(body),
        limits=Limits(members.integer(body, "max_output_tokens")),
        reasoning=reasoning,
        output=_output(body),
        user=members.text(body, "safety_identifier") or members.text(body, "user"),
        cache_key=members.text(body, "prompt_cache_key"),
        tier=members.text(body, "service_tier"),
        lost=(*lost, *item_losses),
        blockers=tuple(blockers),
        names={"logprobs": "top_logprobs"} if body.get("top_logprobs") is not None else {},
        echo={name: body[name] for name in _ECHO if body.get(name) is not None},
    )


def _reasoning(body: Json, lost: list[str]) -> Reasoning:
    wanted = members.mapping(body, "reasoning")
    if wanted is None:
        return thinking.DEFAULT
    summary = members.text(wanted, "summary", "reasoning") or members.text(wanted, "generate_summary", "reasoning")
    show = True if summary and summary != "none" else None
    effort = members.text(wanted, "effort", "reasoning")
    if effort is None:
        return Reasoning(show=show)
    known = thinking.of_effort(effort, show)
    if known is None:
        lost.append("dropped:reasoning_effort")
    return known or Reasoning(show=show)


def _sampling(body: Json) -> Sampling:
    top_logprobs = members.integer(body, "top_logprobs")
    asked = _LOGPROBS in members.sequence(body, "include")
    return Sampling(
        temperature=members.number(body, "temperature"),
        top_p=members.number(body, "top_p"),
        logprobs=True if asked or top_logprobs else None,
        top_logprobs=top_logprobs,
    )


def _output(body: Json) -> Output:
    text = members.mapping(body, "text")
    if text is None:
        return Output()
    verbosity = members.text(text, "verbosity", "text")
    form = members.mapping(text, "format", "text")
    kind = members.text(form, "type", "text.format") if form else None
    if form is None or kind in (None, "text"):
        return Output(verbosity=verbosity)
    if kind == "json_object":
        return Output("json", verbosity=verbosity)
    if kind != "json_schema":
        raise malformed("text.format.type", "text, json_object or json_schema")
    path = "text.format"
    return Output(
        "schema",
        name=members.text(form, "name", path),
        schema=members.mapping(form, "schema", path) or {},
        strict=members.flag(form, "strict", path),
        description=members.text(form, "description", path),
        verbosity=verbosity,
    )


def _tools(listed: list[Mapping[str, Any]], where: str) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for index, tool in enumerate(listed):
        path = f"{where}.{index}"
        kind = members.text(tool, "type", path) or "function"
        if kind == "namespace":
            namespace = members.needed_text(tool, "name", path)
            inner = _tools(members.mappings(tool, "tools", path), at(path, "tools"))
            tools += [replace(member, namespace=namespace) for member in inner]
        else:
            tools.append(_tool(tool, kind, path))
    return tuple(tools)


def _tool(tool: Json, kind: str, path: str) -> Tool:
    if kind == "function":
        return Tool(
            members.needed_text(tool, "name", path),
            description=members.text(tool, "description", path),
            schema=members.mapping(tool, "parameters", path),
            strict=members.flag(tool, "strict", path),
        )
    if kind == "custom":
        form = members.mapping(tool, "format", path) or {}
        grammar = {key: form[key] for key in ("syntax", "definition") if isinstance(form.get(key), str)}
        return Tool(
            members.needed_text(tool, "name", path),
            description=members.text(tool, "description", path),
            custom=True,
            grammar=grammar if form.get("type") == "grammar" else None,
        )
    config: Json = {}
    server_kind = kind
    if kind.startswith(_SEARCHES):
        filters = tool.get("filters")
        allowed = filters.get("allowed_domains") if isinstance(filters, Mapping) else None
        config = websearch.config(tool.get("search_context_size"), tool.get("user_location"), allowed)
        server_kind = websearch.KIND
    return Tool(
        kind,
        server=True,
        server_kind=server_kind,
        label=f"tools.{kind}",
        silent=kind in _SILENT,
        config=config,
    )


def _choice(body: Json) -> Choice | None:
    wanted = body.get("tool_choice")
    if wanted is None:
        return None
    if isinstance(wanted, str):
        if wanted not in _CHOICES:
            raise malformed("tool_choice", "none, auto, required or an object")
        return Choice(_CHOICES[wanted])
    wanted = members.needed_mapping(body, "tool_choice", "")
    kind = members.text(wanted, "type", "tool_choice") or ""
    if kind in ("function", "custom"):
        return Choice("one", (members.needed_text(wanted, "name", "tool_choice"),))
    if kind == "allowed_tools":
        tools = members.mappings(wanted, "tools", "tool_choice")
        names = tuple(tool["name"] for tool in tools if isinstance(tool.get("name"), str))
        return Choice("subset", names, forced=members.text(wanted, "mode", "tool_choice") == "required")
    return Choice("one", server_kind=websearch.KIND if kind.startswith(_SEARCHES) else kind or "unknown")
