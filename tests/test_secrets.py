"""The chain of upstream keys, with the vectors of `secrets.yaml`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from llmux.config.model import ClientUpstreamKey
from llmux.config.secret import Secret
from llmux.peers.secrets import UpstreamKeys, read_secrets_file
from tests import vectors


class Bench:
    """One source of keys with a clock, an environment and a file of its own."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.clock = Clock()
        self.environment: dict[str, str] = {}
        self.file: str | None = given.get("file")
        self.reads = 0
        self.config_key: str | None = given.get("config_key")
        self.client_keys: list[dict[str, Any]] = given.get("client_keys") or []
        self.set_environment(given.get("env"))
        self.keys = UpstreamKeys(self.clock.seconds, self.read, self.environment, given.get("ttl", 300))
        self.configure()

    def set_environment(self, value: str | None) -> None:
        self.environment.clear()
        if value is not None:
            self.environment["AMP_API_KEY"] = value

    def read(self) -> bytes | None:
        self.reads += 1
        if self.file == "<unreadable>":
            raise PermissionError(13, "Permission denied", "secrets.json")
        return None if self.file is None else self.file.encode()

    def configure(self) -> None:
        entries = [
            ClientUpstreamKey(
                Secret(str(entry.get("upstream_api_key") or "")),
                tuple(Secret(str(key)) for key in entry.get("api_keys") or ()),
            )
            for entry in self.client_keys
        ]
        self.keys.configure(self.config_key, entries)

    def step(self, step: dict[str, Any]) -> None:
        if "file" in step:
            self.file = step["file"]
        if "env" in step:
            self.set_environment(step["env"])
        if "advance" in step:
            self.clock.advance(step["advance"])
        if "invalidate" in step:
            self.keys.invalidate()
        if "config_key" in step:
            self.config_key = step["config_key"]
            self.configure()
        if "client_keys" in step:
            self.client_keys = step["client_keys"] or []
            self.configure()


@implementer(ILogObserver)
class Recorder:
    """Keeps log events."""

    def __init__(self, events: list[Any]) -> None:
        self.events = events

    def __call__(self, event: LogEvent) -> None:
        self.events.append(event)


class Observed(SynchronousTestCase):
    """Collects what is logged."""

    def setUp(self) -> None:
        self.events: list[Any] = []
        observer = Recorder(self.events)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def warnings(self) -> int:
        return sum(event["log_level"] >= LogLevel.warn for event in self.events)

    def logged(self) -> str:
        """Everything that an observer could write down."""
        return "\n".join(formatEvent(event) + repr(event) for event in self.events)


class SecretVectors(Observed):
    """Every vector of `secrets.yaml`."""

    def check(self, vector: dict[str, Any]) -> None:
        given, expect = vector["input"], vector["expect"]
        self.assertEqual(set(expect) - {"steps", "warnings", "no_leak", "file_reads"}, set())
        bench = Bench(given)
        for number, step in enumerate(given["steps"]):
            self.assertEqual(
                set(step) - {"get", "is", "file", "env", "advance", "invalidate", "config_key", "client_keys"}, set()
            )
            if "get" in step:
                self.assertEqual(bench.keys.get(step["get"]), step["is"], f"step {number}")
            else:
                bench.step(step)
        if expect.get("warnings") == 0:
            self.assertEqual(self.warnings(), 0)
        self.assertGreaterEqual(self.warnings(), expect.get("warnings", 0))
        for text in expect.get("no_leak") or ():
            self.assertNotIn(text, self.logged())
        if "file_reads" in expect:
            self.assertEqual(bench.reads, expect["file_reads"])

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(vectors.routing("secrets")), 0)


def _method(vector: dict[str, Any]) -> Callable[[SecretVectors], None]:
    def test(self: SecretVectors) -> None:
        self.check(vector)

    test.__doc__ = f"{vector['id']}: {vector['why']}"
    return test


for _vector in vectors.routing("secrets"):
    setattr(SecretVectors, "test_" + _vector["id"].replace("-", "_"), _method(_vector))


class Chain(Observed):
    """What the vectors do not say."""

    def bench(self, **given: Any) -> Bench:
        return Bench({"config_key": "", "env": None, "file": None, **given})

    def test_aBadFileIsReportedOncePerReading(self) -> None:
        bench = self.bench(file='{"apiKey@https://ampcode.com/": 12345678}')
        for _ in range(5):
            self.assertIsNone(bench.keys.get(None))
        self.assertEqual((self.warnings(), bench.reads), (1, 1))
        self.assertNotIn("12345678", self.logged())

    def test_theFileIsNotReadWhileTheConfigurationHasAKey(self) -> None:
        bench = self.bench(config_key="cfg", file="{oops")
        self.assertEqual((bench.keys.get(None), bench.reads), ("cfg", 0))

    def test_aChangedConfigurationKeyMakesTheFileBeReadAgain(self) -> None:
        bench = self.bench(file='{"apiKey@https://ampcode.com/":"one"}')
        self.assertEqual(bench.keys.get(None), "one")
        bench.step({"file": '{"apiKey@https://ampcode.com/":"two"}'})
        bench.step({"config_key": " \t"})
        self.assertEqual((bench.keys.get(None), bench.reads), ("one", 1))
        bench.step({"config_key": "cfg"})
        bench.step({"config_key": ""})
        self.assertEqual((bench.keys.get(None), bench.reads), ("two", 2))

    def test_newClientEntriesLeaveTheFileCacheAlone(self) -> None:
        bench = self.bench(file='{"apiKey@https://ampcode.com/":"one"}')
        bench.keys.get(None)
        bench.step({"client_keys": [{"upstream_api_key": "uk", "api_keys": ["c"]}]})
        self.assertEqual((bench.keys.get(None), bench.keys.get("c"), bench.reads), ("one", "uk", 1))

    def test_theFirstValidEntryOfAClientWinsWithAWarningThatNamesNoKey(self) -> None:
        entries = [
            {"upstream_api_key": " ", "api_keys": ["client-key-1"]},
            {"upstream_api_key": "uk-alpha", "api_keys": ["client-key-1"]},
            {"upstream_api_key": "uk-beta", "api_keys": ["client-key-1"]},
        ]
        bench = self.bench(client_keys=entries)
        self.assertEqual(bench.keys.get("client-key-1"), "uk-alpha")
        self.assertEqual(self.warnings(), 1)
        for text in ("client-key-1", "uk-alpha", "uk-beta"):
            self.assertNotIn(text, self.logged())

    def test_aKeyThatNoHeaderCanCarryIsNone(self) -> None:
        bench = self.bench(env="a\r\nX-Evil: 1", file='{"apiKey@https://ampcode.com/":"a\\r\\nb"}')
        self.assertIsNone(bench.keys.get(None))
        self.assertEqual(self.warnings(), 1)

    def test_hopelessNestingIsMalformed(self) -> None:
        bench = self.bench(file="[" * 100_000)
        self.assertIsNone(bench.keys.get(None))
        self.assertEqual(self.warnings(), 1)

    def test_aByteOrderMarkIsTolerated(self) -> None:
        bench = self.bench(file='\ufeff{"apiKey@https://ampcode.com/":"fil", "other": [1]}')
        self.assertEqual(bench.keys.get(None), "fil")


class Files(SynchronousTestCase):
    """Reading the file itself."""

    def test_aMissingFileIsNone(self) -> None:
        self.assertIsNone(read_secrets_file(Path(self.mktemp()) / "none.json"))

    def test_aFileIsRead(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(b"{}")
        self.assertEqual(read_secrets_file(path), b"{}")
        self.assertIsNone(read_secrets_file(path / "below"))

    def test_aPipeOrAFolderIsRefusedWithoutWaiting(self) -> None:
        path = Path(self.mktemp())
        os.mkfifo(path)
        self.assertRaises(OSError, read_secrets_file, path)
        self.assertRaises(OSError, read_secrets_file, Path("/"))
