"""Readers: typed values, ranges, lists and mappings by schema."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.config.problem import ConfigError
from llmux.config.reader import (
    Fault,
    boolean,
    fields,
    filled,
    integer,
    list_of,
    missing,
    number,
    one_of,
    one_or_list,
    size,
    text,
)
from tests.configuring import outcome, value


class ScalarTests(SynchronousTestCase):
    def check(self, reader: Any, cases: dict[str, Any], **environ: str) -> None:
        for written, expected in cases.items():
            self.assertEqual(outcome(reader, written, environ), expected, written)

    def test_textIsTrimmedAndNumbersAreText(self) -> None:
        self.check(
            text,
            {
                "abc": "abc",
                "' a b '": "a b",
                "42": "42",
                "2023-06-01": "2023-06-01",
                "1.50": "1.50",
                "''": "",
                "010": "010",
            },
        )

    def test_textIsNoBooleanUnlessQuoted(self) -> None:
        refused = "refused: expected text, found a boolean; put it in quotes"
        self.check(text, {"yes": refused, "False": refused, "'yes'": "yes"})
        self.check(text, {"${V}": "no"}, V="no")

    def test_textIsNoCollection(self) -> None:
        self.check(
            text,
            {
                "[a]": "refused: expected text, found a list",
                "{a: b}": "refused: expected text, found keys with values",
                "~": "refused: expected text, found nothing",
            },
        )

    def test_filledTextSaysSomething(self) -> None:
        self.check(filled, {"a": "a", "''": "refused: must not be blank", "'  '": "refused: must not be blank"})
        self.check(filled, {"${V}": "refused: must not be blank"}, V=" ")

    def test_anUnsetVariableIsNamed(self) -> None:
        for reader in (text, filled, boolean, integer(0, 1), size(0, 1), one_of("ab")):
            self.check(reader, {"${NOPE}": "refused: environment variable NOPE is not set"})
        self.assertIn("only ${NAME} is understood", outcome(text, "${V:-secret}"))

    def test_booleansHaveTheWordsOfYaml(self) -> None:
        self.check(boolean, {"true": True, "Yes": True, "on": True, "false": False, "NO": False, "off": False})
        wrong = "refused: expected true or false"
        self.check(boolean, {"'true'": wrong, "1": wrong, "maybe": wrong})
        self.check(boolean, {"${V}": True, "'${V}'": True}, V="true")

    def test_integersAreDecimalAndInRange(self) -> None:
        whole, bounds = "refused: expected a whole number", "refused: must be between -5 and 70000"
        self.check(
            integer(-5, 70000),
            {"0": 0, "-5": -5, "8317": 8317, "70_000": 70000, "-6": bounds, "70001": bounds, "9" * 5000: bounds},
        )
        self.check(integer(-5, 70000), dict.fromkeys(("'1'", "1.0", "010", "0x10", "1e3", "1:30", "a", "+1"), whole))
        self.check(integer(0, 9), {"${V}": 7}, V="7")
        self.check(integer(0, 9), {"${V}": whole}, V="seven")

    def test_numbersCountSomething(self) -> None:
        reader = number(0, 60, "seconds")
        self.check(reader, {"0": 0.0, "1.5": 1.5, "60": 60.0, "61": "refused: must be between 0 and 60 seconds"})
        wrong = "refused: expected a number of seconds, without a unit"
        self.check(reader, dict.fromkeys((".inf", ".nan", "10s", "'1'", "1:30", "1e1", "x"), wrong))

    def test_sizesHaveUnits(self) -> None:
        reader = size(0, 10**12)
        self.check(
            reader,
            {"65536": 65536, "512kB": 512_000, "64MiB": 64 * 2**20, "1.5 GiB": 3 * 2**29, "2mb": 2_000_000, "7B": 7},
        )
        wrong = "refused: expected a size such as 65536, 512kB or 64MiB"
        self.check(reader, dict.fromkeys(("64M", "'65536'", "-1MiB", "lots", "MiB", "1.5"), wrong))
        self.check(
            size(10, 20),
            {"9": "refused: must be between 10 and 20 bytes", "1kB": "refused: must be between 10 and 20 bytes"},
        )

    def test_wordsAreSpelledExactly(self) -> None:
        reader = one_of(("round-robin", "fill-first"))
        self.check(reader, {"fill-first": "fill-first", "'fill-first'": "fill-first"})
        fault = self.assertRaises(Fault, reader, value("k: fil-first\n"))
        self.assertEqual((fault.problem, fault.suggestion), ("expected round-robin or fill-first", "fill-first"))
        self.assertIsNone(self.assertRaises(Fault, reader, value("k: no\n")).suggestion)


class CollectionTests(SynchronousTestCase):
    def faults(self, reader: Any, written: str) -> list[str]:
        at = value(written)
        reader(at)
        try:
            at.ledger.settle()
        except ConfigError as error:
            return [f"{each.line}:{each.column}: {each.key}: {each.problem}" for each in error.all]
        return []

    def test_aListNamesEachFaultyItem(self) -> None:
        self.assertEqual(
            self.faults(list_of(integer(0, 9)), "k: [1, x, 3, 10]\n"),
            ["1:8: k[1]: expected a whole number", "1:14: k[3]: must be between 0 and 9"],
        )
        self.assertEqual(outcome(list_of(text), "[]"), ())
        self.assertEqual(outcome(list_of(text, least=1), "[]"), "refused: the list is empty")
        self.assertEqual(outcome(list_of(text), "a"), "refused: expected a list, found a single value")

    def test_oneItemNeedsNoBrackets(self) -> None:
        self.assertEqual(outcome(one_or_list(text), "a"), ("a",))
        self.assertEqual(outcome(one_or_list(text), "[a, b]"), ("a", "b"))
        self.assertEqual(outcome(one_or_list(text), "[]"), "refused: the list is empty")

    def test_fieldsReadWhatIsThereAndLeaveNullsOut(self) -> None:
        self.assertEqual(outcome(lambda at: fields(at, {"a": text, "b": text}), "{a: x, b: }"), {"a": "x"})
        self.assertEqual(outcome(lambda at: fields(at, {}), "[a]"), "refused: expected keys with values, found a list")

    def test_fieldsGoOnAfterAProblem(self) -> None:
        self.assertEqual(
            self.faults(lambda at: fields(at, {"port": integer(0, 9)}), "k:\n  prot: 1\n  port: x\n  zebra: 1\n"),
            [
                "2:3: k.prot: unknown key; did you mean port?",
                "3:9: k.port: expected a whole number",
                "4:3: k.zebra: unknown key",
            ],
        )

    def test_uselessKeysWarnWithoutBeingRead(self) -> None:
        at = value("k: {old: [sk-secret]}\n")
        self.assertEqual(fields(at, {}, {"old": "ignored"}), {})
        self.assertEqual(at.ledger.settle(), ("llmux.yaml:1:5: k.old: ignored",))

    def test_missingKeysAreReportedTogether(self) -> None:
        self.assertEqual(
            self.faults(lambda at: missing(at, "a", "b", "c"), "k: {b: 1, c: }\n"),
            ["1:4: k.a: is missing", "1:4: k.c: is missing"],
        )

    @settings(max_examples=100, deadline=None)
    @given(st.text("0123456789.eE+-_kKmMgGiIbB xX:'\"~[]{}", max_size=12))
    def test_noTextMakesANumberReaderFail(self, written: str) -> None:
        for reader in (integer(-9, 9), number(0, 9, "seconds"), size(0, 9), boolean):
            try:
                outcome(reader, written)
            except (ConfigError, AssertionError, KeyError):
                continue
