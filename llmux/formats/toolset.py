"""Which of a request's tools a target gets, and which of them it must use (TRANSLATION 2.4, 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from llmux.formats import websearch
from llmux.formats.capabilities import Capabilities
from llmux.formats.losses import Losses, member, unsupported
from llmux.formats.neutral import Choice, Format, Json, Request, Tool

CUSTOM_SCHEMA: Json = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
CUSTOM_INPUT = "input"
_KEEPS_SUBSETS: tuple[Format, ...] = ("responses", "gemini")
_CHOOSES_AMONG_SERVER_TOOLS: tuple[Format, ...] = ("responses", "anthropic")


@dataclass(frozen=True, slots=True)
class Toolset:
    """The tools to send, in the client's order, the choice among them, and `parallel` as the client said it."""

    tools: tuple[Tool, ...]
    choice: Choice | None
    parallel: bool | None

    @property
    def functions(self) -> tuple[Tool, ...]:
        """The tools that the client runs."""
        return tuple(tool for tool in self.tools if not tool.server)

    @property
    def search(self) -> Tool | None:
        """The web search that the target runs, if it was asked for."""
        return next((tool for tool in self.tools if tool.server), None)


def select(request: Request, target: Format, caps: Capabilities, losses: Losses) -> Toolset:
    """The tools for one target. Raises RequestRefused when the client forces a tool that the target lacks."""
    choice = request.choice
    kept: list[Tool] = []
    searches = False
    for tool in request.tools:
        if tool.server and not (tool.server_kind == websearch.KIND and caps.web_search):
            if _is_forced(choice, tool):
                raise _refused(request)
            if not tool.silent:
                losses.warn(f"dropped:{tool.label}")
        elif not (tool.server and searches):
            searches = searches or tool.server
            if tool.grammar and not (target in ("chat", "responses") and caps.custom_tools):
                losses.warn("dropped:tools.format")
            kept.append(tool)
    if choice is not None and choice.kind == "one" and choice.server_kind:
        if target != "anthropic" or not searches:
            raise _refused(request)
        choice = Choice("one", (websearch.KIND,), server_kind=websearch.KIND)
    elif choice is not None and choice.kind == "subset" and target not in _KEEPS_SUBSETS:
        allowed = set(choice.names)
        kept = [tool for tool in kept if tool.server or tool.name in allowed]
        choice = Choice("any" if choice.forced else "auto")
    choosable = kept if target in _CHOOSES_AMONG_SERVER_TOOLS else [tool for tool in kept if not tool.server]
    return Toolset(tuple(kept), choice if choosable else None, request.parallel)


def _is_forced(choice: Choice | None, tool: Tool) -> bool:
    if choice is None or choice.kind != "one":
        return False
    return choice.server_kind == tool.server_kind if choice.server_kind else tool.name in choice.names


def _refused(request: Request) -> Exception:
    name = member(request, "tool_choice")
    return unsupported("unsupported_parameter", name, f"{name} names a tool that the chosen model does not have")
