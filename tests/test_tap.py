"""What `twistd llmux` takes, and how it refuses: one line on standard error and status 1, before anything has begun."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from llmux.daemon.tap import Options, configuration

TWISTD = str(Path(sys.executable).with_name("twistd"))
_KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "AMP_API_KEY", "LLMUX_CONFIG", "XDG_CONFIG_HOME")


class OptionsTests(SynchronousTestCase):
    def options(self, *arguments: str) -> Options:
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def test_everythingHasADefault(self) -> None:
        options = self.options()
        self.assertEqual((options["config"], options["log-format"], options["log-level"]), (None, "text", "info"))

    def test_theFileIsNamedFromTheRootSinceTwistdChangesItsDirectory(self) -> None:
        self.assertEqual(self.options("-c", "x.yaml")["config"], os.path.abspath("x.yaml"))

    def test_wordsThatMeanNothingAreRefused(self) -> None:
        for arguments in (("--log-format", "xml"), ("--log-level", "loud"), ("--nonsense",), ("extra",)):
            self.assertRaises(UsageError, self.options, *arguments)

    def test_thePluginNamesThisModule(self) -> None:
        plugins: Iterable[Any] = getPlugins(IServiceMaker)
        makers = [maker for maker in plugins if maker.tapname == "llmux"]
        self.assertEqual([maker.module for maker in makers], ["llmux.daemon.tap"])


class ConfigurationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "llmux.yaml"

    def test_aNamedFileComesWithItsBytes(self) -> None:
        self.file.write_bytes(b"api-keys: [ck-1]\n")
        config, content = configuration(str(self.file), {})
        self.assertEqual((config.path, content), (str(self.file), b"api-keys: [ck-1]\n"))

    def test_theEnvironmentNamesOneToo(self) -> None:
        self.file.write_bytes(b"api-keys: [ck-1]\n")
        self.assertEqual(configuration(None, {"LLMUX_CONFIG": str(self.file)})[0].path, str(self.file))

    def test_withoutAFileThereAreDefaults(self) -> None:
        config, content = configuration(None, {"HOME": str(self.folder), "OPENAI_API_KEY": "sk-1"})
        self.assertEqual((config.path, content), (None, None))
        self.assertIn("demo", [provider.name for provider in config.providers])

    def test_aFileThatCannotBeUsedIsOneLine(self) -> None:
        self.file.write_bytes(b"api-keys: [ck-1]\nprovidrs: []\n")
        for path, said in (
            (self.file, ":2:1: providrs: "),
            (self.folder / "none", ":1:1: file: cannot"),
            (self.folder, ":1:1: file: "),
        ):
            text = str(self.assertRaises(SystemExit, configuration, str(path), {}))
            self.assertTrue(text.startswith("llmux: "), text)
            self.assertIn(said, text)
            self.assertNotIn("\n", text)


class RefusalTests(SynchronousTestCase):
    """The real twistd, which must not start."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="llmux-test-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def refusal(self, config: str | None, *options: str) -> str:
        """What twistd says on standard error; it ends with status 1 and says nothing else."""
        path = self.folder / "llmux.yaml"
        if config is not None:
            path.write_text(config, encoding="utf-8")
        environment = {name: value for name, value in os.environ.items() if name not in _KEYS}
        command = [TWISTD, "--pidfile", str(self.folder / "pid"), "-n", "llmux", *(options or ("--config", str(path)))]
        ended = subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, timeout=60, text=True, check=False
        )
        self.assertEqual((ended.returncode, ended.stdout), (1, ""), ended.stderr)
        self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)
        self.assertTrue(ended.stderr.startswith("llmux: "), ended.stderr)
        return ended.stderr

    def test_aMissingFile(self) -> None:
        self.assertIn("absent.yaml", self.refusal(None, "--config", "absent.yaml"))

    def test_aBadFile(self) -> None:
        self.assertIn("llmux.yaml:1:1: providrs: ", self.refusal("providrs: []\n"))

    def test_aBusyPort(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            number = taken.getsockname()[1]
            said = self.refusal(f"listen: tcp:{number}:interface=127.0.0.1\n")
        self.assertIn(f"cannot listen on 127.0.0.1:{number}: ", said)

    def test_aCertificateThatIsNotThere(self) -> None:
        said = self.refusal("listen: ssl:0:certKey=/none.pem:privateKey=/none.key:interface=127.0.0.1\n")
        self.assertIn("cannot listen on ssl:0", said)

    def test_aCertificateThatIsNone(self) -> None:
        (self.folder / "bad.pem").write_text("no certificate")
        bad = self.folder / "bad.pem"
        said = self.refusal(f"listen: ssl:0:certKey={bad}:privateKey={bad}:interface=127.0.0.1\n")
        self.assertIn("cannot listen on ssl:0", said)

    def test_anAddressThatThisMachineHasNot(self) -> None:
        said = self.refusal("api-keys: [ck-1]\nlisten: tcp:0:interface=192.0.2.1\n")
        self.assertIn("cannot listen on 192.0.2.1:0: ", said)

    def test_anOpenDaemonForEveryone(self) -> None:
        self.assertIn("without api-keys", self.refusal("listen: tcp:8317\n"))
