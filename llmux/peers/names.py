"""Bounds on names that clients choose, wherever every new name costs memory for good."""

from __future__ import annotations

from llmux.routing.decision import one_line

OTHER = "other"
LONGEST = 200


class BoundedNames:
    """Lets a bounded number of names through, each as one printable line, and calls the rest `other`.

    Names that were served once have `most` places of their own, so that made-up names, which have `strangers` places,
    cannot take them away.
    """

    __slots__ = ("_most", "_served", "_strangers", "_unserved")

    def __init__(self, most: int, strangers: int) -> None:
        self._most = most
        self._strangers = strangers
        self._served: dict[str, str] = {}
        self._unserved: dict[str, str] = {}

    def name(self, name: str, served: bool) -> str:
        """The name to count under; `served` says that somebody answered for it."""
        if len(name) > LONGEST:
            name = name[:LONGEST]
        shown = self._served.get(name)
        if shown is not None:
            return shown
        known, most = (self._served, self._most) if served else (self._unserved, self._strangers)
        shown = known.get(name)
        if shown is None:
            if len(known) >= most:
                return OTHER
            shown = known[name] = one_line(name)
        return shown

    def renew(self) -> None:
        """Give the places of names that nobody served away again."""
        self._unserved.clear()
