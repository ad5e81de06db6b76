"""The benchmark runs, notices wrong bytes and lost events, and computes its table right."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from shutil import rmtree

from twisted.trial.unittest import SynchronousTestCase

from bench.bodies import Body, content, stream_model, write
from bench.build import CannotBuild, build
from bench.generators import Generators, Result
from bench.machine import choose_cores
from bench.profiles import PROFILES, select
from bench.provider import Provider
from bench.spy import functions
from bench.stage import ask
from bench.systems import System, decisions_logged, log_faults
from bench.table import markdown, medians, ratios, spread

ROOT = Path(__file__).parent.parent
SMOKE_SECONDS = 300.0  # far more than it takes: the test is about bytes, not about time


@cache
def cache_root() -> Path:
    """A folder for the compiled programs, shared by these tests and gone at the end."""
    folder = tempfile.mkdtemp(prefix="llmux-test-")
    atexit.register(rmtree, folder)
    return Path(folder)


class SmokeTests(SynchronousTestCase):
    def test_theSmokeProfileOfTheRealProgramFindsNoFault(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="llmux-test-"))
        self.addCleanup(rmtree, folder)
        found = folder / "found.json"
        command = [sys.executable, "-m", "bench", "--profile", "smoke", "--peers", "none", "--json", str(found)]
        environment = {**os.environ, "XDG_CACHE_HOME": str(cache_root())}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SMOKE_SECONDS, check=False
        )
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        report = json.loads(found.read_text())
        self.assertEqual({}, report["faults"])
        measured = " ".join(report["table"])
        for workload in PROFILES["smoke"].workloads:
            self.assertIn(workload.name, measured)
        self.assertIn("| hold 100 events delivered | 1 |", done.stdout)


class ProviderTests(SynchronousTestCase):
    """The generators against the provider itself, which stands in for a proxy that lies."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="llmux-test-"))
        self.addCleanup(rmtree, self.folder)
        self.programs = build(cache_root())
        self.core = choose_cores().load
        self.plain = Body("chat", 2048, stream_model(0))
        self.stream = Body("chat", 1024, stream_model(5), stream=True)
        self.files = write([self.plain, self.stream], self.folder)
        self.provider = Provider(self.programs / "fake_provider", self.files.values(), self.folder, self.core)
        self.addCleanup(self.provider.stop)
        self.system = System("nginx", self.provider.process, self.provider.port, self.folder)
        self.generators = Generators(self.programs, self.core)

    def load(self, mode: str, body: Body, expect: Path | None, **options: object) -> Result:
        """A short run against the provider."""
        given = {"duration": 0.2, "warmup": 0.05, "conns": 2, "expect": expect, **options}
        return self.generators.load(self.system, mode, "/v1/chat/completions", self.files[body], **given).result()

    def test_rightAnswersAreNoFault(self) -> None:
        self.assertEqual([], self.load("http", self.plain, self.provider.expected("chat", None)).faults())
        streams = self.load("sse", self.stream, self.provider.expected("chat", 5), events=5)
        self.assertEqual([], streams.faults())
        self.assertGreater(streams["events"], 0)
        self.assertEqual(0, self.provider.counters()["wrong_bodies"])

    def test_aWrongByteOfAnAnswerIsAFault(self) -> None:
        right = self.provider.expected("chat", None).read_bytes()
        other = self.folder / "other"
        other.write_bytes(right.replace(b"brown", b"crown", 1))
        result = self.load("http", self.plain, other)
        self.assertGreater(result["wrong"], 0)
        self.assertIn("with a wrong byte", result.faults()[0])

    def test_aWrongByteOfAStreamIsAFaultAndAnyStampIsNone(self) -> None:
        right = self.provider.expected("chat", 5).read_bytes()
        other = self.folder / "other"
        other.write_bytes(right.replace(b'"stop"', b'"step"', 1))
        self.assertGreater(self.load("sse", self.stream, other, events=5)["wrong"], 0)

    def test_aLostEventIsAFault(self) -> None:
        result = self.load("sse", self.stream, self.provider.expected("chat", 6), events=6)
        self.assertGreater(result["bad"], 0)
        counted = self.load("sse", self.stream, None, events=6)
        self.assertGreater(counted["incomplete"], 0)
        self.assertEqual([], self.load("sse", self.stream, None, events=5).faults())

    def test_aWrongByteOfARequestIsCounted(self) -> None:
        right = self.files[self.plain].read_bytes()
        ask(self.system, "/v1/chat/completions", right)
        self.assertEqual(0, self.provider.counters()["wrong_bodies"])
        ask(self.system, "/v1/chat/completions", right.replace(b"fix the bug", b"mix the bug"))
        self.assertEqual(1, self.provider.counters()["wrong_bodies"])

    def test_anErrorStatusIsAFaultWithTheBeginningOfItsBody(self) -> None:
        result = Result({"ok": 0, "bad": 1, "bad_status": 502, "bad_sample": "no provider"})
        self.assertEqual(["answered 502: no provider", "no request succeeded"], result.faults())

    def test_aTunnelEchoesItsBytes(self) -> None:
        result = self.generators.tunnels(self.system, tunnels=3, bytes=500_000, hold=0.05, deadline=20).result()
        self.assertEqual([], result.faults())
        self.assertEqual(3 * 500_064, self.provider.counters()["echoed"])

    def test_heldStreamsAndUploadsReachTheirPlateau(self) -> None:
        for mode, body, expected, events in (
            ("hold", self.stream, self.provider.expected("chat", 5), 5),
            ("upload", self.plain, self.provider.expected("chat", None), -1),
        ):
            run = self.generators.load(
                self.system,
                mode,
                "/v1/chat/completions",
                self.files[body],
                expect=expected,
                conns=10,
                events=events,
                duration=0.1,
                deadline=20,
            )
            self.assertTrue(run.reached_plateau(10), mode)
            result = run.result()
            self.assertEqual([], result.faults(), mode)
            self.assertEqual(10, result["ok"])

    def test_aCompilersComplaintIsTold(self) -> None:
        self.patch(os, "environ", {**os.environ, "CC": "false"})
        self.assertRaises(CannotBuild, build, self.folder / "elsewhere")


class BodyTests(SynchronousTestCase):
    def test_theModelStandsWhereItIsWanted(self) -> None:
        for place, low, high in (("first", 0.0, 0.01), ("middle", 0.4, 0.6), ("last", 0.99, 1.0)):
            data = content(Body("chat", 100_000, "bench-n1", place=place))
            self.assertEqual("bench-n1", json.loads(data)["model"])
            self.assertTrue(low <= data.index(b'"model": "bench-n1"') / len(data) <= high, place)
            self.assertTrue(95_000 < len(data) < 105_000, place)

    def test_noTwoBodiesHaveOneLength(self) -> None:
        folder = Path(tempfile.mkdtemp(prefix="llmux-test-"))
        self.addCleanup(rmtree, folder)
        bodies = [Body("chat", 3000, f"bench-n{digit}") for digit in range(5)]
        files = write([*bodies, *bodies], folder)
        self.assertEqual(5, len({path.stat().st_size for path in files.values()}))


class TableTests(SynchronousTestCase):
    figures = {
        "a cpu us/request": {"nginx": [10.0, 30.0, 20.0], "llmux": [40.0, 60.0, 50.0]},
        "b growth MB": {"nginx": [0.0], "llmux": [1.0]},
        "c only": {"llmux": [2.0]},
    }

    def test_mediansAndRatiosAreOfTheSameRow(self) -> None:
        table = medians(self.figures)
        self.assertEqual({"nginx": 20.0, "llmux": 50.0}, table["a cpu us/request"])
        self.assertEqual({"llmux / nginx": 2.5}, ratios(table["a cpu us/request"], ["nginx", "llmux"]))

    def test_thereIsNoRatioToNothing(self) -> None:
        table = medians(self.figures)
        self.assertEqual({"llmux / nginx": None}, ratios(table["b growth MB"], ["nginx"]))
        self.assertEqual({"llmux / nginx": None}, ratios(table["c only"], ["nginx"]))

    def test_theTableHasARowForEachFigure(self) -> None:
        lines = markdown(self.figures, ["nginx", "llmux"]).splitlines()
        self.assertEqual("| workload | nginx | llmux | llmux / nginx | spread |", lines[0])
        self.assertEqual("| a cpu us/request | 20 | 50 | 2.5 | 40% |", lines[2])
        self.assertEqual("| c only | - | 2 | - | - |", lines[4])

    def test_theSpreadIsAShareOfTheMedian(self) -> None:
        self.assertEqual(0.4, spread([40.0, 60.0, 50.0]))
        self.assertEqual(0.0, spread([0.0, 0.0]))


class SelectionTests(SynchronousTestCase):
    def test_workloadsAreSelectedByNameOrSection(self) -> None:
        quick = PROFILES["quick"]
        self.assertEqual(["2k_c64"], [load.name for load in select(quick, ["2k_c64"])])
        self.assertEqual({"tunnel"}, {load.section for load in select(quick, ["tunnel"])})
        self.assertEqual(quick.workloads, select(quick, []))

    def test_anUnknownNameIsRefused(self) -> None:
        self.assertRaises(ValueError, select, PROFILES["quick"], ["3k_c64"])

    def test_everyProfileHasTheSameKindsOfLoad(self) -> None:
        kinds = {name: {load.section for load in profile.workloads} for name, profile in PROFILES.items()}
        self.assertEqual(kinds["full"], kinds["quick"])
        self.assertEqual(kinds["full"], kinds["smoke"])


class LogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="llmux-test-"))
        self.addCleanup(rmtree, self.folder)

    def test_aTracebackInALogIsAFault(self) -> None:
        (self.folder / "decisions.log").write_text('{"level": "info"}\n')
        self.assertEqual([], log_faults(self.folder))
        (self.folder / "decisions.log.1").write_text('{"level": "critical", "traceback": "Traceback ..."}\n')
        self.assertEqual(1, len(log_faults(self.folder)))

    def test_decisionsAreCountedInRotatedLogsToo(self) -> None:
        (self.folder / "decisions.log").write_text('{"component": "amp-routing"}\n' * 2)
        (self.folder / "decisions.log.1").write_text('{"component": "amp-routing"}\n{}\n')
        self.assertEqual(3, decisions_logged(self.folder))


class SpyTests(SynchronousTestCase):
    def test_samplesAreSummedByFunction(self) -> None:
        found = functions(
            "thread (7): MainThread;main (a.py:1);f (b.py:2) 3\n"
            "thread (7): MainThread;main (a.py:1);f (b.py:2);f (b.py:2) 4\n"
            "thread (7): MainThread;main (a.py:1) 1\n"
            "thread (8): store;wait (c.py:1) 50\n"
        )
        self.assertEqual(["f (b.py:2)", "main (a.py:1)"], [function.name for function in found])
        self.assertEqual((0.875, 0.875), (found[0].own, found[0].total))
        self.assertEqual((0.125, 1.0), (found[1].own, found[1].total))

    def test_noSampleIsNoFunction(self) -> None:
        self.assertEqual([], functions(""))
