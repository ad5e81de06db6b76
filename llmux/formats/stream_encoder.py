"""What the four stream encoders share: one method per kind of event, and messages of an event stream as output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from llmux.formats.client import ClientCtx
from llmux.formats.events import (
    Args,
    Cite,
    Delta,
    End,
    Event,
    Fail,
    Finish,
    Ground,
    PartStart,
    PartStop,
    Ping,
    Sign,
    Start,
    Usage,
    Use,
)

Message = tuple[str | None, bytes]


class Encoder:
    """Base of the stream encoders; `feed` gives messages (event name or None, data).

    Events that a format has no use for are passed over. `warnings` collects codes of TRANSLATION 2.4 for the log.
    """

    __slots__ = ("_out", "ctx", "started", "stem", "tier", "usage", "warnings")
    _methods: ClassVar[Mapping[type, Callable[..., None]]]

    def __init_subclass__(cls) -> None:
        cls._methods = {
            Start: cls._start,
            PartStart: cls._part_start,
            Delta: cls._delta,
            Args: cls._args,
            Sign: cls._sign,
            Cite: cls._cite,
            Ground: cls._ground,
            PartStop: cls._part_stop,
            Use: cls._use,
            Finish: cls._finish,
            End: cls._end,
            Fail: cls._fail,
            Ping: cls._ping,
        }

    def __init__(self, ctx: ClientCtx) -> None:
        self.ctx = ctx
        self.started = False
        self.stem = ctx.fresh_id
        self.usage = Usage()
        self.tier: str | None = None
        self.warnings: list[str] = []
        self._out: list[Message] = []

    def feed(self, event: Event) -> list[Message]:
        """The messages that one event brings."""
        self._methods[type(event)](self, event)
        out = self._out
        if out:
            self._out = []
        return out

    def close(self) -> list[Message]:
        """Nothing: an encoder is done with `End` or `Fail`, which every decoder gives."""
        return []

    def _start(self, event: Start) -> None:
        self.started = True
        self.stem = self.ctx.stem(event.id)
        self.usage = event.usage or self.usage
        self.tier = event.tier

    def _use(self, event: Use) -> None:
        self.usage = event.usage
        self.tier = event.tier or self.tier

    def _part_start(self, event: PartStart) -> None:
        pass

    def _delta(self, event: Delta) -> None:
        pass

    def _args(self, event: Args) -> None:
        pass

    def _sign(self, event: Sign) -> None:
        pass

    def _cite(self, event: Cite) -> None:
        pass

    def _ground(self, event: Ground) -> None:
        pass

    def _part_stop(self, event: PartStop) -> None:
        pass

    def _finish(self, event: Finish) -> None:
        pass

    def _end(self, event: End) -> None:
        pass

    def _fail(self, event: Fail) -> None:
        pass

    def _ping(self, event: Ping) -> None:
        pass
