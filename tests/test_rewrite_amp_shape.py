"""`llmux.rewrite.amp_shape` and `llmux.rewrite.answer` beyond the vectors of `rewrite_json` and `rewrite_sse`."""

from __future__ import annotations

from twisted.trial import unittest

from llmux.rewrite.amp_shape import ShapeFixes, ToolNames
from llmux.rewrite.answer import AnswerEditor
from llmux.rewrite.model import ModelRewriter
from llmux.rewrite.splice import splice


class ToolNameTests(unittest.SynchronousTestCase):
    """SPEC R-CP-2."""

    def test_theChosenToolDeclaresToo(self) -> None:
        names = ToolNames(b'{"tool_choice":{"type":"tool","name":"EDIT"}}')
        self.assertEqual(names.spelling("edit"), "EDIT")
        self.assertEqual(ToolNames(b'{"tool_choice":{"type":"auto","name":"EDIT"}}').spelling("edit"), "edit")
        both = ToolNames(b'{"tool_choice":{"type":"tool","name":"BASH"},"tools":[{"name":"Bash"}]}')
        self.assertEqual(both.spelling("bash"), "bash")

    def test_oddShapesDeclareNothing(self) -> None:
        for body in (
            b"",
            b"[]",
            b'{"tools":{"name":"BASH"}}',
            b'{"tools":[1,null,[],{"name":3}],"tool_choice":"BASH"}',
        ):
            self.assertEqual(ToolNames(body).spelling("BASH"), "Bash")
        self.assertEqual(ToolNames(b'{"x":"\\ud83d","tools":[{"name":"BASH"}]}').spelling("bash"), "BASH")
        self.assertEqual(ToolNames().spelling("GLOB"), "glob")

    def test_theBodyIsAskedForOnceAndOnlyWhenNeeded(self) -> None:
        asked: list[int] = []

        def source() -> bytes:
            asked.append(1)
            return b'{"tools":[{"name":"GREP"}]}'

        names = ToolNames(source)
        self.assertEqual(asked, [])
        self.assertEqual((names.spelling("grep"), names.spelling("Grep")), ("GREP", "GREP"))
        self.assertEqual(asked, [1])

    def test_theRequestIsNotInTheRepr(self) -> None:
        self.assertEqual(repr(ToolNames(b"secret")), "<ToolNames>")


def fix(body: bytes, keep_thinking: bool = False, tools: bytes = b"") -> bytes:
    return bytes(AnswerEditor(None, ShapeFixes(ToolNames(tools), keep_thinking)).body(body))


class ShapeFixTests(unittest.SynchronousTestCase):
    """SPEC 10 on bodies and events."""

    def test_aNullSignatureBecomesEmptyAndOthersStay(self) -> None:
        body = b'{"content":[{"type":"tool_use","signature": null , "id":1},{"type":"tool_use","signature":7}]}'
        self.assertEqual(fix(body), body.replace(b"null", b'""'))

    def test_blocksOfNestedListsAreLeftAlone(self) -> None:
        body = (
            b'{"content":[{"type":"text","content":[{"type":"tool_use"}]}],"message":{"content":[{"type":"thinking"}]}}'
        )
        self.assertEqual(fix(body), body)

    def test_escapedSpellingsAreSeen(self) -> None:
        body = b'{"c\\u006fntent":[{"typ\\u0065":"t\\u006fol_use","name":"b\\u0061sh"}]}'
        self.assertEqual(fix(body), body.replace(b'"b\\u0061sh"', b'"Bash","signature":""'))

    def test_droppedThinkingTakesItsEditsAlong(self) -> None:
        body = (
            b'{"content":[{"type":"thinking","signature":null},{"type":"tool_use","signature":""},{"type":"thinking"}]}'
        )
        self.assertEqual(fix(body), b'{"content":[{"type":"tool_use","signature":""}]}')
        thinking, call = b'{"type":"thinking","signature":""}', b'{"type":"tool_use","signature":""}'
        kept = b'{"content":[' + b",".join([thinking, call, thinking]) + b"]}"
        self.assertEqual(fix(body, keep_thinking=True), kept)

    def test_largeBodiesAreFixedToo(self) -> None:
        body = (
            b'{"model":"x","content":[{"type":"text","text":"'
            + b"a" * 70_000
            + b'"},{"type":"tool_use","name":"READ"}]}'
        )
        self.assertEqual(fix(body), body.replace(b'"READ"', b'"Read","signature":""'))

    def test_brokenBodiesAndScalarsStay(self) -> None:
        for body in (
            b"",
            b'"tool_use"',
            b'{"content":[{"type":"tool_use"}]',
            b'[{"content":[{"type":"tool_use"}]},]',
            b"3 tool",
        ):
            self.assertEqual(fix(body), body)

    def test_anEventMayNeedBothKindsOfChange(self) -> None:
        editor = AnswerEditor(ModelRewriter("ask"), ShapeFixes(ToolNames(), keep_thinking=False))
        event = (
            b'{"content_block":{"type":"tool_use","name":"TASK"},"message":{"model":"r"},'
            b'"content":[{"type":"tool_use"}]}'
        )
        self.assertEqual(
            splice(event, editor.event(event)),
            b'{"content_block":{"type":"tool_use","name":"Task","signature":""},"message":{"model":"ask"},'
            b'"content":[{"type":"tool_use"}]}',
        )
        hidden = b'{"content\\u005fblock":{"type":"thinking"}}'
        self.assertEqual(splice(hidden, editor.event(hidden)), hidden.replace(b'ing"', b'ing","signature":""'))

    def test_withoutShapeFixesOnlyModelsChange(self) -> None:
        editor = AnswerEditor(ModelRewriter("ask"), None)
        body = b'{"model":"r","content":[{"type":"tool_use"}]}'
        self.assertEqual(editor.body(body), body.replace(b'"r"', b'"ask"'))
        self.assertEqual(list(editor.event(b'{"content_block":{"type":"tool_use"}}')), [])
