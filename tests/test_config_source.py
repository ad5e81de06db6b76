"""Where the configuration comes from, and the files that are shipped."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from llmux.config import Config, ConfigError, EmptyConfig, defaults, find, load_bytes, load_file
from llmux.config.document import Mapping, compose
from llmux.config.loading import _SCHEMA
from llmux.config.model import CreditsPolicy, Limits, ModelEntry, Streaming, Timeouts
from llmux.config.problem import Ledger
from llmux.config.secret import Secret

ETC = Path(__file__).parent.parent / "etc"


class DefaultsTests(SynchronousTestCase):
    def test_withoutKeysThereIsOnlyTheDemo(self) -> None:
        found = defaults({})
        self.assertEqual([entry.name for entry in found.providers], ["demo"])
        self.assertEqual(found.providers[0].models, (ModelEntry("demo"), ModelEntry("demo-*")))
        self.assertEqual((found.listen, found.path), (("tcp:8317:interface=127.0.0.1",), None))
        self.assertIsNone(found.ampcode.upstream_url)

    def test_keysBringTheirProviders(self) -> None:
        found = defaults({"ANTHROPIC_API_KEY": " a\n", "OPENAI_API_KEY": "o", "GEMINI_API_KEY": "g"})
        self.assertEqual(
            [(entry.name, entry.kind, entry.api_keys) for entry in found.providers],
            [
                ("anthropic", "anthropic", (Secret("a"),)),
                ("openai", "openai", (Secret("o"),)),
                ("openai-responses", "openai-responses", (Secret("o"),)),
                ("gemini", "gemini", (Secret("g"),)),
                ("demo", "demo", ()),
            ],
        )

    def test_keysThatCannotBeSentBringNone(self) -> None:
        self.assertEqual(len(defaults({"GEMINI_API_KEY": " ", "OPENAI_API_KEY": "a\nb"}).providers), 1)


class FindTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        (self.home / ".config" / "llmux").mkdir(parents=True)
        (self.home / "xdg" / "llmux").mkdir(parents=True)

    def test_aNamedFileComesFirstWhetherItExistsOrNot(self) -> None:
        self.assertEqual(find({"LLMUX_CONFIG": "/nowhere.yaml", "HOME": str(self.home)}), "/nowhere.yaml")

    def test_theUsualFileIsFoundIfItExists(self) -> None:
        environ = {"HOME": str(self.home), "LLMUX_CONFIG": " "}
        self.assertIsNone(find(environ))
        usual = self.home / ".config" / "llmux" / "llmux.yaml"
        usual.write_text("port: 1\n")
        self.assertEqual(find(environ), str(usual))
        self.assertEqual(find({**environ, "XDG_CONFIG_HOME": "relative"}), str(usual))

    def test_xdgReplacesTheUsualPlace(self) -> None:
        (self.home / ".config" / "llmux" / "llmux.yaml").write_text("port: 1\n")
        environ = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / "xdg")}
        self.assertIsNone(find(environ))
        (self.home / "xdg" / "llmux" / "llmux.yaml").write_text("port: 1\n")
        self.assertEqual(find(environ), str(self.home / "xdg" / "llmux" / "llmux.yaml"))

    def test_withoutAHomeThereIsNone(self) -> None:
        self.assertIsNone(find({}))


class FileTests(SynchronousTestCase):
    def write(self, data: bytes) -> str:
        path = Path(self.mktemp())
        path.write_bytes(data)
        return str(path)

    def test_aFileIsReadWithOrWithoutAMark(self) -> None:
        for data in (b"port: 9\n", b"\xef\xbb\xbfport: 9\n"):
            path = self.write(data)
            found = load_file(path, {})
            self.assertEqual((found.listen, found.path), (("tcp:9:interface=127.0.0.1",), path))

    def test_aFileThatCannotBeReadIsAConfigError(self) -> None:
        folder = self.mktemp()
        Path(folder).mkdir()
        for path in (self.mktemp(), folder, "a\0b"):
            error = self.assertRaises(ConfigError, load_file, path, {})
            self.assertIn(f"{path}:1:1: file: cannot be read: ", str(error))

    def test_anEmptyFileIsAKindOfItsOwn(self) -> None:
        self.assertRaises(EmptyConfig, load_file, self.write(b""), {})
        self.assertRaises(EmptyConfig, load_bytes, b"\n", "f", {})

    def test_otherEncodingsAreRefusedWithAPlace(self) -> None:
        error = self.assertRaises(ConfigError, load_bytes, b"a: 1\nb: \xe9\n", "f", {})
        self.assertEqual(str(error), "llmux: f:2:4: file: is not in UTF-8")


class ShippedFilesTests(SynchronousTestCase):
    def test_theFullExampleLoadsWithoutAnyVariable(self) -> None:
        found = load_file(str(ETC / "llmux.yaml"), {})
        for line in found.warnings:
            self.assertIn("is not set; left out", line)
        self.assertEqual(len(found.providers), 6)

    def test_theFullExampleNamesEveryKeyOfItsOwn(self) -> None:
        root = compose((ETC / "llmux.yaml").read_text(), "f", Ledger("f"))
        others = {"host", "port", "tls", "disable-cooling", "openai-compatibility", "generative-language-api-key"}
        native = {key for key in _SCHEMA if key not in others and not key.startswith("amp-")}
        shown = {key for key in native if not key.endswith("-api-key")}
        # Off unless it names a folder, so that the example can only show it in a comment.
        self.assertEqual(set(root.entries), shown - {"capture"})
        self.assertIn("\n# capture:", (ETC / "llmux.yaml").read_text())
        sections: dict[str, Timeouts | Limits | Streaming] = {
            "timeouts": Timeouts(),
            "limits": Limits(),
            "streaming": Streaming(),
        }
        for section, settings in sections.items():
            node = root.entries[section][1]
            assert isinstance(node, Mapping)
            self.assertEqual(len(node.entries), len(fields(settings)), section)

    def test_theFullExampleShowsTheDefaults(self) -> None:
        found, usual = load_file(str(ETC / "llmux.yaml"), {}), Config()
        for name in (
            "listen",
            "timeouts",
            "limits",
            "streaming",
            "retry",
            "strategy",
            "session_affinity",
            "cooldown_max",
            "cors_origins",
            "removed_betas",
            "translate_strict",
            "translate_reasoning_content",
            "translate_extra_content",
            "usage",
        ):
            self.assertEqual(getattr(found, name), getattr(usual, name), name)

    def test_theAmpExampleLoads(self) -> None:
        found = load_file(str(ETC / "amp.yaml"), {"ANTHROPIC_API_KEY": "k"})
        self.assertEqual(found.warnings, ())
        self.assertEqual(found.ampcode.upstream_url, "https://ampcode.com")
        self.assertEqual(found.ampcode.credits, CreditsPolicy(allow=()))
        self.assertEqual([entry.name for entry in found.providers], ["anthropic"])
