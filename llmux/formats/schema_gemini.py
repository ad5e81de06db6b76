"""JSON Schema in the two dialects of Gemini (TRANSLATION 4.3): `json` for `parametersJsonSchema` and
`responseJsonSchema`, `openapi` for `parameters` and `responseSchema`.

Both know few keywords. Those that only describe go silently; those that change what may be produced are warned of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from llmux.formats.jsontext import compact
from llmux.formats.neutral import Json
from llmux.formats.schema import merge_all_of, rooted

Warn = Callable[[str], None]
_REMOVED = object()
_NODES = 20_000  # how far references are inlined before the rest is cut: they can double at every level

# fmt: off
_JSON_KEYWORDS = frozenset([
    "$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems",
    "minItems", "maxItems", "minimum", "maximum", "anyOf", "properties", "additionalProperties", "required",
    "propertyOrdering",
])
_OPENAPI_KEYWORDS = frozenset([
    "type", "format", "title", "description", "nullable", "enum", "items", "minItems", "maxItems", "minLength",
    "maxLength", "pattern", "minimum", "maximum", "minProperties", "maxProperties", "properties", "required", "anyOf",
    "propertyOrdering", "default", "example",
])
# fmt: on
_CHANGES_MEANING = ("patternProperties", "not", "if")


def json_dialect(schema: Json, warn: Warn) -> dict[str, Any]:
    """The schema with the documented JSON Schema keywords only; `warn` gets `schema:<keyword>` codes."""
    return _Json(warn).root(rooted(schema))


def openapi_dialect(schema: Json, warn: Warn) -> dict[str, Any]:
    """The schema as Gemini's protobuf type: capitals, `nullable`, references inlined, enums of texts."""
    return _OpenApi(rooted(schema), warn).root(rooted(schema))


class _Dialect(ABC):
    """What both dialects share: the walk, and the keywords that another one can stand for."""

    def __init__(self, warn: Warn) -> None:
        self._warn = warn

    def root(self, schema: Json) -> dict[str, Any]:
        converted = self.convert(schema)
        return converted if isinstance(converted, dict) else {}

    def convert(self, schema: object) -> Any:
        """A converted schema, or `_REMOVED` for one that allows nothing."""
        if schema is False:
            self._warn("schema:false")
            return _REMOVED
        if not isinstance(schema, Mapping):
            return {}
        return self.node(self._standing_in(schema))

    @abstractmethod
    def node(self, schema: dict[str, Any]) -> dict[str, Any]:
        """One schema with the keywords of the dialect; those of `_standing_in` are dealt with."""

    def _standing_in(self, schema: Json) -> dict[str, Any]:
        merged = merge_all_of(schema)
        plain = dict(schema) if merged is None else merged
        members = plain.pop("allOf", None)
        if isinstance(members, list) and members:
            self._warn("schema:allOf")
            if isinstance(members[0], Mapping):
                plain = {**members[0], **plain}
                plain.pop("allOf", None)
        for keyword in _CHANGES_MEANING:
            if keyword in plain:
                self._warn(f"schema:{keyword}")
        if "const" in plain:
            plain["enum"] = [plain.pop("const")]
        if "oneOf" in plain:
            plain.setdefault("anyOf", plain.pop("oneOf"))
        if isinstance(plain.get("items"), list):
            plain["prefixItems"] = plain.pop("items")
        if "definitions" in plain:
            held, more = plain.get("$defs"), plain.pop("definitions")
            plain["$defs"] = {**more, **held} if isinstance(held, Mapping) and isinstance(more, Mapping) else more
        _include_bound(plain, "minimum", "exclusiveMinimum", 1)
        _include_bound(plain, "maximum", "exclusiveMaximum", -1)
        return plain

    def _members(self, schema: dict[str, Any], converted: dict[str, Any]) -> None:
        """Convert `properties`, and drop those that allow nothing from `required` too."""
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            converted.pop("properties", None)
            return
        kept = {name: self.convert(member) for name, member in properties.items()}
        removed = {name for name, member in kept.items() if member is _REMOVED}
        converted["properties"] = {name: member for name, member in kept.items() if name not in removed}
        if removed and isinstance(schema.get("required"), list):
            required = [name for name in schema["required"] if not (isinstance(name, str) and name in removed)]
            converted["required"] = required

    def _all(self, schemas: object) -> list[Any]:
        converted = [self.convert(schema) for schema in schemas] if isinstance(schemas, list) else []
        return [schema for schema in converted if schema is not _REMOVED]


class _Json(_Dialect):
    def node(self, schema: dict[str, Any]) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        for key, value in schema.items():
            if key not in _JSON_KEYWORDS:
                continue
            if key in ("anyOf", "prefixItems"):
                converted[key] = self._all(value)
            elif key == "items" or (key == "additionalProperties" and not isinstance(value, bool)):
                inner = self.convert(value)
                if inner is not _REMOVED:
                    converted[key] = inner
            elif key == "$defs":
                if isinstance(value, Mapping):
                    inner = {name: self.convert(member) for name, member in value.items()}
                    converted[key] = {name: {} if member is _REMOVED else member for name, member in inner.items()}
            elif key == "$ref" and isinstance(value, str):
                converted[key] = value.replace("#/definitions/", "#/$defs/")
            else:
                converted[key] = value
        if "properties" in schema:
            self._members(schema, converted)
        return converted


class _OpenApi(_Dialect):
    def __init__(self, document: Json, warn: Warn) -> None:
        super().__init__(warn)
        self._document = document
        self._open: list[str] = []
        self._nodes = 0

    def convert(self, schema: object) -> Any:
        self._nodes += 1
        if isinstance(schema, Mapping) and isinstance(schema.get("$ref"), str):
            return self._referred(schema["$ref"], schema)
        return super().convert(schema)

    def _standing_in(self, schema: Json) -> dict[str, Any]:
        members = schema.get("allOf")
        if isinstance(members, list) and any(isinstance(member, Mapping) and "$ref" in member for member in members):
            schema = {**schema, "allOf": [self._target_of(member) for member in members]}
        return super()._standing_in(schema)

    def _target_of(self, member: object) -> object:
        if isinstance(member, Mapping) and isinstance(member.get("$ref"), str):
            target = _pointed(self._document, member["$ref"])
            if isinstance(target, Mapping) and "$ref" not in target and "allOf" not in target:
                return {**target, **{key: value for key, value in member.items() if key != "$ref"}}
        return member

    def _referred(self, reference: str, schema: Json) -> Any:
        target = _pointed(self._document, reference)
        if reference in self._open or target is None or self._nodes > _NODES:
            self._warn("schema:$ref")
            return {"type": "OBJECT"}
        self._open.append(reference)
        try:
            if not isinstance(target, Mapping):
                return self.convert(target)
            return self.convert({**target, **{key: value for key, value in schema.items() if key != "$ref"}})
        finally:
            self._open.pop()

    def node(self, schema: dict[str, Any]) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        for key, value in schema.items():
            if key not in _OPENAPI_KEYWORDS:
                continue
            if key == "type":
                self._type(value, converted)
            elif key == "anyOf":
                self._any_of(value, converted)
            elif key == "items":
                inner = self.convert(value)
                if inner is not _REMOVED:
                    converted[key] = inner
            elif key != "enum":
                converted[key] = value
        if isinstance(schema.get("enum"), list):
            self._enum(schema["enum"], converted)
        if "properties" in schema:
            self._members(schema, converted)
        return converted

    def _type(self, kind: object, converted: dict[str, Any]) -> None:
        kinds = [one for one in (kind if isinstance(kind, list) else [kind]) if isinstance(one, str)]
        named = [one.upper() for one in kinds if one.lower() != "null"]
        if len(named) < len(kinds) and named:
            converted["nullable"] = True
        if len(named) == 1:
            converted["type"] = named[0]
        elif named:
            converted.setdefault("anyOf", [{"type": one} for one in named])
        elif kinds:
            converted["type"] = "NULL"

    def _any_of(self, schemas: object, converted: dict[str, Any]) -> None:
        members = self._all(schemas)
        named = [member for member in members if member != {"type": "NULL"}]
        if len(named) < len(members):
            converted["nullable"] = True
        if len(named) == 1:
            for key, value in named[0].items():
                converted.setdefault(key, value)
        elif named:
            converted["anyOf"] = named

    def _enum(self, values: list[Any], converted: dict[str, Any]) -> None:
        if None in values:
            converted["nullable"] = True
        named = [value for value in values if value is not None]
        if all(isinstance(value, str) for value in named):
            if named:
                converted["enum"] = named
                converted.setdefault("type", "STRING")
            return
        self._warn("schema:enum")
        converted["enum"] = [value if isinstance(value, str) else compact(value) for value in named]
        converted["type"] = "STRING"
        converted["format"] = "enum"


def _include_bound(schema: dict[str, Any], bound: str, exclusive: str, step: int) -> None:
    limit = schema.pop(exclusive, None)
    if limit is True:  # draft 4: a flag beside the bound
        limit = schema.get(bound)
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        return
    kind = schema.get("type")
    whole = kind == "integer" or (isinstance(kind, list) and "integer" in kind and "number" not in kind)
    included = limit + step if whole else limit
    held = schema.get(bound)
    if isinstance(held, int | float) and not isinstance(held, bool):
        included = max(held, included) if step > 0 else min(held, included)
    schema[bound] = included


def _pointed(document: Json, reference: str) -> Any:
    """What a JSON pointer within the document names; None for anything else."""
    if not reference.startswith("#"):
        return None
    value: Any = document
    for step in reference[1:].split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(value, Mapping):
            value = value.get(name)
        elif isinstance(value, list) and name.isascii() and name.isdigit() and int(name[:9]) < len(value):
            value = value[int(name[:9])]
        else:
            return None
    return value
