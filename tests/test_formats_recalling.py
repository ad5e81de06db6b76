"""What the vault gives back to a Chat client's history (TRANSLATION 2.7)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.neutral import Call, Opaque, Redacted, Request, Text, Thinking, Turn
from llmux.formats.recalling import recall

_CLAUDE = Thinking("plan", Opaque("anthropic", "think", "x"))
_HIDDEN = Redacted(Opaque("anthropic", "redacted", "y"))
_GEMINI = Thinking("", Opaque("gemini", "part", "z"))
_A, _B = Call("a", "f", "{}"), Call("b", "f", "{}")


class RecallTests(SynchronousTestCase):
    """`recall`."""

    def _recalled(self, *parts: Text | Thinking | Call, **vault: tuple[Thinking | Redacted, ...]) -> Turn:
        request = recall(Request("chat", turns=(Turn("assistant", parts),)), vault.get)
        return request.turns[0]

    def test_theFirstCallsThoughtsBeginTheTurn(self) -> None:
        turn = self._recalled(Thinking("shown"), Text("t"), _A, _B, a=(_CLAUDE, _HIDDEN))
        self.assertEqual(turn.parts, (_CLAUDE, _HIDDEN, Text("t"), _A, _B))

    def test_laterThoughtsAndGeminisBlobsPrecedeTheirCall(self) -> None:
        self.assertEqual(self._recalled(Text("t"), _A, _B, b=(_CLAUDE,)).parts, (Text("t"), _A, _CLAUDE, _B))
        self.assertEqual(self._recalled(Text("t"), _A, a=(_GEMINI,)).parts, (Text("t"), _GEMINI, _A))

    def test_aMissChangesNothing(self) -> None:
        self.assertEqual(self._recalled(Thinking("shown"), _A).parts, (Thinking("shown"), _A))

    def test_otherClientsHaveSlotsOfTheirOwn(self) -> None:
        request = Request("anthropic", turns=(Turn("assistant", (_A,)),))
        self.assertIs(recall(request, lambda call_id: (_CLAUDE,)), request)
