"""`llmux usage`: sums, bars and costs out of a ledger's file, also while a daemon writes it."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from llmux.daemon.commands.main import main
from llmux.daemon.commands.usage import bar, since_day
from llmux.peers.store import opened, state_file
from llmux.peers.usage_table import ADD, Sums

PRICES = """\
currency: EUR
models:
  - {model: opus-*, provider: own, input: 10, cached: 1, cache-write: 12, output: 50}
  - {model: mini, input: 1, output: 2}
"""
OPUS = Sums(3, 1, 0, 2, 3_000_000, 1_000_000, 500_000, 200_000, 50_000, 2, 3_000_000, 2_000_000)
MINI = Sums(10, 0, 1, 8, 400_000, 0, 0, 100_000, 0, 9, 900_000, 200_000)
NOW = 1_767_225_600.0 + 5 * 86400  # 2026-01-06


class UsageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.config = self.folder / "llmux.yaml"
        self.config.write_text("usage: {prices: prices.yaml}\nproviders: [{name: demo, kind: demo}]\n")
        (self.folder / "prices.yaml").write_text(PRICES)
        self.environ = {"HOME": str(self.folder)}
        self.file = state_file(str(self.config), self.environ)

    def write(self, *rows: tuple[str, str, str, str, Sums]) -> None:
        with closing(opened(self.file)) as connection:
            for day, provider, model, client, sums in rows:
                connection.execute(ADD, (day, "LOCAL_PROVIDER", provider, model, "sk-a...wxyz", client, *sums))

    def filled(self) -> None:
        self.write(
            ("2026-01-01", "own", "opus-9", "ck-1...9999", OPUS),
            ("2026-01-05", "own", "opus-9", "ck-2...9999", OPUS),
            ("2026-01-05", "other", "mini", "ck-1...9999", MINI),
        )

    def run_command(self, *arguments: str, status: int = 0) -> str:
        out, err = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict(os.environ, self.environ, clear=True),
            mock.patch("time.time", lambda: NOW),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                found = main(["usage", "--config", str(self.config), *arguments])
            except SystemExit as ended:
                found = int(ended.code or 0)
        self.assertEqual(found, status, err.getvalue())
        return out.getvalue() + err.getvalue()

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run_command("--json", *arguments))

    def test_rowsAreSortedByTokensAndSummedUp(self) -> None:
        self.filled()
        lines = self.run_command().splitlines()
        self.assertEqual(
            [line.split()[:9] for line in lines[:4]],
            [
                ["model", "requests", "errors", "aborted", "input", "cached", "output", "reasoning", "first"],
                ["opus-9", "6", "2", "0", "6,000,000", "2,000,000", "400,000", "100,000", "1.50s"],
                ["mini", "10", "0", "1", "400,000", "0", "100,000", "0", "0.10s"],
                ["total", "16", "2", "1", "6,400,000", "2,000,000", "500,000", "100,000", "0.53s"],
            ],
        )
        self.assertEqual([line.count("█") for line in lines[:4]], [0, 24, 1, 0])
        self.assertEqual(lines[4], "1 complete answers told no token counts")

    def test_costsFollowTheUsersPrices(self) -> None:
        self.filled()
        found = self.json()
        # 1.5 million fresh, 1 million cached, 0.5 million written into the cache, 0.2 million put out
        opus = 1.5 * 10 + 1 * 1 + 0.5 * 12 + 0.2 * 50
        self.assertEqual([(row["name"], row["cost"]) for row in found["rows"]], [("opus-9", 2 * opus), ("mini", 0.6)])
        self.assertEqual((found["currency"], found["total"]["cost"]), ("EUR", 64.6))
        self.assertIn("64.00", self.run_command())

    def test_aModelWithoutPriceHidesNoCost(self) -> None:
        self.write(("2026-01-05", "elsewhere", "opus-9", "", OPUS), ("2026-01-05", "own", "opus-9", "", OPUS))
        found = self.json("--by", "provider")
        self.assertEqual([row["cost"] for row in found["rows"]], [None, 32.0])
        self.assertEqual((found["total"]["cost"], found["without_price"]), (None, ["opus-9"]))
        self.assertIn("no price for opus-9", self.run_command())

    def test_withoutPricesThereIsNoCost(self) -> None:
        self.config.write_text("providers: [{name: demo, kind: demo}]\n")
        self.filled()
        self.assertNotIn("EUR", self.run_command())
        self.assertNotIn("cost", self.json()["rows"][0])

    def test_everyDimensionGroups(self) -> None:
        self.filled()
        for by, names in (
            ("model", ["opus-9", "mini"]),
            ("provider", ["own", "other"]),
            ("client", ["ck-1...9999", "ck-2...9999"]),
            ("credential", ["sk-a...wxyz"]),
            ("route", ["LOCAL_PROVIDER"]),
            ("day", ["2026-01-01", "2026-01-05"]),
        ):
            found = self.json("--by", by)
            self.assertEqual([row["name"] for row in found["rows"]], names)
            self.assertEqual(sum(row["requests"] for row in found["rows"]), 16, by)

    def test_sinceLeavesEarlierDaysOut(self) -> None:
        self.filled()
        for since, requests in (("2026-01-01", 16), ("2026-01-02", 13), ("6d", 16), ("5d", 13), ("2d", 13)):
            self.assertEqual(self.json("--since", since)["total"]["requests"], requests, since)
        self.assertEqual(self.json("--since", "1d")["rows"], [])
        self.assertEqual(self.run_command("--since", "1d"), "no request was counted since 2026-01-06\n")

    def test_aMistakeInSinceIsAMistakeInUse(self) -> None:
        for since in ("yesterday", "2026-13-01", "d", "-3d"):
            self.assertIn("expected", self.run_command("--since=" + since, status=2))

    def test_nothingCountedIsNoProblem(self) -> None:
        self.assertEqual(self.run_command(), "no request was counted yet\n")
        self.assertIsNone(self.json()["total"])
        self.file.parent.mkdir(parents=True)
        with closing(sqlite3.connect(self.file)) as connection:
            connection.execute("CREATE TABLE credits (day TEXT)")
        self.assertEqual(self.run_command(), "no request was counted yet\n")

    def test_aFileThatIsNoLedgerIsNamed(self) -> None:
        self.file.parent.mkdir(parents=True)
        self.file.write_bytes(b"no database" * 100)
        self.assertIn(str(self.file), self.run_command(status=1))

    def test_theFileIsReadWhileSomebodyWritesIt(self) -> None:
        self.filled()
        with closing(opened(self.file)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM usage")
            self.assertEqual(self.json()["total"]["requests"], 16)

    def test_badPricesAreToldWithTheirPlace(self) -> None:
        (self.folder / "prices.yaml").write_text("currency: x\nmodels: [{model: y}]\n")
        self.assertIn("prices.yaml:2:10: models[0].input: is missing", self.run_command(status=1))
        (self.folder / "prices.yaml").unlink()
        self.assertIn("prices.yaml: No such file", self.run_command(status=1))


class BarTests(SynchronousTestCase):
    def test_aBarIsItsShareInEighths(self) -> None:
        self.assertEqual([bar(value, 192) for value in (0, 1, 7, 8, 12, 192)], ["", "▏", "▉", "█", "█▌", "█" * 24])
        self.assertEqual(bar(1, 10**9), "▏")

    def test_longAgoIsADayLikeAnyOther(self) -> None:
        self.assertLess(since_day("99999d"), "1900")
