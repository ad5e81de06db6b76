"""Whatever a client sends, translation gives a body or a 400, never another exception (TRANSLATION 2.1)."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.capabilities import Capabilities, default_capabilities, merge
from llmux.formats.count import estimate
from llmux.formats.jsontext import dump_body
from llmux.formats.losses import RequestRefused
from llmux.formats.neutral import Format
from llmux.formats.requests import REQUESTS
from llmux.formats.target import Target
from tests import vectors

_BODIES = [(vector["from"], vector["input"]) for vector in vectors.translation("request")]
_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 10**20),
    st.floats(allow_nan=False),
    st.sampled_from(
        ["", "auto", "x", "\ud800", "data:", "data:image/png;base64,!!", "llmux:1:gemini:part:x", "{", "a.b"]
    ),
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["type", "text", "name", "$ref", "allOf", "properties", "id"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)
_OTHER: dict[str, Any] = {
    "schema_dialect": "openapi",
    "signature_required": True,
    "mid_system": True,
    "custom_tools": True,
    "thinking": "adaptive",
    "web_search": True,
    "content_lists": False,
    "prefill": False,
    "remote_media": True,
    "function_media": True,
    "effort_levels": ["high"],
    "max_output": 10,
    "reasoning_content": True,
}


def _places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, member in members for place in _places(member, (*here, key)))]


@st.composite
def _mutants(draw: st.DrawFn) -> tuple[Format, Any]:
    client, original = draw(st.sampled_from(_BODIES))
    body = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(_places(body)))
        if not place:
            continue
        holder = body
        for key in place[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            del holder[place[-1]]
        else:
            holder[place[-1]] = draw(_VALUES)
    return client, body


class RobustnessTests(SynchronousTestCase):
    """Mutated requests, endless nesting, foreign types."""

    def _translate(self, client: Format, body: Any, **overrides: Any) -> None:
        try:
            request = REQUESTS[client].decode(body, None, None)
            estimate(request)
        except RequestRefused as refused:
            self.assertEqual(refused.error.status, 400)
            return
        for upstream, codec in REQUESTS.items():
            caps: Capabilities = merge(default_capabilities(upstream), overrides)
            try:
                dump_body(codec.encode(request, Target("m", caps)).body)
            except RequestRefused as refused:
                self.assertEqual(refused.error.status, 400)

    @settings(max_examples=200, deadline=None)
    @given(_mutants(), st.booleans())
    def test_mutatedRequestsGiveABodyOrARefusal(self, mutant: tuple[Format, Any], other: bool) -> None:
        self._translate(*mutant, **(_OTHER if other else {}))

    @settings(max_examples=50, deadline=None)
    @given(st.sampled_from(sorted(REQUESTS)), _VALUES)
    def test_anyJsonGivesABodyOrARefusal(self, client: Format, body: Any) -> None:
        self._translate(client, body)

    def test_endlessNestingIsRefused(self) -> None:
        nested: Any = {"type": "string"}
        for _ in range(5000):
            nested = {"type": "object", "properties": {"a": nested}}
        turns = [{"role": "user", "content": "x"}]
        self._translate("anthropic", {"messages": turns, "tools": [{"name": "t", "input_schema": nested}]})
        call = {"type": "tool_use", "id": "a", "name": "t", "input": nested}
        self._translate("anthropic", {"messages": [*turns, {"role": "assistant", "content": [call]}]})
        self._translate(
            "gemini", {"contents": [], "tools": [{"functionDeclarations": [{"name": "t", "parameters": nested}]}]}
        )

    def test_anEncoderThatRunsOutOfStackRefuses(self) -> None:
        nested: Any = {"type": "string"}
        for _ in range(700):
            nested = {"type": "object", "properties": {"a": nested}}
        body = {"messages": [{"role": "user", "content": "x"}], "tools": [{"name": "t", "input_schema": nested}]}
        request = REQUESTS["anthropic"].decode(body, "m", None)
        target = Target("m", default_capabilities("gemini"))
        self.assertRaises(RequestRefused, REQUESTS["gemini"].encode, request, target)

    def test_nestedTextArgumentsAreNotParsed(self) -> None:
        call = {"id": "a", "type": "function", "function": {"name": "t", "arguments": '{"a":' * 100000}}
        body = {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [call]}]}
        request = REQUESTS["chat"].decode(body, "m", None)
        encoded = REQUESTS["anthropic"].encode(request, Target("m", default_capabilities("anthropic")))
        self.assertIn("changed:tool_arguments", encoded.warnings)
