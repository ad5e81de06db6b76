"""A checker of the event algebra (TRANSLATION 2.3): every decoder's events go through it in tests."""

from __future__ import annotations

from collections.abc import Iterable

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
    Use,
)


class EventGrammar:
    """Raises AssertionError at the first event that may not stand where it stands."""

    def __init__(self) -> None:
        self.started = False
        self.over = False
        self.failed = False
        self.parts: list[PartStart] = []
        self.open: dict[int, PartStart] = {}
        self.signed: set[int] = set()
        self.finished: set[int] = set()
        self.call_ids: set[tuple[int, str]] = set()

    def feed(self, events: Iterable[Event]) -> None:
        """Check some more events."""
        for event in events:
            assert not self.over, f"{event!r} after the end"
            self._check(event)

    def close(self) -> None:
        """Check that the stream has ended."""
        assert self.over, "neither End nor Fail"

    def _check(self, event: Event) -> None:
        if isinstance(event, Ping):
            return
        if isinstance(event, Fail):
            assert event.error.message
            self.over = self.failed = True
            return
        if isinstance(event, Start):
            assert not self.started, "a second Start"
            self.started = True
            return
        assert self.started, f"{event!r} before Start"
        if isinstance(event, PartStart):
            self._part(event)
        elif isinstance(event, Cite):
            part = self.parts[event.i]
            assert part.kind == "text" and part.choice not in self.finished
        elif isinstance(event, Delta):
            assert event.text and self.open[event.i].kind in ("text", "refusal", "thinking")
        elif isinstance(event, Args):
            assert event.json_text and self.open[event.i].kind == "call"
        elif isinstance(event, Sign):
            assert event.i in self.open and event.i not in self.signed
            assert self.open[event.i].signature is None, "signed at its start already"
            self.signed.add(event.i)
        elif isinstance(event, PartStop):
            del self.open[event.i]
        elif isinstance(event, Finish):
            assert event.choice not in self.finished
            assert not any(part.choice == event.choice for part in self.open.values()), "finished with open parts"
            self.finished.add(event.choice)
        elif isinstance(event, End):
            assert self.finished and not self.open
            assert {part.choice for part in self.parts} <= self.finished
            self.over = True
        else:
            assert isinstance(event, Use | Ground)

    def _part(self, part: PartStart) -> None:
        assert part.i == len(self.parts), "parts are numbered from 0 without gaps"
        assert part.choice not in self.finished, "a part after the finish"
        others = [other for other in self.open.values() if other.choice == part.choice]
        assert all(other.kind == "call" for other in others), "only a call may be open when another part starts"
        if part.kind == "call":
            assert part.name is not None
            if part.call_id is not None:
                assert (part.choice, part.call_id) not in self.call_ids, "an id twice"
                self.call_ids.add((part.choice, part.call_id))
        self.parts.append(part)
        self.open[part.i] = part
