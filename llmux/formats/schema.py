"""JSON Schema as each vendor's tools take it (TRANSLATION 4.3); the two Gemini dialects are in `schema_gemini`.

Members of `properties` are data: a property called `default` or `type` is never touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmux.formats.neutral import Format, Json

WRAPPED = "value"
_COMBINATORS = ("oneOf", "allOf", "anyOf")
_DEFINITIONS = ("$defs", "definitions")
_MERGED_BY_UNION = ("properties", "required", "$defs", "definitions")
_GEMINI_FORMATS = frozenset(["int32", "int64", "enum", "float", "double"])
_GEMINI_COUNTS = frozenset(["minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"])
_SNAKE = {
    "any_of": "anyOf",
    "max_items": "maxItems",
    "min_items": "minItems",
    "max_length": "maxLength",
    "min_length": "minLength",
    "max_properties": "maxProperties",
    "min_properties": "minProperties",
    "property_ordering": "propertyOrdering",
    "additional_properties": "additionalProperties",
}


def parameters(schema: Json | None, target: Format) -> dict[str, Any]:
    """A tool's parameters for Chat, Responses or Anthropic: always an object at the root."""
    if target == "anthropic":
        return _for_anthropic(schema)
    root = rooted(schema)
    if root["type"] == "object" and "properties" not in root:
        root["properties"] = {}
    return root


def rooted(schema: Json | None) -> dict[str, Any]:
    """The schema with a type at its root; a missing one allows an object without members."""
    if schema is None:
        return {"type": "object", "properties": {}}
    root = dict(schema)
    return root if root.get("type") else {"type": "object", **{key: root[key] for key in root if key != "type"}}


def is_wrapped(schema: Json | None) -> bool:
    """Whether Anthropic gets the schema as the one property `value` of an object, arguments likewise."""
    if schema is None:
        return False
    merged = merge_all_of(schema)
    root = schema if merged is None else merged
    return any(key in root for key in _COMBINATORS) or not _is_object_type(root.get("type"))


def _for_anthropic(schema: Json | None) -> dict[str, Any]:
    if schema is None:
        return rooted(None)
    merged = merge_all_of(schema)
    root = dict(schema if merged is None else merged)
    if not is_wrapped(schema):
        return {**rooted(root), "type": "object"}
    definitions = {key: root.pop(key) for key in _DEFINITIONS if key in root}
    wrapper: dict[str, Any] = {"type": "object", "properties": {WRAPPED: root}, "required": [WRAPPED]}
    return wrapper | definitions


def merge_all_of(schema: Json) -> dict[str, Any] | None:
    """The schema with its `allOf` merged in, if all members are plain objects; None if there is nothing to merge."""
    merged = _merged_once(schema)
    while merged is not None:
        deeper = _merged_once(merged)
        if deeper is None:
            break
        merged = deeper
    return merged


def _merged_once(schema: Json) -> dict[str, Any] | None:
    members = schema.get("allOf")
    if not isinstance(members, list) or not members:
        return None
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    if len(members) == 1 and isinstance(members[0], Mapping):
        return _union(merged, members[0])
    for member in members:
        if not isinstance(member, Mapping) or not _is_plain_object(member):
            return None
        merged = _union(merged, member)
    return merged


def _is_plain_object(schema: Json) -> bool:
    if any(key in schema for key in (*_COMBINATORS, "$ref", "not", "if")):
        return False
    return schema.get("type", "object") == "object" and (
        not schema or "type" in schema or "properties" in schema or "required" in schema
    )


def _union(into: dict[str, Any], member: Json) -> dict[str, Any]:
    merged = dict(into)
    for key, value in member.items():
        held = merged.get(key)
        if key in _MERGED_BY_UNION and isinstance(held, Mapping) and isinstance(value, Mapping):
            merged[key] = {**held, **value}
        elif key in _MERGED_BY_UNION and isinstance(held, list) and isinstance(value, list):
            known = {name for name in held if isinstance(name, str)}
            merged[key] = held + [name for name in value if not (isinstance(name, str) and name in known)]
        else:
            merged.setdefault(key, value)
    return merged


def _is_object_type(kind: object) -> bool:
    return kind is None or kind == "object" or (isinstance(kind, list) and "object" in kind)


def from_gemini(schema: object) -> Any:
    """JSON Schema from Gemini's own dialect: lower-case types, `nullable` as a type, its number formats dropped."""
    if isinstance(schema, list):
        return [from_gemini(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    plain: dict[str, Any] = {}
    nullable = False
    written: str
    for written, value in schema.items():
        key: str = _SNAKE.get(written, written)
        if key in ("propertyOrdering", "example"):
            continue
        if key == "nullable":
            nullable = value is True
        elif key == "type":
            kind = _lower(value)
            if kind != "type_unspecified":
                plain[key] = kind
        elif key == "format" and isinstance(value, str) and value in _GEMINI_FORMATS:
            continue
        elif key in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            plain[key] = {name: from_gemini(member) for name, member in value.items()}
        elif key in ("items", "anyOf", "additionalProperties"):
            plain[key] = from_gemini(value)
        elif key in _GEMINI_COUNTS and isinstance(value, str) and value.isascii() and value.isdigit():
            plain[key] = int(value[:18])  # protobuf JSON writes int64 as text
        else:
            plain[key] = value
    return _with_null(plain) if nullable else plain


def _lower(kind: object) -> object:
    if isinstance(kind, str):
        return kind.lower()
    return [_lower(one) for one in kind] if isinstance(kind, Sequence) else kind


def _with_null(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, str) and kind != "null":
        schema["type"] = [kind, "null"]
    elif isinstance(kind, list) and "null" not in kind:
        schema["type"] = [*kind, "null"]
    elif kind is None and isinstance(schema.get("anyOf"), list):
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    return schema
