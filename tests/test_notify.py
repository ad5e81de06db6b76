"""What systemd is told, and that nobody else needs to listen."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.daemon.notify import Notifier


class NotifierTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="llmux-")
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "notify")
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.manager.close)
        self.manager.bind(self.path)
        self.manager.setblocking(False)
        self.clock = Clock()

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self.manager.recv(4096).decode())
            except BlockingIOError:
                return found

    def test_readyNamesTheProcess(self) -> None:
        Notifier({"NOTIFY_SOCKET": self.path}, self.clock).ready()
        self.assertEqual(self.heard(), [f"READY=1\nMAINPID={os.getpid()}"])

    def test_theWatchdogIsFedTwiceInItsTimeUntilTheStop(self) -> None:
        environment = {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}
        notifier = Notifier(environment, self.clock)
        notifier.ready()
        self.clock.pump([2.0] * 3)
        self.assertEqual(self.heard().count("WATCHDOG=1"), 4)
        notifier.stopping()
        self.clock.pump([2.0] * 3)
        self.assertEqual(self.heard(), ["STOPPING=1"])

    def test_theWatchdogOfAnotherProcessIsNotFed(self) -> None:
        Notifier({"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": "1"}, self.clock).ready()
        self.clock.pump([2.0] * 3)
        self.assertEqual(len(self.heard()), 1)

    def test_aReloadIsAnnouncedAndEnded(self) -> None:
        notifier = Notifier({"NOTIFY_SOCKET": self.path}, self.clock)
        notifier.reloading()
        notifier.reloaded()
        first, second = self.heard()
        self.assertTrue(first.startswith("RELOADING=1\nMONOTONIC_USEC="))
        self.assertEqual(second, "READY=1")

    def test_withoutAManagerNothingHappens(self) -> None:
        for environment in ({}, {"NOTIFY_SOCKET": self.path + "-gone"}):
            notifier = Notifier(environment, self.clock)
            notifier.ready()
            notifier.stopping()
        self.assertEqual(self.heard(), [])
