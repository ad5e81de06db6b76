"""Every fuzz target on its corpus and on a few mutations, so that neither rots; longer runs: `python -m tests.fuzz`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from twisted.python.reflect import namedAny
from twisted.trial import unittest

from tests.fuzz.driving import Finding, run_random
from tests.fuzz.target import CORPUS, Target, cut, dice, single
from tests.fuzz.targets import TARGETS

MUTATIONS = 200
SEED = 20261125


class TargetTests(unittest.SynchronousTestCase):
    """One test for each target; the methods are made below."""


def _survives(target: Target) -> Callable[[TargetTests], None]:
    def test(self: TargetTests) -> None:
        count = run_random(target, seed=SEED, count=MUTATIONS)
        self.assertEqual(count, len(target.corpus()) + MUTATIONS)
        self.assertGreater(len(target.corpus()), 5)

    return test


for _name, _target in TARGETS.items():
    setattr(TargetTests, f"test_{_name}SurvivesItsCorpusAndMutations", _survives(_target))


class DriverTests(unittest.SynchronousTestCase):
    """What the driver finds, and that it finds it again."""

    def test_aFindingIsRaisedWithItsInput(self) -> None:
        def run(data: bytes) -> None:
            if b"x" in data:
                raise KeyError("no")

        target = Target("fragile", run, (b"x",), seeds=lambda: [b"abc"])
        finding = self.assertRaises(Finding, run_random, target, seed=1, count=1000)
        self.assertIn(b"x", finding.data)
        self.assertIsInstance(finding.__cause__, KeyError)

    def test_theSameSeedMakesTheSameInputs(self) -> None:
        runs = []
        for seed in (3, 3, 4):
            seen: list[bytes] = []
            run_random(
                Target("t", seen.append, (b"word",), json=True, seeds=lambda: [b'{"a":[1,"b"]}']), seed=seed, count=50
            )
            runs.append(seen)
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0], runs[2])
        self.assertGreater(len(set(runs[0])), 40)

    def test_seedsAsDeepAsTheParserGoesAreMutatedAsWell(self) -> None:
        deep = [b'{"a":' * depth + b"1" + b"}" * depth for depth in range(850, 1000, 10)]
        target = Target("deep", lambda data: None, json=True, seeds=lambda: deep)
        self.assertEqual(run_random(target, seed=1, count=100), len(deep) + 100)

    def test_cutsJoinToTheWhole(self) -> None:
        data = bytes(range(256)) * 8
        self.assertEqual(b"".join(cut(data, dice(data))), data)
        self.assertEqual(b"".join(single(data)), data)
        self.assertEqual(len(single(data)), 1001)

    def test_everyFolderOfTheCorpusHasATarget(self) -> None:
        self.assertEqual({folder.name for folder in CORPUS.iterdir()} - set(TARGETS), set())

    def test_theCommandKeepsWhatItFinds(self) -> None:
        def run(data: bytes) -> None:
            raise ValueError("always")

        main = namedAny("tests.fuzz.__main__.main")
        targets = {"broken": Target("broken", run, seeds=lambda: [b"seed"])}
        folder = Path(tempfile.mkdtemp(dir="."))
        arguments = ["fuzz", "broken", "--plain", "--seconds", "0.01", "--keep", str(folder)]
        with (
            mock.patch("tests.fuzz.targets.TARGETS", targets),
            mock.patch("sys.argv", arguments),
            mock.patch("builtins.print"),
        ):
            self.assertEqual(main(), 1)
        self.assertEqual([file.read_bytes() for file in folder.iterdir()], [b"seed"])
