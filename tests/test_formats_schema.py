"""JSON Schema dialects (TRANSLATION 4.3)."""

from __future__ import annotations

import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.schema import from_gemini, is_wrapped, parameters
from llmux.formats.schema_gemini import json_dialect, openapi_dialect

_STRING = {"type": "string"}
_PAIR = {"allOf": [{"type": "object", "properties": {"a": _STRING}, "required": ["a"]}, {"required": ["b", "a"]}]}
_DATA_NAMES = {"type": "object", "properties": dict.fromkeys(("default", "title", "type", "enum", "not"), _STRING)}


class RootTests(SynchronousTestCase):
    """Chat, Responses and Anthropic: an object at the root."""

    def test_aMissingSchemaTakesNoArguments(self) -> None:
        for target in ("chat", "responses", "anthropic"):
            self.assertEqual(parameters(None, target), {"type": "object", "properties": {}})

    def test_openAiWantsPropertiesAndEverybodyAType(self) -> None:
        self.assertEqual(parameters({"type": "object"}, "chat"), {"type": "object", "properties": {}})
        self.assertEqual(parameters({"type": "object"}, "anthropic"), {"type": "object"})
        self.assertEqual(parameters({"properties": {}}, "anthropic"), {"type": "object", "properties": {}})

    def test_anthropicGetsAllOfMerged(self) -> None:
        merged = parameters(_PAIR, "anthropic")
        self.assertEqual(merged, {"type": "object", "properties": {"a": _STRING}, "required": ["a", "b"]})
        self.assertFalse(is_wrapped(_PAIR))

    def test_anthropicGetsOtherRootsWrapped(self) -> None:
        choice = {"anyOf": [{"$ref": "#/$defs/A"}, _STRING], "$defs": {"A": _STRING}}
        wrapped = parameters(choice, "anthropic")
        self.assertEqual(wrapped["properties"], {"value": {"anyOf": [{"$ref": "#/$defs/A"}, _STRING]}})
        self.assertEqual((wrapped["required"], wrapped["$defs"]), (["value"], {"A": _STRING}))
        self.assertTrue(is_wrapped(choice))
        self.assertTrue(is_wrapped(_STRING))
        self.assertFalse(is_wrapped({"type": ["object", "null"]}))
        self.assertFalse(is_wrapped(None))

    def test_theClientsSchemaIsNotChanged(self) -> None:
        schema: dict[str, Any] = {"type": "object"}
        parameters(schema, "chat")
        self.assertEqual(schema, {"type": "object"})


class JsonDialectTests(SynchronousTestCase):
    """`parametersJsonSchema`."""

    def setUp(self) -> None:
        self.warned: list[str] = []

    def _converted(self, schema: dict[str, Any]) -> dict[str, Any]:
        return json_dialect(schema, self.warned.append)

    def test_describingKeywordsGoSilently(self) -> None:
        schema = {
            "$schema": "x",
            "type": "object",
            "properties": {"a": {**_STRING, "default": 1, "minLength": 2, "x-y": 1}},
        }
        self.assertEqual(self._converted(schema), {"type": "object", "properties": {"a": _STRING}})
        self.assertEqual(self.warned, [])

    def test_propertiesCalledLikeKeywordsAreData(self) -> None:
        self.assertEqual(self._converted(_DATA_NAMES), _DATA_NAMES)
        self.assertEqual(self.warned, [])

    def test_equivalents(self) -> None:
        for written, got in (
            ({"const": 3}, {"enum": [3]}),
            ({"oneOf": [_STRING]}, {"anyOf": [_STRING]}),
            ({"type": "integer", "exclusiveMinimum": 3}, {"type": "integer", "minimum": 4}),
            ({"type": ["integer", "null"], "exclusiveMaximum": 3}, {"type": ["integer", "null"], "maximum": 2}),
            ({"type": ["integer", "number"], "exclusiveMaximum": 3}, {"type": ["integer", "number"], "maximum": 3}),
            ({"type": "number", "exclusiveMaximum": 3}, {"type": "number", "maximum": 3}),
            ({"type": "integer", "minimum": 3, "exclusiveMinimum": True}, {"type": "integer", "minimum": 4}),
            ({"items": [_STRING]}, {"prefixItems": [_STRING]}),
            ({"additionalProperties": {"const": 1}}, {"additionalProperties": {"enum": [1]}}),
        ):
            self.assertEqual(self._converted({"properties": {"p": written}})["properties"]["p"], got)

    def test_whatChangesTheMeaningIsWarnedOf(self) -> None:
        inner = {"not": {}, "patternProperties": {}, "if": {}, "allOf": [_STRING, {"type": "number"}]}
        got = self._converted({"properties": {"p": inner, "q": False}, "required": ["p", "q"]})
        self.assertEqual(got, {"type": "object", "properties": {"p": _STRING}, "required": ["p"]})
        codes = {"schema:not", "schema:patternProperties", "schema:if", "schema:allOf", "schema:false"}
        self.assertEqual(set(self.warned), codes)

    def test_referencesAndDefinitionsAreKept(self) -> None:
        schema = {"properties": {"next": {"$ref": "#/definitions/N"}}, "definitions": {"N": {"$ref": "#"}}}
        got = self._converted(schema)
        self.assertEqual(got["properties"], {"next": {"$ref": "#/$defs/N"}})
        self.assertEqual(got["$defs"], {"N": {"$ref": "#"}})


class OpenApiDialectTests(SynchronousTestCase):
    """`parameters`, the protobuf Schema."""

    def setUp(self) -> None:
        self.warned: list[str] = []

    def _property(self, schema: Any, **root: Any) -> Any:
        return openapi_dialect({"properties": {"p": schema}, **root}, self.warned.append)["properties"]["p"]

    def test_typesAreCapitalsAndNullIsAFlag(self) -> None:
        self.assertEqual(self._property({"type": ["string", "null"]}), {"type": "STRING", "nullable": True})
        both = {"anyOf": [{"type": "STRING"}, {"type": "NUMBER"}]}
        self.assertEqual(self._property({"type": ["string", "number"]}), both)
        optional = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
        self.assertEqual(self._property(optional), {"type": "INTEGER", "nullable": True})

    def test_enumsAreTexts(self) -> None:
        self.assertEqual(self._property({"enum": ["a", None]}), {"type": "STRING", "enum": ["a"], "nullable": True})
        self.assertEqual(self.warned, [])
        self.assertEqual(self._property({"const": 1})["enum"], ["1"])
        self.assertEqual(self.warned, ["schema:enum"])

    def test_propertiesCalledLikeKeywordsAreData(self) -> None:
        got = openapi_dialect(_DATA_NAMES, self.warned.append)
        self.assertEqual(set(got["properties"]), {"default", "title", "type", "enum", "not"})

    def test_referencesAreInlinedAndCyclesCut(self) -> None:
        defs = {"N": {"type": "object", "properties": {"next": {"$ref": "#/$defs/N"}}}}
        got = self._property({"$ref": "#/$defs/N", "description": "d"}, **{"$defs": defs})
        self.assertEqual(got["properties"], {"next": {"type": "OBJECT"}})
        self.assertEqual((got["description"], self.warned), ("d", ["schema:$ref"]))
        self.assertEqual(self._property({"allOf": [{"$ref": "#/$defs/N"}]}, **{"$defs": defs})["type"], "OBJECT")
        self.assertEqual(self._property({"$ref": "#/nowhere/1"}), {"type": "OBJECT"})
        self.assertEqual(self._property({"$ref": "http://else/where"}), {"type": "OBJECT"})

    def test_referencesThatDoubleAreCutInTime(self) -> None:
        def level(i: int) -> dict[str, Any]:
            down = {"$ref": f"#/$defs/d{i + 1}"}
            return {"type": "object", "properties": {"a": down, "b": down}}

        began = time.perf_counter()
        self._property({"$ref": "#/$defs/d0"}, **{"$defs": {f"d{i}": level(i) for i in range(60)}})
        self.assertLess(time.perf_counter() - began, 2)
        self.assertIn("schema:$ref", self.warned)


class FromGeminiTests(SynchronousTestCase):
    """Gemini's dialect as JSON Schema."""

    def test_typesFormatsAndNullable(self) -> None:
        schema = {
            "type": "OBJECT",
            "properties": {
                "type": {"type": "INTEGER", "format": "int32", "nullable": True, "example": 3},
                "d": {"type": "STRING", "format": "date-time", "max_length": "9"},
                "l": {"type": "ARRAY", "items": {"any_of": [{"type": "NUMBER"}], "nullable": True}},
            },
            "property_ordering": ["type"],
        }
        properties = {
            "type": {"type": ["integer", "null"]},
            "d": {"type": "string", "format": "date-time", "maxLength": 9},
            "l": {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "null"}]}},
        }
        self.assertEqual(from_gemini(schema), {"type": "object", "properties": properties})
