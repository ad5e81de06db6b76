"""Reads HTML strictly for the tests: every element is closed where it should be, and nothing can run."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser

HOSTILE = "</td></script><img src=x onerror=alert(1)><!--\"'&amp;<b style='x'>"
_VOID = frozenset(("meta", "link", "input", "img", "br"))
_SHAPES = frozenset(("rect", "line", "polyline"))
Attributes = dict[str, str]


class Tree(HTMLParser):
    """The elements of a document in order as (tag, attributes, text); raises AssertionError for what is not closed."""

    def __init__(self, text: str | bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, Attributes, list[str]]] = []
        self._open: list[tuple[str, Attributes, list[str]]] = []
        self.feed(text.decode() if isinstance(text, bytes) else text)
        self.close()
        if self._open:
            raise AssertionError(f"not closed: {[tag for tag, _, _ in self._open]}")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) != len(names):
            raise AssertionError(f"an attribute twice: {tag} {names}")
        element = (tag, {name: value or "" for name, value in attrs}, [""])
        self.elements.append(element)
        if tag not in _VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag in _SHAPES:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            raise AssertionError(f"</{tag}> closes {self._open[-1:]}")
        self._open.pop()

    def handle_data(self, data: str) -> None:
        for _, _, text in self._open:
            text[0] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def all(self, tag: str, holds: Callable[[Attributes], bool] = lambda attributes: True) -> list[Attributes]:
        """The attributes of every element of a kind."""
        return [attributes for name, attributes, _ in self.elements if name == tag and holds(attributes)]

    def texts(self, tag: str, of: str | None = None) -> list[str]:
        """The text in every element of a kind, perhaps only of a class."""
        return [
            text[0]
            for name, attributes, text in self.elements
            if name == tag and (of is None or of in attributes.get("class", "").split())
        ]

    def text(self, identity: str) -> str:
        """The text in the element with an id."""
        return next(text[0] for _, attributes, text in self.elements if attributes.get("id") == identity)

    def dangers(self) -> list[str]:
        """Whatever the page's policy would have to stop: handlers, styles of elements, foreign addresses, scripts."""
        found = []
        for tag, attributes, _ in self.elements:
            if tag in ("img", "iframe", "object", "embed", "base"):
                found.append(tag)
            for name, value in attributes.items():
                address = name in ("href", "src", "action", "formaction")
                if name.startswith("on") or name == "style":
                    found.append(f"{tag} {name}")
                elif address and not value.startswith(("/llmux/", "#", "data:image/svg+xml,")):
                    found.append(f"{tag} {name}={value}")
        scripts = self.all("script")
        if len(scripts) > 1 or any(scripts):
            found.append("scripts")
        return found
