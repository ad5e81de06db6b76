"""Log lines: levels, both forms, and values that try to break out of their line."""

from __future__ import annotations

import io
import json
import tempfile

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from llmux.daemon.observers import HOLD_SECONDS, MOST_HELD, observer


class Counting(io.StringIO):
    """Counts how often it is written to."""

    writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        return super().write(text)


class ObserverTests(SynchronousTestCase):
    def lines(self, form: str, level: str = "info") -> tuple[Logger, io.StringIO]:
        out = io.StringIO()
        return Logger(namespace="llmux.test", observer=observer(form, level, out)), out

    def test_eventsBelowTheLevelAreNotWritten(self) -> None:
        log, out = self.lines("text", "warn")
        log.info("quiet")
        log.warn("loud")
        self.assertEqual([line.split()[-1] for line in out.getvalue().splitlines()], ["loud"])

    def test_aValueWithLineBreaksStaysOnItsLine(self) -> None:
        log, out = self.lines("text")
        log.info("model {model}", model="a\nb\r\x1b[31m")
        self.assertEqual(len(out.getvalue().splitlines()), 1)
        self.assertIn("a\\nb\\r", out.getvalue())

    def test_jsonCarriesTheFieldsOfTheEvent(self) -> None:
        log, out = self.lines("json")
        log.info("routed {requested_model}", requested_model="m\n1", cost="free", attempts=2)
        record = json.loads(out.getvalue())
        self.assertEqual((record["requested_model"], record["cost"], record["attempts"]), ("m\n1", "free", 2))
        self.assertEqual((record["level"], record["message"]), ("info", "routed m\n1"))
        self.assertEqual(len(out.getvalue().splitlines()), 1)

    def test_aFailureBringsItsTraceback(self) -> None:
        for form in ("text", "json"):
            log, out = self.lines(form)
            try:
                raise RuntimeError("boom")
            except RuntimeError:
                log.failure("while testing", Failure(), level=LogLevel.critical)
            self.assertIn("RuntimeError: boom", out.getvalue())

    def test_linesWaitAMomentForOthersAndAWarningDoesNot(self) -> None:
        out, clock = Counting(), Clock()
        lines = observer("text", "debug", out)
        log = Logger(namespace="llmux.test", observer=lines)
        lines.begin(clock)
        for number in range(3):
            log.info("line {number}", number=number)
        self.assertEqual(out.getvalue(), "")
        clock.advance(HOLD_SECONDS)
        self.assertEqual((len(out.getvalue().splitlines()), out.writes), (3, 1))
        log.info("before")
        log.warn("now")
        self.assertEqual(out.getvalue().splitlines()[-1].split()[-1], "now")
        log.info("last")
        lines.end()
        self.assertEqual(out.getvalue().splitlines()[-1].split()[-1], "last")
        log.info("after the end")
        self.assertEqual(len(out.getvalue().splitlines()), 7)

    def test_recordsStayInOrderThoughOursAreFormattedLater(self) -> None:
        for form in ("text", "json"):
            out, clock, changing = Counting(), Clock(), ["as it was"]
            lines = observer(form, "debug", out)
            lines.begin(clock)
            log = Logger(namespace="llmux.test", observer=lines)
            ours = {
                "log_format": "{name} said {what}",
                "log_level": LogLevel.info,
                "log_time": 0.0,
                "log_namespace": "x",
            }
            log.info("first {it}", it=changing)
            fields = {"name": "a", "what": "b"}
            lines({**ours, **fields, "log_fields": fields})
            log.info("last")
            changing[0] = "another"
            clock.advance(HOLD_SECONDS)
            first, second, third = out.getvalue().splitlines()
            self.assertIn("first ['as it was']", first)
            self.assertIn("a said b", second)
            self.assertIn("last", third)

    def test_noMoreThanABoundOfThemWait(self) -> None:
        out, clock = Counting(), Clock()
        lines = observer("text", "debug", out)
        log = Logger(namespace="llmux.test", observer=lines)
        lines.begin(clock)
        for number in range(MOST_HELD + 1):
            log.info("line {number}", number=number)
        self.assertEqual((len(out.getvalue().splitlines()), out.writes), (MOST_HELD, 1))

    def test_halfACharacterIsWrittenAsAnEscape(self) -> None:
        log, out = self.lines("json")
        log.info("{model}", model="a\ud800")
        self.assertEqual(json.loads(out.getvalue())["message"], "a\ud800")
        with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
            Logger(namespace="x", observer=observer("text", "info", file)).info("{model}", model="a\ud800")
            file.seek(0)
            self.assertTrue(file.read().endswith("a\\ud800\n"))

    def test_formatsThatCallAreTwistedsToFormat(self) -> None:
        log, out = self.lines("text")
        log.info("{call()}", call=lambda: "called")
        log.info("{missing}")
        first, second = out.getvalue().splitlines()
        self.assertTrue(first.endswith(" called"))
        self.assertIn("missing", second)

    def test_aClosedFileLosesTheLineAndNothingElse(self) -> None:
        log, out = self.lines("text")
        out.close()
        log.info("into the void")
