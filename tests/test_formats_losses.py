"""Warnings, refusals, the reading of members, and JSON text (TRANSLATION 2.4)."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.formats import members
from llmux.formats.jsontext import compact, dump_body, parse, parse_body
from llmux.formats.losses import Losses, RequestRefused
from llmux.formats.neutral import Blocker, Request


class LossesTests(SynchronousTestCase):
    """Codes are in the client's words."""

    def test_codesUseTheClientsFieldNamesAndComeOnce(self) -> None:
        losses = Losses(Request("gemini", lost=("dropped:x",)))
        losses.drop("top_k")
        losses.drop("top_k")
        losses.clamp("stop")
        self.assertEqual(losses.codes, ("dropped:x", "dropped:topK", "clamped:stopSequences"))
        chat = Losses(Request("chat", names={"max_tokens": "max_tokens"}))
        chat.clamp("max_tokens")
        self.assertEqual(chat.codes, ("clamped:max_tokens",))

    def test_aCodeHoldsWordsOnlyWhateverTheClientCallsItsTools(self) -> None:
        losses = Losses(Request("chat"))
        losses.warn("dropped:tools.a\r\nSet-Cookie: é, b")
        losses.warn("schema:$ref")
        losses.warn("x" * 100)
        self.assertEqual(losses.codes, ("dropped:tools.a__Set-Cookie:____b", "schema:$ref", "x" * 80))

    def test_strictTurnsAWarningIntoARefusal(self) -> None:
        refused = self.assertRaises(RequestRefused, Losses(Request("chat"), strict=True).drop, "seed")
        error = refused.error
        self.assertEqual(
            (error.kind, error.status, error.code, error.param), ("invalid", 400, "unsupported_parameter", "seed")
        )
        moved = self.assertRaises(RequestRefused, Losses(Request("responses"), True).warn, "moved:tool_media")
        self.assertEqual(moved.error.param, "input")

    def test_aBlockerIsRefusedForEveryTarget(self) -> None:
        losses = Losses(Request("responses", blockers=(Blocker("unsupported_parameter", "prompt"),)))
        self.assertEqual(self.assertRaises(RequestRefused, losses.check_blockers).error.param, "prompt")

    def test_aRefusalSaysTheWholePath(self) -> None:
        self.assertEqual(Losses(Request("gemini")).refuse("n").error.param, "generationConfig.candidateCount")
        self.assertEqual(Losses(Request("chat")).refuse("n").error.param, "n")


class MemberTests(SynchronousTestCase):
    """Null is absent, a wrong type is a 400 with its path."""

    def test_goodMembersAreRead(self) -> None:
        body = {"t": "x", "f": True, "i": 3.0, "n": 1.5, "m": {}, "l": [{}], "s": ["a"], "o": "a", "z": None}
        self.assertEqual(members.text(body, "t"), "x")
        self.assertIs(members.flag(body, "f"), True)
        self.assertEqual((members.integer(body, "i"), members.number(body, "n")), (3, 1.5))
        self.assertEqual((members.mapping(body, "m"), members.mappings(body, "l")), ({}, [{}]))
        self.assertEqual((members.texts(body, "s"), members.texts(body, "o")), (("a",), ("a",)))
        for read in (members.text, members.flag, members.integer, members.number, members.mapping):
            self.assertIsNone(read(body, "z"))
            self.assertIsNone(read(body, "absent"))
        self.assertEqual((members.sequence(body, "z"), members.texts(body, "z")), ([], ()))

    def test_badMembersAreNamedByTheirPath(self) -> None:
        cases: tuple[tuple[Any, Any], ...] = (
            (members.text, 1),
            (members.needed_text, None),
            (members.flag, 0),
            (members.number, True),
            (members.number, float("nan")),
            (members.number, 10**400),
            (members.integer, 1.5),
            (members.integer, "1"),
            (members.mapping, []),
            (members.needed_mapping, None),
            (members.sequence, {}),
        )
        for read, value in cases:
            refused = self.assertRaises(RequestRefused, read, {"k": value}, "k", "a.0")
            self.assertEqual((refused.error.status, refused.error.param), (400, "a.0.k"), f"{read} {value}")
        for read in (members.mappings, members.texts):
            self.assertEqual(self.assertRaises(RequestRefused, read, {"k": [1]}, "k", "a").error.param, "a.k.0")


class JsonTextTests(SynchronousTestCase):
    """Integers exact, non-ASCII as it is, lone surrogates tolerated."""

    def test_whatIsReadIsWrittenAgain(self) -> None:
        for text in ('{"a":123456789012345678901234567890}', '{"é":"\U0001f600"}', '{"b":1.5,"a":null}'):
            self.assertEqual(dump_body(parse_body(text.encode())), text.encode())

    def test_aLoneSurrogateLeavesAsItsEscape(self) -> None:
        body = parse_body(b'{"a":"\\ud83d","b":"\xc3\xa9"}')
        self.assertEqual(dump_body(body), b'{"a":"\\ud83d","b":"\xc3\xa9"}')
        self.assertEqual(json.loads(compact(body)), body)

    def test_whatIsNoObjectIsRefused(self) -> None:
        for raw in (b"", b"[]", b"{", b'{"a":NaN}', b'{"a":1e400}', b"\xff", b'{"a":"\xff"}', b"[" * 100000):
            refused = self.assertRaises(RequestRefused, parse_body, raw)
            self.assertEqual(refused.error.status, 400, raw[:20])

    def test_endlessNestingCannotBeWritten(self) -> None:
        nested: Any = {}
        for _ in range(100000):
            nested = {"a": nested}
        self.assertRaises(RequestRefused, dump_body, nested)

    def test_numbersThatNoDoubleHoldsAreNoJson(self) -> None:
        for text in ("NaN", "Infinity", '["\\ud800", 1e999]', '["\\ud800", NaN]'):
            self.assertRaises(ValueError, parse, text)
