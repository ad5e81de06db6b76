"""YAML text into nodes that know their place; no values are interpreted here.

Works from parser events instead of PyYAML's own composer, which recurses, keeps duplicate keys and lets a few aliases
stand for billions of nodes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from llmux.config.problem import ConfigError, EmptyConfig, Ledger, shown

MAX_TEXT = 1024 * 1024
MAX_DEPTH = 40
MAX_NODES = 50_000

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_TYPED = {_TAG + name for name in ("int", "float", "bool", "null", "timestamp")}
_UNACCEPTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_REFERENCE = re.compile(r"""\$\{([^{}\[\],"'\n]*)\}""")
_SHELTERED = re.compile("\\$\ue000([^\ue000\ue001]*)\ue001")
_NULLS = {"", "~", "null", "Null", "NULL"}
_MERGE = "<<"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as written. `plain` is False when quotes or a tag say that it is text and nothing else."""

    text: str
    plain: bool
    line: int
    column: int

    @property
    def null(self) -> bool:
        """Whether nothing is written here, so that the default holds."""
        return self.plain and self.text in _NULLS


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list of nodes."""

    items: tuple[Node, ...]
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys in file order with the scalar that wrote each key; `<<` is merged already."""

    entries: dict[str, tuple[Scalar, Node]]
    line: int
    column: int


Node: TypeAlias = Scalar | Sequence | Mapping


@dataclass(slots=True)
class _Open:
    """A collection whose end has not been seen."""

    mapping: bool
    line: int
    column: int
    anchor: str | None
    children: list[Node] = field(default_factory=list)
    entries: dict[str, tuple[Scalar, Node]] = field(default_factory=dict)
    merged: list[Mapping] = field(default_factory=list)
    key: Scalar | None = None
    weight: int = 1


class _Composer:
    """Builds one document from events; `root` is set when it is complete."""

    def __init__(self, file: str, ledger: Ledger) -> None:
        self.file = file
        self.ledger = ledger
        self.root: Node | None = None
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._documents = 0

    def feed(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event), 1, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            self._close()
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._refuse(event, "a second document begins here; only one is read")

    def _refuse(self, event: yaml.Event, problem: str) -> ConfigError:
        line, column = _place(event.start_mark)
        return ConfigError(self.file, line, column, self._path() or "yaml", problem)

    def _path(self) -> str:
        path = ""
        for frame in self._stack:
            if not frame.mapping:
                path += f"[{len(frame.children)}]"
            elif frame.key is not None:
                path += f".{shown(frame.key.text)}" if path else shown(frame.key.text)
        return path

    def _scalar(self, event: yaml.ScalarEvent) -> Scalar:
        line, column = _place(event.start_mark)
        text, tag = _SHELTERED.sub(r"${\1}", event.value), event.tag
        if tag is None or tag == "!":
            return Scalar(text, bool(event.implicit[0]) and tag is None, line, column)
        if tag == _TAG + "str":
            return Scalar(text, False, line, column)
        if tag in _TYPED:
            return Scalar(text, True, line, column)
        raise self._refuse(event, "this YAML tag is not understood")

    def _alias(self, event: yaml.AliasEvent) -> None:
        found = self._anchors.get(event.anchor or "")
        if found is None:
            inside = any(frame.anchor == event.anchor for frame in self._stack)
            raise self._refuse(event, "this alias contains itself" if inside else "this alias has no anchor before it")
        self._add(found[0], found[1], None)

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if mapping else "seq")):
            raise self._refuse(event, "this YAML tag is not understood")
        if self._stack and self._stack[-1].mapping and self._stack[-1].key is None:
            raise self._refuse(event, "a key must be plain text; braces and brackets that belong to text need quotes")
        if len(self._stack) >= MAX_DEPTH:
            raise self._refuse(event, f"nested more than {MAX_DEPTH} levels deep")
        self._stack.append(_Open(mapping, *_place(event.start_mark), event.anchor))

    def _close(self) -> None:
        frame = self._stack.pop()
        if not frame.mapping:
            self._add(Sequence(tuple(frame.children), frame.line, frame.column), frame.weight, frame.anchor)
            return
        for source in frame.merged:
            for name, entry in source.entries.items():
                frame.entries.setdefault(name, entry)
        self._add(Mapping(frame.entries, frame.line, frame.column), frame.weight, frame.anchor)

    def _add(self, node: Node, weight: int, anchor: str | None) -> None:
        """Put a finished node where it belongs; `weight` counts it with aliases written out."""
        if anchor is not None:
            self._anchors[anchor] = (node, weight)
        if not self._stack:
            self.root = node
            return
        frame = self._stack[-1]
        frame.weight += weight
        if frame.weight > MAX_NODES:
            raise ConfigError(self.file, frame.line, frame.column, self._path(), "too many values, aliases included")
        if not frame.mapping:
            frame.children.append(node)
        elif frame.key is None:
            self._begin_entry(frame, node)
        else:
            self._end_entry(frame, frame.key, node)

    def _begin_entry(self, frame: _Open, node: Node) -> None:
        if not isinstance(node, Scalar):
            raise ConfigError(self.file, node.line, node.column, self._path() or "yaml", "a key must be plain text")
        frame.key = node

    def _end_entry(self, frame: _Open, key: Scalar, node: Node) -> None:
        if key.plain and key.text == _MERGE:
            sources = node.items if isinstance(node, Sequence) else (node,)
            for source in sources:
                if isinstance(source, Mapping):
                    frame.merged.append(source)
                else:
                    self.ledger.error(key, self._path(), "only mappings can be merged")
        elif key.text in frame.entries:
            first = frame.entries[key.text][0].line
            self.ledger.error(key, self._path(), f"given twice, first in line {first}")
        else:
            frame.entries[key.text] = (key, node)
        frame.key = None


def compose(text: str, file: str, ledger: Ledger) -> Mapping:
    """The one mapping a file consists of.

    Duplicate keys go to the ledger. Raises `EmptyConfig` when nothing but comments is there, `ConfigError` for
    anything that is not one YAML document with a mapping, or that is too large, too deep or too often aliased.
    """
    if len(text) > MAX_TEXT:
        raise ConfigError(file, 1, 1, "yaml", f"longer than {MAX_TEXT} characters")
    strange = _UNACCEPTABLE.search(text)
    if strange is not None:
        before = text[: strange.start()]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        raise ConfigError(file, line, column, "yaml", f"character U+{ord(strange.group()):04X} is not allowed")
    composer = _Composer(file, ledger)
    try:
        for event in yaml.parse(_shelter(text), Loader=_LOADER):
            composer.feed(event)
    except yaml.YAMLError as error:
        raise _syntax(error, text, file) from None
    root = composer.root
    if root is None or (isinstance(root, Scalar) and root.null):
        raise EmptyConfig(file, 1, 1, "yaml", "the file is empty")
    if not isinstance(root, Mapping):
        raise ConfigError(file, root.line, root.column, "yaml", "expected keys with values, such as `port: 8317`")
    return root


def _shelter(text: str) -> str:
    """Replace the braces of `${NAME}`, which end a plain scalar between brackets, so that `[${NAME}]` is a list."""
    return _REFERENCE.sub("$\ue000\\1\ue001", text)


def _place(mark: Any) -> tuple[int, int]:
    """Line and column from 1; `mark` is a Mark of PyYAML or of libyaml, or None."""
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _syntax(error: yaml.YAMLError, text: str, file: str) -> ConfigError:
    """The parser's complaint with a hint for the mistakes people make; its excerpt of the file is left out."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line, column = _place(mark)
    problem = str(getattr(error, "problem", None) or "cannot be parsed")
    context = str(getattr(error, "context", None) or "")
    rows = text.split("\n")
    there = rows[line - 1][column - 1 : column] if line <= len(rows) else ""
    if there == "\t":
        problem = "a tab cannot indent; use spaces"
    elif "alias" in context or "anchor" in context:
        problem = "text that begins with * or & needs quotes"
    elif "cannot start any token" in problem and there:
        problem = f"text that begins with {there} needs quotes"
    elif context:
        problem = f"{problem} {context}"
    return ConfigError(file, line, column, "yaml", problem)
