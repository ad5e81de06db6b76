"""What an encoder of answers must know of the client and its request."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmux.formats import ids
from llmux.formats.events import PartStart
from llmux.formats.neutral import Format, Output, Request, Tool
from llmux.formats.schema import is_wrapped
from llmux.formats.toolnames import ToolNames, tool_names


@dataclass(frozen=True, slots=True)
class ClientCtx:
    """The client's side of one exchange.

    `model` is the name the client asked for. `created` is Unix seconds; `fresh_id` is 24 random hex digits, used when
    the upstream gives no id. `names` maps the upstream's tool names back (None: nothing to map).
    `reasoning_content` and `extra_content` say whether Chat clients get these two extensions (TRANSLATION 3.8).
    """

    format: Format
    model: str
    request: Request
    names: ToolNames | None = None
    created: int = 0
    fresh_id: str = "0" * 24
    reasoning_content: bool = True
    extra_content: bool = True

    @classmethod
    def of(
        cls, request: Request, model: str, upstream: Format, upstream_model: str, created: int, fresh_id: str
    ) -> ClientCtx:
        """The context of a request that went to `upstream_model` of format `upstream`.

        It keeps neither the conversation nor what the tools take: an answer may last for hours.
        """
        names = None
        if request.tools or request.turns:
            tools = tuple(map(_name_only, request.tools))
            names = tool_names(replace(request, tools=tools), upstream, upstream_model)
        kept = replace(request, system=(), turns=(), tools=(), output=Output())
        return cls(request.format, model, kept, names, created, fresh_id)

    def stem(self, upstream_id: str | None) -> str:
        """What all ids of one answer share (TRANSLATION 4.1)."""
        return ids.stem(upstream_id) or self.fresh_id

    def call_id(self, part: PartStart, stem: str, number: int) -> str | None:
        """The id of a call for the client; `number` counts the calls of its choice. None: the format can do without."""
        if part.call_id is None:
            return ids.made_call_id(self.format, stem, number, part.choice)
        return ids.fit(part.call_id, self.format)


def _name_only(tool: Tool) -> Tool:
    """What an answer needs of a tool: how it is called, whether it is free-form, and whether its schema was wrapped."""
    schema = tool.schema if is_wrapped(tool.schema) else None
    return replace(tool, description=None, schema=schema, grammar=None, config={})
