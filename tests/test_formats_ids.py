"""Ids of answers and calls (TRANSLATION 4.1)."""

from __future__ import annotations

import hashlib
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.formats import ids

_DIGEST = hashlib.sha256(b"a.b|c").hexdigest()[:24]


class MessageIdTests(SynchronousTestCase):
    """The stem of an answer's ids."""

    def test_aKnownPrefixIsReplacedByTheClients(self) -> None:
        for upstream in ("msg_01Ab", "chatcmpl-01Ab", "chatcmpl_01Ab", "resp_01Ab", "gen-01Ab", "01Ab", "01.Ab"):
            stem = ids.stem(upstream)
            assert stem is not None
            self.assertEqual(ids.message_id("chat", stem), "chatcmpl-01Ab", upstream)
            self.assertEqual(ids.message_id("responses", stem), "resp_01Ab")
            self.assertEqual(ids.message_id("anthropic", stem), "msg_01Ab")
            self.assertEqual(ids.message_id("gemini", stem), "01Ab")

    def test_nothingUsableGivesNoStem(self) -> None:
        for upstream in (None, "", "msg_", "...", "resp_é"):
            self.assertIsNone(ids.stem(upstream), upstream)

    def test_itemsAndMadeCallsAreNumbered(self) -> None:
        self.assertEqual(ids.item_id("fc", "X", 3), "fc_X_3")
        self.assertEqual(ids.made_call_id("chat", "X", 0), "call_X_0")
        self.assertEqual(ids.made_call_id("anthropic", "X", 1), "toolu_X_1")
        self.assertEqual(ids.made_call_id("chat", "X", 0, choice=2), "call_X_c2_0")
        self.assertIsNone(ids.made_call_id("gemini", "X", 0))


class CallIdTests(SynchronousTestCase):
    """Call ids that a receiver accepts."""

    def test_whatFitsIsUnchanged(self) -> None:
        for receiver in ("chat", "responses", "anthropic", "gemini"):
            self.assertEqual(ids.fit("toolu_01-A", receiver), "toolu_01-A")
        self.assertEqual(ids.fit("a.b|c", "chat"), "a.b|c")
        self.assertEqual(ids.fit("a.b|c", "gemini"), "a.b|c")

    def test_whatDoesNotFitIsHashed(self) -> None:
        self.assertEqual(ids.fit("a.b|c", "anthropic"), f"toolu_{_DIGEST}")
        self.assertEqual(ids.fit("a.b|c", "responses"), f"call_{_DIGEST}")
        self.assertEqual(len(ids.fit("x" * 41, "chat")), 29)
        self.assertEqual(ids.fit("x" * 60, "responses"), "x" * 60)
        self.assertNotEqual(ids.fit("x" * 65, "responses"), "x" * 65)

    def test_aHistoryIdDependsOnItsPlaceAlone(self) -> None:
        digest = hashlib.sha256(b"3:1:look").hexdigest()[:24]
        self.assertEqual(ids.fit(ids.history_id(3, 1, "look"), "anthropic"), f"toolu_{digest}")
        self.assertEqual(ids.fit(ids.history_id(3, 1, "look"), "chat"), f"call_{digest}")
        self.assertTrue(ids.is_history_id(ids.history_id(0, 0, "")))
        self.assertFalse(ids.is_history_id("call_1"))

    @settings(max_examples=100, deadline=None)
    @given(st.text(st.characters(), max_size=80))
    def test_everyFittedIdFitsAndStaysSo(self, call_id: str) -> None:
        patterns = {"chat": r".{1,40}", "responses": r"[a-zA-Z0-9_-]{1,64}", "anthropic": r"[a-zA-Z0-9_-]+"}
        for receiver in ("chat", "responses", "anthropic"):
            fitted = ids.fit(call_id, receiver)
            self.assertTrue(re.fullmatch(patterns[receiver], fitted, re.DOTALL), fitted)
            self.assertEqual(ids.fit(fitted, receiver), fitted)
