"""Captures hold both sides of a request, no key, and no more bytes than allowed; replay compares them with now."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from llmux.config import ConfigError, load
from llmux.config.model import CaptureConfig, Config
from llmux.daemon.commands.main import main
from llmux.peers.capture import HIDDEN, Capture, Captures, secrets_of
from llmux.wire.origin import Origin
from llmux.wire.outgoing import OutgoingRequest
from tests.running import Daemon, pause
from tests.scripted import ScriptedServer

TEXT = """
listen: tcp:8317:interface=127.0.0.1
api-keys: [client-key-1]
providers:
  - {name: fake, kind: openai, base-url: "http://127.0.0.1:9", api-keys: [provider-key-1], models: ["m*"]}
ampcode: {upstream-url: "http://127.0.0.1:9", upstream-api-key: upstream-key-1, credits: deny}
"""
BODY = b'{"model":"m1","messages":[{"role":"user","content":"my key is client-key-1"}]}'


class InFolder(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="llmux-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.now = 1000.0
        self.captures = Captures(self.in_thread, lambda: self.now)

    def in_thread(self, call: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return succeed(call(*arguments))

    def config(self, **capture: Any) -> Config:
        directory = self.folder / "captures"
        text = TEXT + f"capture: {json.dumps({'directory': str(directory), **capture})}\n"
        return load(text, "llmux.yaml", {})

    def begin(self, model: str = "m1", **capture: Any) -> Capture | None:
        return self.captures.begin(self.config(**capture), model)

    def small(self) -> Capture:
        capture = self.captures.begin(self.config(**{"max-size": 2048}), "m1")
        assert capture is not None
        return capture

    def files(self) -> list[Path]:
        return sorted((self.folder / "captures").glob("*.jsonl"))

    def written(self) -> Path:
        capture = self.begin()
        assert capture is not None
        with capture:
            headers = [(b"Authorization", b"Bearer client-key-1"), (b"X-Note", b"see provider-key-1")]
            capture.client_request(b"POST", b"/v1/chat/completions?key=client-key-1&a=1", headers, BODY)
            capture.note("decision", route="LOCAL_PROVIDER", reason="provider fake serves it")
            self.now += 0.25
            sent = OutgoingRequest(Origin("http", "127.0.0.1", 9), b"POST", b"/v1/chat/completions?a=1", [], BODY)
            capture.provider_request("fake", sent)
            capture.data("client-data", "ü".encode())
        return self.files()[0]


class CaptureTests(InFolder):
    def test_withoutTheSectionOrForOtherModelsNothingIsWritten(self) -> None:
        self.assertIsNone(self.captures.begin(load(TEXT, "x", {}), "m1"))
        self.assertIsNone(self.begin("gpt", models=["m*"]))

    def test_bothSidesAreThereWithTheirTimes(self) -> None:
        records = [json.loads(line) for line in self.written().read_text().splitlines()]
        self.assertEqual(
            [(record["side"], record["ms"]) for record in records],
            [("client-request", 0.0), ("decision", 0.0), ("provider-request", 250.0), ("client-data", 250.0)],
        )
        self.assertEqual(records[3]["data"], "ü")

    def test_noKeyIsInIt(self) -> None:
        text = self.written().read_text()
        for secret in secrets_of(self.config()):
            self.assertNotIn(secret, text)
        self.assertIn(HIDDEN, text)
        self.assertIn("?a=1", text)

    def test_whatIsNamedLikeASecretIsNotInItWhateverItIs(self) -> None:
        capture = self.begin()
        assert capture is not None
        names = (b"Cookie", b"X-Amz-Security-Token", b"X-Client-Secret", b"Proxy-Authorization", b"Api-Key")
        with capture:
            headers = [(name, b"hush-1") for name in names]
            headers += [(b"anthropic-ratelimit-tokens-remaining", b"4000"), (b"x-ratelimit-remaining-tokens", b"5000")]
            target = b"/v1/messages?a=1&access_token=hush-2&X-Amz-Signature=hush-3&session-key=hush-4&b=2"
            capture.client_request(b"POST", target, headers, BODY)
        text = self.files()[0].read_text()
        self.assertNotIn("hush", text)
        for shown in ("4000", "5000", "?a=1&X-Amz-Signature=[redacted]&session-key=[redacted]&b=2"):
            self.assertIn(shown, text)

    def test_aKeyThatComesInPiecesIsNotInItEither(self) -> None:
        capture = self.begin()
        assert capture is not None
        with capture:
            for piece in (b"hi prov", b"ider-k", b"ey-1 there prov"):
                capture.data("provider-data", piece)
            capture.over("provider-data", "provider-end")
            capture.data("client-data", b"client-key")
        records = [json.loads(line) for line in self.files()[0].read_text().splitlines()]
        text = "".join(record["data"] for record in records if record["side"] == "provider-data")
        self.assertEqual(text, f"hi {'*' * 14} there prov")
        self.assertEqual([record["side"] for record in records[-2:]], ["provider-end", "client-data"])
        self.assertEqual(records[-1]["data"], "client-key")

    def test_theFileIsForItsOwnerOnly(self) -> None:
        self.assertEqual(stat.S_IMODE(os.stat(self.written()).st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(os.stat(self.folder / "captures").st_mode), 0o700)

    def test_theOldestGoWhenAllTogetherAreTooLarge(self) -> None:
        for second in range(5):
            self.now = 1000.0 + second
            with self.small() as capture:
                capture.note("x", text="y" * 900)
        self.assertEqual(len(self.files()), 2)

    def test_oneCaptureIsNeverLargerThanAll(self) -> None:
        with self.small() as capture:
            for _ in range(100):
                capture.data("client-data", b"z" * 100)
        self.assertLessEqual(self.files()[0].stat().st_size, 2048)

    def test_aFailureIsSaidOnceAndReachesNoRequest(self) -> None:
        def fail(*arguments: Any) -> Deferred[Any]:
            raise OSError(28, "No space left on device")

        captures = Captures(fail, lambda: 1.0)
        for _ in range(3):
            capture = captures.begin(self.config(), "m1")
            assert capture is not None
            with capture:
                capture.note("x")
        self.assertEqual(self.files(), [])

    def test_theSectionNeedsADirectory(self) -> None:
        self.assertEqual(CaptureConfig("d").models, ("*",))
        problem = self.assertRaises(ConfigError, load, TEXT + "capture: {models: [x]}\n", "x.yaml", {})
        self.assertIn("capture: needs a directory", str(problem))


class ReplayTests(InFolder):
    def replay(self, text: str, *options: str) -> tuple[int, str]:
        path = self.folder / "now.yaml"
        path.write_text(text)
        capture = self.written()
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            status = main(["replay", str(capture), "--config", str(path), *options])
        return status, out.getvalue()

    def test_theSameConfigurationGivesTheSame(self) -> None:
        status, out = self.replay(TEXT, "--json")
        found = json.loads(out)
        self.assertEqual((status, found["changed"]), (0, []))
        self.assertEqual(found["now"]["route"], "LOCAL_PROVIDER")

    def test_noSecretOfTheConfigurationIsTold(self) -> None:
        given = TEXT.replace('models: ["m*"]', 'models: ["m*"], headers: {X-Team: "a-secret-of-the-team"}')
        for options in ((), ("--json",)):
            status, out = self.replay(given, *options)
            self.assertEqual(status, 0)
            self.assertIn("X-Team" if options else "x-team", out)
            self.assertNotIn("a-secret-of-the-team", out)

    def test_aMappingShowsInTheDecisionAndInTheBytes(self) -> None:
        mapped = TEXT.replace(
            "credits: deny", "credits: deny, model-mappings: [{from: m1, to: m2}], force-model-mappings: true"
        )
        status, out = self.replay(mapped)
        self.assertEqual(status, 0)
        self.assertIn("MODEL_MAPPING", out)
        self.assertIn('- "model": "m1",', out)
        self.assertIn('+ "model": "m2",', out)

    def test_whatIsNoCaptureIsOneLine(self) -> None:
        for content in ("", "{}", "[1]", '{"side": "decision"}\n'):
            path = self.folder / "x.jsonl"
            path.write_text(content)
            out = io.StringIO()
            with contextlib.redirect_stderr(out):
                self.assertEqual(main(["replay", str(path), "--config", str(self.config_file())]), 1)
            self.assertEqual(out.getvalue().count("\n"), 1)

    def config_file(self) -> Path:
        path = self.folder / "c.yaml"
        path.write_text(TEXT)
        return path


class EndToEndTests(TestCase):
    timeout = 60.0

    def test_aStreamIsCapturedAsItPassesAndCanBeReplayed(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.stream())

    async def stream(self) -> None:
        event = b'data: {"choices":[{"delta":{"content":"hello"}}]}\n\n'
        provider = ScriptedServer(lambda seen: seen.stream([event, b"data: [DONE]\n\n"]))
        self.addCleanup(provider.stop)
        folder = Path(self.mktemp()).resolve()
        text = f"""
api-keys: [client-key-1]
providers:
  - {{name: fake, kind: openai, base-url: "{provider.url}", api-keys: [provider-key-1], models: ["m*"]}}
capture: {{directory: "{folder}"}}
"""
        daemon = Daemon(text)
        self.addCleanup(daemon.stop)
        await daemon.started()
        await deferToThread(self.ask, daemon.port)
        for _ in range(100):
            if any('"client-end"' in path.read_text() for path in folder.glob("*.jsonl")):
                break
            await pause(0.05)
        (capture,) = folder.glob("*.jsonl")
        sides = [json.loads(line)["side"] for line in capture.read_text().splitlines()]
        self.assertEqual(sides[:4], ["client-request", "decision", "provider-request", "provider-answer"])
        self.assertIn("provider-data", sides)
        self.assertIn("client-data", sides)
        for secret in ("client-key-1", "provider-key-1"):
            self.assertNotIn(secret, capture.read_text())
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            self.assertEqual(main(["replay", str(capture), "--config", str(daemon.config), "--json"]), 0)
        self.assertEqual(json.loads(out.getvalue())["changed"], [])

    def ask(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        body = b'{"model":"m1","stream":true,"messages":[]}'
        connection.request("POST", "/v1/chat/completions", body, {"Authorization": "Bearer client-key-1"})
        answer = connection.getresponse()
        self.assertIn(b"[DONE]", answer.read())
        connection.close()
