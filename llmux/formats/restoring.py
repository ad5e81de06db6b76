"""Undoes in an answer what the request's translation did to tools: names, free-form input, wrapped schemas.

One pass over the events between decoder and encoder, so that no encoder knows of it (TRANSLATION 4.2, 4.3 A, 5.4).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from llmux.formats.client import ClientCtx
from llmux.formats.events import Args, Event, PartStart, PartStop
from llmux.formats.jsontext import compact
from llmux.formats.lenient import arguments
from llmux.formats.schema import WRAPPED, is_wrapped
from llmux.formats.toolset import CUSTOM_INPUT


class Restorer:
    """Maps events to events; `wraps` says that the upstream's format cannot take every root of a schema.

    The arguments of a free-form tool that went out as a function, and those of a wrapped schema, are held until the
    call is over: they leave as one piece.
    """

    __slots__ = ("_held", "_names", "_wraps")

    def __init__(self, ctx: ClientCtx, wraps: bool) -> None:
        self._names = ctx.names
        self._wraps = wraps
        self._held: dict[int, tuple[bool, list[str]]] = {}

    def feed(self, events: list[Event]) -> Sequence[Event]:
        """The same events as the client's tools have them."""
        if self._names is None:
            return events
        out: list[Event] = []
        for event in events:
            if isinstance(event, PartStart):
                out.append(self._opened(event))
            elif self._held and isinstance(event, Args) and event.i in self._held:
                self._held[event.i][1].append(event.json_text)
            elif self._held and isinstance(event, PartStop) and event.i in self._held:
                out += self._whole(event.i)
                out.append(event)
            else:
                out.append(event)
        return out

    def _opened(self, event: PartStart) -> Event:
        if self._names is None or event.kind != "call" or event.name is None:
            return event
        tool = self._names.tool(event.name)
        name = self._names.client_name(event.name)
        if tool is None:
            return replace(event, name=name) if name != event.name else event
        free = tool.custom and not event.custom
        if free or (self._wraps and not tool.custom and is_wrapped(tool.schema)):
            self._held[event.i] = (free, [])
        return replace(event, name=name, custom=tool.custom, namespace=tool.namespace or event.namespace)

    def _whole(self, i: int) -> list[Event]:
        free, pieces = self._held.pop(i)
        text = "".join(pieces)
        value, broken = arguments(text)
        if free:
            given = value.get(CUSTOM_INPUT)
            text = given if type(given) is str else text
        elif not broken and WRAPPED in value:
            text = compact(value[WRAPPED])
        return [Args(i, text)] if text else []
