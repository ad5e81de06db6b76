"""The configuration file is noticed when it holds still, and a bad one changes nothing."""

from __future__ import annotations

import hashlib
from typing import cast

from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from llmux.config import Config, ConfigError, load_bytes
from llmux.daemon.reload import HALF_WRITTEN_LOOKS, Identity, Reloader, WatchedFile, read

FIRST = b"""\
api-keys: [ck-1]
providers: [{name: local, kind: openai, base-url: 'http://127.0.0.1:9', models: [m]}]
ampcode: {upstream-url: 'http://127.0.0.1:1'}
"""


class FakeFile:
    """A file in memory whose identity changes with every write."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.generation = 0

    def write(self, content: bytes | None) -> None:
        self.content = content
        self.generation += 1

    def identify(self, path: str) -> Identity | None:
        return None if self.content is None else (self.generation, len(self.content), 1, 1)

    def read(self, path: str) -> bytes | None:
        return self.content


class ReadTests(SynchronousTestCase):
    def test_ofAFileThatIsTooLongOnlyTheBeginningIsRead(self) -> None:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.truncate(1 << 40)
        content = read(path)
        assert content is not None
        self.assertLess(len(content), 8 << 20)
        self.assertRaises(ConfigError, load_bytes, content, path, {})

    def test_aFileThatIsNotThereIsNone(self) -> None:
        self.assertIsNone(read(self.mktemp()))


class WatchedFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = FakeFile(b"one\n")
        self.watched = WatchedFile("x.yaml", "", self.file.identify, self.file.read)

    def test_aChangeIsOfferedWhenTwoLooksAgreeAndOnlyOnce(self) -> None:
        self.assertIsNone(self.watched.look())
        self.assertEqual(self.watched.look(), b"one\n")
        self.assertIsNone(self.watched.look())

    def test_aBurstOfWritesIsOneOffer(self) -> None:
        offers = []
        for content in (b"two\n", b"three\n", b"four\n"):
            self.file.write(content)
            offers.append(self.watched.look())
        offers += [self.watched.look(), self.watched.look()]
        self.assertEqual(offers, [None, None, None, b"four\n", None])

    def test_theSameBytesWrittenAgainAreNoOffer(self) -> None:
        self.watched.look()
        self.watched.look()
        self.file.write(b"one\n")
        self.assertEqual([self.watched.look() for _ in range(3)], [None, None, None])

    def test_aTextWithoutALastNewlineHasToHoldStillForLonger(self) -> None:
        self.file.write(b"half")
        looks = [self.watched.look() for _ in range(HALF_WRITTEN_LOOKS + 1)]
        self.assertEqual(looks, [None] * HALF_WRITTEN_LOOKS + [b"half"])

    def test_aMissingFileIsNothingAndItsReturnIsNoticed(self) -> None:
        self.watched.look()
        self.watched.look()
        self.file.write(None)
        self.assertIsNone(self.watched.look())
        self.file.write(b"back\n")
        self.assertEqual([self.watched.look(), self.watched.look()], [None, b"back\n"])

    def test_aFileThatChangedBetweenTheStartAndTheFirstLookIsOffered(self) -> None:
        at_start = hashlib.sha256(b"one\n").hexdigest()
        for now, expected in ((b"one\n", None), (b"two\n", b"two\n")):
            self.file.write(now)
            watched = WatchedFile("x.yaml", at_start, self.file.identify, self.file.read)
            self.assertEqual([watched.look() for _ in range(3)], [None, expected, None])

    def test_aSignalReadsAtOnce(self) -> None:
        self.file.write(b"half")
        self.assertEqual(self.watched.force(), b"half")
        self.assertIsNone(self.watched.force())


class ReloaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.applied: list[Config] = []
        self.file = FakeFile(FIRST)
        watched = WatchedFile("x.yaml", "", self.file.identify, self.file.read)
        first = load_bytes(FIRST, "x.yaml", {})
        self.reloader = Reloader(
            watched, first, lambda content, path: load_bytes(content, path, {}), self.applied.append
        )
        self.events: list[tuple[LogLevel, str]] = []

        def observe(event: LogEvent) -> None:
            if event.get("log_namespace", "").startswith("llmux"):
                self.events.append((event["log_level"], event["log_format"].format(**event)))

        observer = cast(ILogObserver, observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def write(self, content: bytes) -> None:
        self.file.write(content)
        for _ in range(HALF_WRITTEN_LOOKS + 2):
            self.reloader.poll()

    def errors(self) -> list[str]:
        return [text for level, text in self.events if level is LogLevel.error]

    def test_aGoodFileIsAppliedAndItsChangedKeysAreNamedWithoutValues(self) -> None:
        self.write(FIRST.replace(b"ck-1", b"ck-secret"))
        self.assertEqual([config.api_keys[0].reveal() for config in self.applied], ["ck-secret"])
        self.assertIn("changed: api-keys", self.events[-1][1])
        self.assertNotIn("ck-secret", repr(self.events))

    def test_aBrokenFileIsOneErrorAndNoSwitch(self) -> None:
        self.write(b"api-keys: [ {x")
        self.assertEqual(self.applied, [])
        self.assertEqual(len(self.errors()), 1)

    def test_anEmptyFileIsIgnoredSilently(self) -> None:
        self.write(b"")
        self.assertEqual((self.applied, self.events), ([], []))

    def test_aFileThatWouldOpenTheDaemonIsRefused(self) -> None:
        self.write(b"ampcode: {upstream-url: 'http://127.0.0.1:1'}\n")
        self.assertEqual(self.applied, [])
        self.assertIn("api-keys would become empty", self.errors()[0])

    def test_aFileThatServesNothingIsRefused(self) -> None:
        self.write(b"api-keys: [ck-1]\n")
        self.assertEqual(self.applied, [])
        self.assertIn("neither a provider nor an upstream left", self.errors()[0])

    def test_aMissingFileIsOneErrorUntilItReturns(self) -> None:
        self.file.write(None)
        self.reloader.poll()
        self.assertEqual(self.events, [])  # it may be in the middle of being saved
        for _ in range(5):
            self.reloader.poll()
        self.assertEqual(len(self.errors()), 1)
        self.write(FIRST)
        self.file.write(None)
        for _ in range(5):
            self.reloader.poll()
        self.assertEqual(len(self.errors()), 2)

    def test_aFileThatCannotBeReadIsOneError(self) -> None:
        self.reloader._file.read = lambda path: None
        for _ in range(6):
            self.reloader.poll()
        self.assertEqual(len(self.errors()), 1)

    def test_aSignalSaysThatTheFileIsMissing(self) -> None:
        self.file.write(None)
        self.reloader.reload_now()
        self.assertEqual(len(self.errors()), 1)

    def test_aGoodFileAfterABadOneTakesEffect(self) -> None:
        self.write(b"{{{")
        self.write(FIRST.replace(b"127.0.0.1:1", b"127.0.0.1:2"))
        self.assertEqual([config.ampcode.upstream_url for config in self.applied], ["http://127.0.0.1:2"])

    def test_aFailureWhileApplyingIsLoggedAndDoesNotEscape(self) -> None:
        def fail(config: Config) -> None:
            raise RuntimeError("boom")

        self.reloader._apply = fail
        self.write(FIRST.replace(b"ck-1", b"ck-2"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
