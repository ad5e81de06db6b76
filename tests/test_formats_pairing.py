"""Calls and results in the order that vendors insist on (TRANSLATION 4.6), and what moves for it (3.2, 4.5)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.history import answer_prefill, inline_system, last_call_turn, move_media
from llmux.formats.ids import history_id
from llmux.formats.losses import Losses
from llmux.formats.neutral import Call, Document, Image, Inline, Request, Result, Text, Turn
from llmux.formats.pairing import NO_RESULT, is_results, pair

_PICTURE = Image(Inline("image/png", "AA=="))


def _said(text: str) -> Turn:
    return Turn("user", (Text(text),))


def _called(*ids: str) -> Turn:
    return Turn("assistant", tuple(Call(call_id, "f", "{}") for call_id in ids))


def _gave(*pairs: tuple[str, str]) -> Turn:
    return Turn("user", tuple(Result(call_id, (Text(text),), "f") for call_id, text in pairs))


class PairingTests(SynchronousTestCase):
    """`pair`."""

    def setUp(self) -> None:
        self.losses = Losses(Request("chat"))

    def test_resultsFollowAtOnceInCallOrderBeforeOtherContent(self) -> None:
        turns = [_called("a", "b"), _said("hm"), _gave(("b", "2")), _gave(("a", "1"))]
        paired = pair(turns, self.losses)
        self.assertEqual(paired, [_called("a", "b"), _gave(("a", "1"), ("b", "2")), _said("hm")])
        self.assertEqual(self.losses.codes, ())
        self.assertTrue(is_results(paired[1]))

    def test_resultsAreSoughtUpToTheNextTurnWithCalls(self) -> None:
        chat = Turn("assistant", (Text("x"),))
        self.assertEqual(pair([_called("a"), chat, _gave(("a", "1"))], self.losses)[1], _gave(("a", "1")))
        paired = pair([_called("a"), _called("b"), _gave(("a", "1"), ("b", "2"))], self.losses)
        self.assertEqual(paired[3], _gave(("b", "2")))
        self.assertEqual(self.losses.codes, ("missing:tool_result", "orphan:tool_result"))

    def test_aMissingResultBecomesAnError(self) -> None:
        paired = pair([_said("x"), _called("a")], self.losses)
        self.assertEqual(paired[2].parts, (Result("a", (Text(NO_RESULT),), "f", is_error=True),))

    def test_ofTwoResultsTheLaterCounts(self) -> None:
        paired = pair([_called("a"), _gave(("a", "1")), _gave(("a", "2"))], self.losses)
        self.assertEqual(paired[1:], [_gave(("a", "2"))])

    def test_aResultWithoutACallBecomesText(self) -> None:
        lost = Result("z", (Text("4"), Text("2"), _PICTURE))
        paired = pair([Turn("user", (lost,))], self.losses)
        self.assertEqual(paired[0].parts, (Text("[tool result for unknown call z]\n4\n2"), _PICTURE))
        nameless = Result(history_id(0, 0, "look"), (Text("x"),), "look")
        self.assertEqual(
            pair([Turn("user", (nameless,))], self.losses)[0].parts, (Text("[tool result for unknown call look]\nx"),)
        )

    def test_aResultGetsNameAndKindOfItsCall(self) -> None:
        call = Turn("assistant", (Call("a", "g", "x", custom=True),))
        self.assertEqual(
            pair([call, _gave(("a", "1"))], self.losses)[1].parts, (Result("a", (Text("1"),), "g", custom=True),)
        )


class MovingTests(SynchronousTestCase):
    """`move_media`, `inline_system` and `answer_prefill`."""

    def setUp(self) -> None:
        self.losses = Losses(Request("chat"))

    def _moved(self, *turns: Turn, of_tools: bool = True) -> list[Turn]:
        return move_media(pair(turns, self.losses), "chat", self.losses, of_tools=of_tools, of_assistant=True)

    def test_mediaOfAResultFollowsInTheNextUserTurn(self) -> None:
        result = Turn("user", (Result("a", (Text("1"), _PICTURE), "f"),))
        marker = Text("[image returned by tool call a]")
        self.assertEqual(self._moved(_called("a"), result)[2], Turn("user", (marker, _PICTURE)))
        self.assertEqual(self._moved(_called("a"), result, _said("so?"))[2].parts, (marker, _PICTURE, Text("so?")))
        self.assertEqual(self._moved(_called("a"), result, _called("b"))[2].parts, (marker, _PICTURE))
        self.assertEqual(self._moved(_called("a"), result, of_tools=False)[1], result)
        self.assertIn("moved:tool_media", self.losses.codes)

    def test_mediaOfAnAssistantTurnGoesBehindItsResults(self) -> None:
        document = Document(Inline("application/pdf", "AA=="))
        turn = Turn("assistant", (_PICTURE, Call("a", "f", "{}"), document))
        moved = self._moved(turn, _gave(("a", "1")))
        self.assertEqual(moved[0], _called("a"))
        self.assertEqual(moved[1], _gave(("a", "1")))
        markers = [part.text for part in moved[2].parts if isinstance(part, Text)]
        self.assertEqual(markers, [f"[{word} from the previous assistant turn]" for word in ("image", "document")])
        self.assertIn("moved:assistant_media", self.losses.codes)

    def test_lateSystemTextIsMarkedUserText(self) -> None:
        late = Turn("system", (Text("Short."),))
        inlined = [_said("x"), _said("<system>Short.</system>")]
        self.assertEqual(inline_system([_said("x"), late], self.losses), inlined)
        self.assertEqual(self.losses.codes, ("inlined:system",))
        self.assertEqual(inline_system([_said("x"), late], self.losses, keep_after_user=True), [_said("x"), late])
        kept = inline_system([_called("a"), late, late], self.losses, keep_after_user=True)
        self.assertEqual([turn.role for turn in kept], ["assistant", "user", "system"])

    def test_aForbiddenPrefillIsAnswered(self) -> None:
        prefill = [_said("x"), Turn("assistant", (Text("y"),))]
        self.assertEqual(answer_prefill(prefill, True, self.losses), prefill)
        self.assertEqual(answer_prefill(prefill, False, self.losses)[2], _said("Continue."))
        self.assertEqual(self.losses.codes, ("changed:prefill",))

    def test_theLastTurnWithCallsIsFound(self) -> None:
        self.assertIsNone(last_call_turn([_said("x")]))
        self.assertEqual(last_call_turn([_called("a"), _called("b"), _said("x")]), _called("b"))
