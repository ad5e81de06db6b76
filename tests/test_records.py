"""Records in the name of a class: what Twisted's logger would have made of them."""

from __future__ import annotations

from typing import Any

from twisted.logger import LogEvent, Logger, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from llmux.peers.records import Records


class Speaker:
    """In whose name the records are."""

    log = Logger()


class RecordsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def test_anEventIsWhatTwistedsLoggerMakesOfIt(self) -> None:
        Records(Speaker).emit(LogLevel.info, "{name} said {what}", {"name": "a", "what": "b"})
        Speaker.log.emit(LogLevel.info, "{name} said {what}", name="a", what="b")
        ours, theirs = self.events
        self.assertEqual(ours.pop("log_fields"), {"name": "a", "what": "b"})
        self.assertEqual(set(ours), set(theirs))
        for key in ("log_level", "log_namespace", "log_format", "name", "what"):
            self.assertEqual(ours[key], theirs[key], key)
        self.assertLess(abs(ours["log_time"] - theirs["log_time"]), 60)

    def test_everythingIsReadUntilSomebodySaysOtherwise(self) -> None:
        self.assertEqual(Records(Speaker).least, LogLevel.debug)

    def test_everyRecordIsAnEventOfItsOwn(self) -> None:
        records = Records(Speaker)
        fields = {"name": "a"}
        records.emit(LogLevel.info, "{name}", fields)
        records.emit(LogLevel.info, "{name}", fields)
        self.events[0]["name"] = "changed"
        self.assertEqual((self.events[1]["name"], fields), ("a", {"name": "a"}))
