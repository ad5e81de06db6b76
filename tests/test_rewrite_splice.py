"""`llmux.rewrite.splice` and `llmux.rewrite.assignment`."""

from __future__ import annotations

import json
from itertools import combinations

from twisted.trial import unittest

from llmux.rewrite.assignment import Assignments, assign
from llmux.rewrite.spans import Buffer, InvalidJSON, elements
from llmux.rewrite.splice import Edit, json_edits, literal, removals, splice, splice_json


class SpliceTests(unittest.SynchronousTestCase):
    """Edits in any order, and none."""

    def test_noEditMeansTheSameObject(self) -> None:
        data = bytearray(b"abc")
        self.assertIs(splice(data, []), data)

    def test_editsMayComeInAnyOrderAndTouch(self) -> None:
        self.assertEqual(splice(b"abcdef", [(3, 3, b"+"), (4, 6, b""), (0, 1, b"A"), (3, 4, b"D")]), b"Abc+D")

    def test_aBytearrayIsNeitherChangedNorLocked(self) -> None:
        data = bytearray(b"abc")
        self.assertEqual(splice(data, [(1, 2, b"xyz")]), b"axyzc")
        data += b"d"
        self.assertEqual(data, b"abcd")

    def test_elementsLeaveWithTheirCommas(self) -> None:
        data = b'[ 1 , "two",[3] ,{"four":4} ]'
        spans = elements(data, 0, len(data))
        whole = json.loads(data)
        for count in range(5):
            for doomed in combinations(range(4), count):
                left = splice(data, removals(spans, set(doomed)))
                self.assertEqual(json.loads(left), [item for at, item in enumerate(whole) if at not in doomed])

    def test_textThatIsNotJSONHasNoEdits(self) -> None:
        def refuse(data: Buffer) -> list[Edit]:
            raise InvalidJSON

        for data in (b"x", b'"\\ud800"'):
            self.assertEqual(json_edits(data, refuse), ())
            self.assertIs(splice_json(data, refuse), data)

    def test_surrogatesAreHiddenOnlyForTheSecondReading(self) -> None:
        def find(data: Buffer) -> list[Edit]:
            if b"ud8" in data:
                raise InvalidJSON
            return [(0, 1, b"'")]

        self.assertEqual(splice_json(b'"\\ud800"', find), b"'\\ud800\"")

    def test_literalsAreJSONWhateverTheText(self) -> None:
        for text in ('odd"name\\1', "naïve", "\n\x00", "\ud800", ""):
            self.assertEqual(json.loads(literal(text)), text)
        self.assertEqual(literal("naïve"), '"naïve"'.encode())


class AssignmentTests(unittest.SynchronousTestCase):
    """Members set, added, removed and nested."""

    def check(self, before: bytes, values: Assignments, after: bytes) -> None:
        self.assertEqual(splice(before, assign(before, 0, values)), after)

    def test_valuesAreReplacedWhereTheyStand(self) -> None:
        self.check(b'{ "a" : 1.50, "b":[2] }', {b"b": b"3"}, b'{ "a" : 1.50, "b":3 }')
        self.check(b'{"a":1,"a":2}', {b"a": b"0"}, b'{"a":0,"a":0}')

    def test_missingMembersAreAddedAtTheEnd(self) -> None:
        self.check(b'{"a":1 }', {b"b": b"2", b"c": b"3"}, b'{"a":1,"b":2,"c":3 }')
        self.check(b"{ }", {b"b": b"2"}, b'{"b":2 }')

    def test_noneTakesAMemberAwayAndIsNotAdded(self) -> None:
        self.check(b'{"a":1, "b":2, "c":3}', {b"b": None, b"x": None}, b'{"a":1, "c":3}')
        self.check(b'{"a":1}', {b"a": None, b"b": b"2"}, b'{"b":2}')
        self.check(b'{"a":1,"b":2}', {b"b": None, b"c": b"3"}, b'{"a":1,"c":3}')

    def test_nestedAssignmentsKeepTheOtherMembers(self) -> None:
        self.check(b'{"r":{"s":"auto"}}', {b"r": {b"e": b"1"}}, b'{"r":{"s":"auto","e":1}}')
        self.check(b'{"r":null}', {b"r": {b"e": b"1"}}, b'{"r":{"e":1}}')
        self.check(b"{}", {b"r": {b"s": {b"e": b"1", b"f": None}}}, b'{"r":{"s":{"e":1}}}')
        self.check(b'{"a":1,"r":null}', {b"r": {b"e": None}, b"q": {b"e": None}}, b'{"a":1,"r":null}')
