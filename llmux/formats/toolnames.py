"""Tool names that every vendor accepts, and the way back (TRANSLATION 4.2): a pure function of the request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from llmux.formats.neutral import Call, Format, Request, Result, Tool

_OUTSIDE = re.compile(r"[^a-zA-Z0-9_-]")
_OUTSIDE_GEMINI = re.compile(r"[^A-Za-z0-9_.:-]")
_GEMINI_VERSION = re.compile(r"gemini-(\d+)")
_TAIL = 9


class ToolNames:
    """The names of one request's tools towards one target. Built by `tool_names`; never changes afterwards.

    `renamed` says whether any name differs from the client's (warning `renamed:tool`).
    """

    def __init__(self, request: Request, target: Format, limit: int) -> None:
        self._target = target
        self._limit = limit
        self._upstream: dict[tuple[str | None, str], str] = {}
        self._client: dict[str, str] = {}
        self._bare: dict[str, str] = {}
        self._tools: dict[str, Tool] = {}
        self.renamed = False
        for tool in request.tools:
            if not tool.server:
                self._tools.setdefault(self._add(tool.name, tool.namespace), tool)
        for name, namespace in _mentioned(request):
            if (namespace, name) not in self._upstream:
                known = self._bare.get(name)
                if known is None:
                    self._add(name, namespace)
                else:
                    self._upstream[namespace, name] = known

    def upstream_name(self, name: str, namespace: str | None = None) -> str:
        """The name the upstream gets for the client's `name`."""
        known = self._upstream.get((namespace, name))
        return known if known is not None else _mangle(name, self._target, self._limit)

    def client_name(self, upstream_name: str) -> str:
        """The client's own name for what the upstream calls `upstream_name`; unknown names pass."""
        return self._client.get(upstream_name, upstream_name)

    def tool(self, upstream_name: str) -> Tool | None:
        """The client's definition behind an upstream name, for its `custom`, `namespace` and `schema`."""
        return self._tools.get(upstream_name)

    def _add(self, name: str, namespace: str | None) -> str:
        if (namespace, name) in self._upstream:
            return self._upstream[namespace, name]
        mangled = _mangle(name, self._target, self._limit)
        if mangled in self._client:
            full = name if namespace is None else f"{namespace}.{name}"
            mangled = _hashed(mangled, full, self._limit)
        self._upstream[namespace, name] = mangled
        self._client.setdefault(mangled, name)
        self._bare.setdefault(name, mangled)
        self.renamed = self.renamed or mangled != name
        return mangled


def tool_names(request: Request, target: Format, model: str) -> ToolNames:
    """The names of `request` towards `model`; both directions of a translation build the same object from it."""
    return ToolNames(request, target, name_limit(target, model))


def name_limit(target: Format, model: str) -> int:
    """The longest tool name the target takes; Gemini's older documentation says 64 for models before 3."""
    if target == "anthropic":
        return 128
    version = _GEMINI_VERSION.search(model) if target == "gemini" else None
    return 128 if version and int(version[1]) >= 3 else 64


def _mentioned(request: Request) -> Iterator[tuple[str, str | None]]:
    for name in request.choice.names if request.choice else ():
        yield name, None
    for turn in request.turns:
        for part in turn.parts:
            if isinstance(part, Call):
                yield part.name, part.namespace
            elif isinstance(part, Result) and part.name is not None:
                yield part.name, None


def _mangle(name: str, target: Format, limit: int) -> str:
    if target == "gemini":
        mangled = _OUTSIDE_GEMINI.sub("_", name)
        if not mangled or not (mangled[0].isalpha() or mangled[0] == "_"):
            mangled = "_" + mangled
    else:
        mangled = _OUTSIDE.sub("_", name) or "_"
    return mangled if len(mangled) <= limit else _hashed(mangled, name, limit)


def _hashed(mangled: str, original: str, limit: int) -> str:
    digest = hashlib.sha256(original.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{mangled[: limit - _TAIL]}_{digest[: _TAIL - 1]}"
