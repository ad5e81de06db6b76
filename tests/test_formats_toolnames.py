"""Tool names that vendors accept (TRANSLATION 4.2)."""

from __future__ import annotations

import hashlib
import re

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats.neutral import Call, Choice, Format, Request, Tool, Turn
from llmux.formats.toolnames import name_limit, tool_names


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


class ToolNameTests(SynchronousTestCase):
    """One map per request and target."""

    def test_namesThatFitAreKeptAndNothingIsRenamed(self) -> None:
        names = tool_names(Request("chat", tools=(Tool("look-up_1"),)), "anthropic", "m")
        self.assertEqual(names.upstream_name("look-up_1"), "look-up_1")
        self.assertFalse(names.renamed)

    def test_charactersOutsideBecomeUnderscores(self) -> None:
        names = tool_names(Request("gemini", tools=(Tool("b.c d"),)), "chat", "m")
        self.assertEqual(names.upstream_name("b.c d"), "b_c_d")
        self.assertEqual(names.client_name("b_c_d"), "b.c d")
        self.assertTrue(names.renamed)

    def test_longNamesKeepTheirHeadAndAHash(self) -> None:
        long = "n" * 100
        targets: tuple[tuple[Format, str, int], ...] = (
            ("chat", "m", 64),
            ("gemini", "gemini-2.5-pro", 64),
            ("responses", "m", 64),
        )
        for target, model, limit in targets:
            names = tool_names(Request("anthropic", tools=(Tool(long),)), target, model)
            self.assertEqual(names.upstream_name(long), "n" * (limit - 9) + "_" + _hash(long))
            self.assertEqual(names.client_name(names.upstream_name(long)), long)
        self.assertEqual(name_limit("gemini", "gemini-3-pro"), 128)
        self.assertEqual(name_limit("anthropic", "claude"), 128)

    def test_theLaterOfTwoCollidingNamesIsHashed(self) -> None:
        names = tool_names(Request("gemini", tools=(Tool("a.b"), Tool("a:b"))), "chat", "m")
        self.assertEqual(names.upstream_name("a.b"), "a_b")
        self.assertEqual(names.upstream_name("a:b"), "a_b_" + _hash("a:b"))
        self.assertEqual(names.client_name("a_b_" + _hash("a:b")), "a:b")

    def test_geminiWantsALetterOrUnderscoreFirst(self) -> None:
        names = tool_names(Request("chat", tools=(Tool("1st"), Tool("-x"), Tool("a.b:c"))), "gemini", "m")
        self.assertEqual(names.upstream_name("1st"), "_1st")
        self.assertEqual(names.upstream_name("-x"), "_-x")
        self.assertEqual(names.upstream_name("a.b:c"), "a.b:c")

    def test_historyAndChoiceShareTheMap(self) -> None:
        turns = (Turn("assistant", (Call("1", "x.y"),)),)
        request = Request("gemini", turns=turns, choice=Choice("one", ("p.q",)))
        names = tool_names(request, "chat", "m")
        self.assertEqual(names.client_name("x_y"), "x.y")
        self.assertEqual(names.client_name("p_q"), "p.q")

    def test_membersOfNamespacesKeepApart(self) -> None:
        tools = (Tool("find", namespace="a"), Tool("find", namespace="b", custom=True))
        names = tool_names(Request("responses", tools=tools), "anthropic", "m")
        first, second = names.upstream_name("find", "a"), names.upstream_name("find", "b")
        self.assertNotEqual(first, second)
        self.assertEqual(names.client_name(second), "find")
        self.assertIs(names.tool(second), tools[1])
        self.assertEqual(names.upstream_name("find"), "find")

    def test_anEmptyNameGetsOne(self) -> None:
        for target in ("chat", "anthropic", "gemini"):
            names = tool_names(Request("chat", tools=(Tool(""),)), target, "m")
            self.assertTrue(re.fullmatch("_+", names.upstream_name("")))
