"""A Messages request as a neutral one (TRANSLATION 3.1 to 3.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from llmux.formats import members, thinking, websearch
from llmux.formats.anthropic.decode_messages import decode_messages
from llmux.formats.decoding import guarded, leading_system
from llmux.formats.losses import malformed
from llmux.formats.members import at
from llmux.formats.neutral import Blocker, Choice, Json, Limits, Output, Reasoning, Request, Sampling, SystemText, Tool

_CHOICES: Mapping[str, Literal["auto", "none", "any"]] = {"auto": "auto", "none": "none", "any": "any"}
_TIERS = {"auto": None, "standard_only": "default"}
_BILLING_NAME = "x-anthropic-billing-header"
_BILLING_LINE = re.compile(rf"^[ \t]*{_BILLING_NAME}[^\n]*(?:\n|\Z)", re.MULTILINE)
_BILLING_VALUES = re.compile(r"(?=[^\n]{0,256}\Z)[^\n]*\bcch=")


def decode_request(body: Mapping[str, Any], url_model: str | None = None, stream: bool | None = None) -> Request:
    """The neutral form of `body`. Raises RequestRefused (400, with the path) for known members that are malformed."""
    return guarded(_decode, body, url_model, stream)


def without_billing_line(text: str) -> str:
    """A system text without Claude Code's billing line, whose changing `cch=` value would miss every prompt cache."""
    if _BILLING_NAME in text:
        rest = _BILLING_LINE.sub("", text)
        return rest if rest.strip() else ""
    return "" if _BILLING_VALUES.match(text.lstrip()) is not None else text


def _decode(body: Mapping[str, Any], url_model: str | None, stream: bool | None) -> Request:
    blockers: list[Blocker] = []
    if body.get("container") is not None:
        blockers.append(Blocker("unsupported_parameter", "container"))
    lost = [f"dropped:{name}" for name in ("context_management", "mcp_servers") if body.get(name)]
    system = _system(body)
    turns, dropped_history = decode_messages(body, blockers)
    leading, turns = leading_system(turns, units=1)
    if dropped_history:
        lost.append("dropped:server_tool_history")
    tools = _tools(body)
    choice, parallel = _choice(body, tools)
    config = members.mapping(body, "output_config") or {}
    metadata = members.mapping(body, "metadata") or {}
    streaming = members.flag(body, "stream") if stream is None else stream
    tier = members.text(body, "service_tier")
    return Request(
        format="anthropic",
        model=url_model or members.text(body, "model") or "",
        stream=bool(streaming),
        want_usage=True,
        system=system + leading,
        turns=turns,
        tools=tools,
        choice=choice,
        parallel=parallel,
        sampling=Sampling(
            temperature=members.number(body, "temperature"),
            top_p=members.number(body, "top_p"),
            top_k=members.number(body, "top_k"),
        ),
        limits=Limits(members.integer(body, "max_tokens"), members.texts(body, "stop_sequences")),
        reasoning=_reasoning(body, config, lost),
        output=_output(config),
        user=members.text(metadata, "user_id", "metadata"),
        tier=_TIERS.get(tier or "auto"),
        lost=tuple(lost),
        blockers=tuple(blockers),
    )


def _system(body: Json) -> tuple[SystemText, ...]:
    system = body.get("system")
    if isinstance(system, str):
        texts = [system]
    else:
        texts = []
        for index, part in enumerate(members.mappings(body, "system")):
            if part.get("type", "text") == "text":
                texts.append(members.needed_text(part, "text", f"system.{index}"))
    return tuple(SystemText(text) for text in map(without_billing_line, texts) if text)


def _reasoning(body: Json, config: Json, lost: list[str]) -> Reasoning:
    word = members.text(config, "effort", "output_config")
    by_effort = thinking.of_effort(word) if word else None
    if word and by_effort is None:
        lost.append("dropped:reasoning_effort")
    wanted = members.mapping(body, "thinking")
    kind = members.text(wanted, "type", "thinking") if wanted else None
    if wanted is None or kind is None:
        return by_effort or thinking.DEFAULT
    display = wanted.get("display")
    if kind == "enabled":
        budget = members.integer(wanted, "budget_tokens", "thinking")
        if budget is None:
            raise malformed("thinking.budget_tokens", "an integer")
        return thinking.of_budget(max(budget, 0), show=display != "omitted")
    if kind == "disabled":
        return Reasoning("off")
    show = True if kind == "adaptive" and display == "summarized" else None
    if kind == "adaptive" and by_effort is not None:
        return Reasoning(by_effort.mode, by_effort.effort, show=show)
    return Reasoning("auto", show=show)


def _output(config: Json) -> Output:
    form = members.mapping(config, "format", "output_config")
    if form is None or members.text(form, "type", "output_config.format") != "json_schema":
        return Output()
    schema = members.mapping(form, "schema", "output_config.format") or {}
    return Output("schema", schema=schema, strict=True)


def _tools(body: Json) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for index, tool in enumerate(members.mappings(body, "tools")):
        path = f"tools.{index}"
        kind = members.text(tool, "type", path) or "custom"
        if kind == "custom":
            tools.append(
                Tool(
                    members.needed_text(tool, "name", path),
                    description=members.text(tool, "description", path),
                    schema=members.mapping(tool, "input_schema", path),
                    strict=members.flag(tool, "strict", path),
                )
            )
            continue
        name = members.text(tool, "name", path) or kind
        searches = kind.startswith("web_search_")
        location, allowed, blocked = (tool.get(k) for k in ("user_location", "allowed_domains", "blocked_domains"))
        tools.append(
            Tool(
                name,
                server=True,
                server_kind=websearch.KIND if searches else kind,
                label=f"tools.{name}",
                silent=kind.startswith("tool_search_tool"),
                config=websearch.config(None, location, allowed, blocked) if searches else {},
            )
        )
    return tuple(tools)


def _choice(body: Json, tools: tuple[Tool, ...]) -> tuple[Choice | None, bool | None]:
    wanted = members.mapping(body, "tool_choice")
    if wanted is None:
        return None, None
    kind = members.text(wanted, "type", "tool_choice") or ""
    parallel = False if members.flag(wanted, "disable_parallel_tool_use", "tool_choice") else None
    if kind == "tool":
        name = members.needed_text(wanted, "name", "tool_choice")
        server = next((tool for tool in tools if tool.server and tool.name == name), None)
        return Choice("one", (name,), server_kind=server.server_kind if server else ""), parallel
    if kind not in _CHOICES:
        raise malformed(at("tool_choice", "type"), "auto, any, tool or none")
    return Choice(_CHOICES[kind]), parallel
