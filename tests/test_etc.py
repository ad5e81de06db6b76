"""What is in `etc`: the units and the image start the real daemon, and systemd knows every word of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.end_to_end import EndToEndCase, ask, eventually

ETC = Path(__file__).parent.parent / "etc"
UNIT = (ETC / "llmux.service").read_text(encoding="utf-8")
TWISTD = str(Path(sys.executable).with_name("twistd"))
ANALYZE = shutil.which("systemd-analyze")
INSTALLED = "/opt/llmux/bin/twistd"
AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


def setting(name: str) -> str:
    """One setting of the unit."""
    (found,) = re.findall(rf"^{name}=(.*)$", UNIT, re.MULTILINE)
    return str(found)


class UnitTests(SynchronousTestCase):
    if ANALYZE is not None:  # a machine without systemd has no use for the units

        def test_systemdFindsNoFaultInTheUnits(self) -> None:
            with tempfile.TemporaryDirectory(prefix="llmux-") as folder:
                Path(folder, "llmux.service").write_text(UNIT.replace(INSTALLED, TWISTD))
                shutil.copy(ETC / "llmux.socket", folder)
                command = [str(ANALYZE), "verify", f"{folder}/llmux.service", f"{folder}/llmux.socket"]
                ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertEqual((ended.returncode, ended.stderr), (0, ""))

    def test_theDrainEndsBeforeSystemdsPatience(self) -> None:
        self.assertGreater(int(setting("TimeoutStopSec")), 30 + 5)


class StartTests(EndToEndCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="llmux-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.config = self.folder / "llmux.yaml"
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        self.listener = listener
        self.port = int(listener.getsockname()[1])

    def start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Start a command as it is written, but with this interpreter's twistd and our configuration."""
        own = {INSTALLED: TWISTD, "/etc/llmux/llmux.yaml": str(self.config)}
        process = subprocess.Popen(
            [sys.executable, "-c", AS_SYSTEMD, str(self.listener.fileno()), *(own.get(word, word) for word in command)],
            env={**os.environ, "HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder), **environment},
            pass_fds=(self.listener.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    async def test_theUnitsCommandTakesTheSocketNotifiesAndFeedsTheWatchdog(self) -> None:
        self.config.write_text("listen: systemd:domain=INET:index=0\nproviders: [{name: demo, kind: demo}]\n")
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(str(self.folder / "notify"))
        manager.setblocking(False)
        heard: list[str] = []

        def says(word: str) -> bool:
            with contextlib.suppress(BlockingIOError):
                heard.append(manager.recv(4096).decode())
            return any(word in each for each in heard)

        self.assertEqual((setting("Type"), setting("NotifyAccess")), ("notify", "all"))
        environment = {
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": "llmux.socket",
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": "400000",
        }
        process = self.start(shlex.split(setting("ExecStart")), environment)
        await eventually(lambda: says(f"READY=1\nMAINPID={process.pid}"), 30)
        answer = await deferToThread(ask, self.port, "/healthz")
        self.assertEqual(answer.status, 200)
        await eventually(lambda: says("WATCHDOG=1"))
        self.assertIn("kill -HUP", setting("ExecReload"))
        process.send_signal(signal.SIGTERM)
        await eventually(lambda: says("STOPPING=1"))
        out, _ = await deferToThread(process.communicate)
        self.assertEqual(process.returncode, 0, out)
        self.assertIn(b"GET /healthz 200", out)

    async def test_theImagesCommandServes(self) -> None:
        text = (ETC / "Containerfile").read_text(encoding="utf-8")
        words = {name: json.loads(found) for name, found in re.findall(r"^(ENTRYPOINT|CMD) (.*)$", text, re.MULTILINE)}
        self.listener.close()
        listen = socket.create_server(("127.0.0.1", 0))
        self.port = int(listen.getsockname()[1])
        listen.close()
        self.listener = socket.socket()
        self.config.write_text(
            f"listen: 'tcp:{self.port}'\napi-keys: [ck-1]\nproviders: [{{name: demo, kind: demo}}]\n"
        )
        process = self.start([*words["ENTRYPOINT"], *words["CMD"]], {})

        def answers() -> bool:
            try:
                return ask(self.port, "/readyz").status == 200
            except OSError:
                return False

        await eventually(answers, 30)
        (stop,) = re.findall(r"^STOPSIGNAL (\w+)$", text, re.MULTILINE)
        process.send_signal(getattr(signal, stop))
        out, _ = await deferToThread(process.communicate)
        self.assertEqual(process.returncode, 0, out)
