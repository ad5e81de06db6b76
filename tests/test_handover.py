"""A restart refuses nobody: a new process takes the sockets while the old one drains."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from llmux.daemon.handover import READY, SOCKETS, family_of, inherited, say_ready
from tests.running import Daemon, pause

CONFIG = "providers: [{name: demo, kind: demo}]\n"


class EnvironmentTests(SynchronousTestCase):
    def test_onlyListeningSocketsAreInherited(self) -> None:
        with socket.socket() as listening, socket.socket() as other:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            text = f'{{"tcp:1": {listening.fileno()}, "tcp:2": {other.fileno()}, "tcp:3": 99999, "tcp:4": "x"}}'
            environment = {SOCKETS: text}
            self.assertEqual(inherited(environment), {"tcp:1": listening.fileno()})
            self.assertEqual(environment, {})
            self.assertEqual(family_of(listening.fileno()), socket.AF_INET)

    def test_nonsenseInheritsNothing(self) -> None:
        self.assertEqual(inherited({SOCKETS: "{"}), {})
        self.assertEqual(inherited({}), {})

    def test_readinessIsSaidOnceAndOnlyToAnOldProcess(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        environment = {READY: str(writing)}
        say_ready(environment)
        self.assertEqual((os.read(reading, 9), environment), (b"1", {}))
        say_ready({})


class Load:
    """New connections and kept ones, one request after the other, until told to stop."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.stopped = threading.Event()
        self.answers = 0
        self.failures: list[str] = []

    def run(self) -> None:
        """Ask as long as the test wants; every failure is kept."""
        while not self.stopped.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                for _ in range(3):
                    connection.request("GET", "/healthz")
                    answer = connection.getresponse()
                    answer.read()
                    self.answers += answer.status == 200
                    if answer.status != 200:
                        self.failures.append(f"status {answer.status}")
                    if answer.will_close:
                        break
            except (OSError, http.client.HTTPException) as problem:
                self.failures.append(repr(problem))
            finally:
                connection.close()


class RestartTests(TestCase):
    timeout = 90.0

    async def restart(self) -> None:
        daemon = Daemon(CONFIG)
        self.addCleanup(daemon.stop)
        await daemon.started()
        load = Load(daemon.port)
        self.addCleanup(load.stopped.set)
        threads = [deferToThread(load.run) for _ in range(4)]
        stream = deferToThread(self.stream, daemon.port)
        await pause(0.5)
        before = load.answers
        daemon.process.send_signal(signal.SIGUSR2)
        log = await daemon.until("has taken over", 40)
        successor = int(log.split("process ")[1].split()[0])
        self.addCleanup(self.end, successor)
        self.assertEqual(await daemon.ended(40), 0)
        await pause(0.5)
        load.stopped.set()
        for thread in threads:
            await thread
        self.assertEqual(load.failures, [])
        self.assertGreater(load.answers, before)
        self.assertIn(b"message_stop", await stream)

    def test_aRestartUnderLoadFailsNoRequestAndCutsNoStream(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.restart())

    def stream(self, port: int) -> bytes:
        """One stream that is under way while the processes change."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        text = "word " * 60
        body = f'{{"model":"demo","max_tokens":900,"stream":true,"messages":[{{"role":"user","content":"{text}"}}]}}'
        connection.request("POST", "/v1/messages", body, {"content-type": "application/json"})
        data = connection.getresponse().read()
        connection.close()
        return data

    def end(self, pid: int) -> None:
        """Stop the process that took over; it is not our child."""
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)

    async def broken(self) -> None:
        daemon = Daemon(CONFIG)
        self.addCleanup(daemon.stop)
        await daemon.started()
        daemon.config.write_text("providers: [ {")
        daemon.process.send_signal(signal.SIGUSR2)
        await daemon.until("did not come up", 40)
        self.assertIsNone(daemon.process.poll())
        await daemon.started()

    def test_aNewProcessThatDoesNotComeUpLeavesTheOldOneServing(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.broken())
