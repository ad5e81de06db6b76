"""The daemon as a process: what it says when it cannot start, what it logs, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.threads import deferToThread

from tests.end_to_end import EndToEndCase, Paused, RawClient, eventually, request_bytes
from tests.native_answers import anthropic_events
from tests.running import Daemon, free_port
from tests.scripted import Seen

DEMO = "providers: [{name: demo, kind: demo}]\n"
BINARIES = Path(sys.executable).parent
STREAM = json.dumps({"model": "own-1", "stream": True, "max_tokens": 9, "messages": []}).encode()
DEFAULT_PORT = 8317


class StartTests(EndToEndCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")},
            "HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder),
        }

    async def twistd(self, *options: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run twistd until it ends."""
        command = [str(BINARIES / "twistd"), "--pidfile=", "-n", "llmux", *options]
        return await deferToThread(
            subprocess.run,
            command,
            capture_output=True,
            text=True,
            timeout=60,
            env={**self.environment, **more},
            cwd=self.folder,
        )

    def write(self, text: str, name: str = "llmux.yaml") -> str:
        """A configuration file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return str(path.resolve())

    async def refuses(self, *options: str, **more: str) -> str:
        """The one line on stderr with which the daemon does not start."""
        ended = await self.twistd(*options, **more)
        self.assertEqual((ended.returncode, ended.stdout), (1, ""), ended.stderr)
        self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)
        self.assertTrue(ended.stderr.startswith("llmux: "), ended.stderr)
        return ended.stderr.rstrip("\n").removeprefix("llmux: ")

    async def test_aBadConfigurationIsOneLineWithItsPlace(self) -> None:
        for text, place in (
            (f"{DEMO}\napi-kyes: []\n", r":3:1: api-kyes: unknown key.*api-keys"),
            ("providers:\n  - name: a\n    kind: antrhopic\n", r":3:11: providers\[0\]\.kind: .*anthropic"),
            ("listen: tcp:0:interface=0.0.0.0\n" + DEMO, r":1:9: listen: .*without api-keys"),
        ):
            path = self.write(text)
            self.assertRegex(await self.refuses("--config", path), re.escape(path) + place)

    async def test_aMissingConfigurationIsOneLine(self) -> None:
        path = str(self.folder.resolve() / "none.yaml")
        self.assertEqual(
            await self.refuses("--config", path), f"{path}:1:1: file: cannot be read: No such file or directory"
        )
        self.assertIn(path, await self.refuses(LLMUX_CONFIG=path))

    async def test_aBusyPortIsOneLine(self) -> None:
        with socket.socket() as busy:
            busy.bind(("127.0.0.1", 0))
            busy.listen()
            port = busy.getsockname()[1]
            path = self.write(f"listen: tcp:{port}:interface=127.0.0.1\n{DEMO}")
            line = await self.refuses("--config", path)
            self.assertEqual(line, f"cannot listen on 127.0.0.1:{port}: Address already in use")

    async def test_helpAndWrongOptionsAreForPeople(self) -> None:
        told = await self.twistd("--help")
        self.assertEqual(told.returncode, 0)
        self.assertIn("--log-format", told.stdout)
        wrong = await self.twistd("--log-format", "xml")
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn("--log-format is text or json", wrong.stdout + wrong.stderr)

    async def test_withoutAFileTheDefaultsAreLoopbackAndTheProvidersThatHaveKeys(self) -> None:
        daemon = Daemon(None, env={"OPENAI_API_KEY": "canary-1"})
        self.addCleanup(daemon.stop)
        daemon.port = DEFAULT_PORT
        await eventually(lambda: daemon.process.poll() is not None or "llmux listens on" in daemon.log, 30.0)
        if daemon.process.poll() is not None:
            # Somebody else has the default port: the refusal tells as much about the defaults.
            self.assertIn(f"llmux: cannot listen on 127.0.0.1:{DEFAULT_PORT}: ", daemon.log)
            return
        self.assertIn(f"listens on tcp:{DEFAULT_PORT}:interface=127.0.0.1 with openai", daemon.log)
        self.assertIn("demo; configuration: built-in defaults", daemon.log)
        body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": "hi"}]}).encode()
        answer = await self.ask(DEFAULT_PORT, "/v1/chat/completions", body)
        self.assertEqual((answer.status, answer.headers["x-llmux-route"]), (200, "LOCAL_PROVIDER"))
        refused = await self.ask(DEFAULT_PORT, "/v1/messages", b'{"model":"claude-opus-4-7","messages":[]}')
        self.assertEqual(refused.status, 503)
        self.assertEqual((await self.ask(DEFAULT_PORT, "/api/user")).status, 503)

    async def test_theFileIsFoundInTheEnvironmentOrTheXDGFolder(self) -> None:
        for number, place in enumerate(("variable", "xdg")):
            port = free_port()
            text = f"listen: tcp:{port}:interface=127.0.0.1\n{DEMO}"
            name = "elsewhere.yaml" if place == "variable" else f"config{number}/llmux/llmux.yaml"
            path = self.write(text, name)
            env = {"LLMUX_CONFIG": path} if place == "variable" else {"XDG_CONFIG_HOME": str(Path(path).parent.parent)}
            daemon = Daemon(None, env=env)
            self.addCleanup(daemon.stop)
            daemon.port = port
            await daemon.started()
            self.assertIn(f"configuration: {path}", daemon.log)

    async def test_inTheBackgroundItAnswersAndLeavesWithItsPidFile(self) -> None:
        port = free_port()
        path = self.write(f"listen: tcp:{port}:interface=127.0.0.1\n{DEMO}")
        folder = self.folder.resolve()
        pid, log = folder / "pid", folder / "log"
        started = await deferToThread(
            subprocess.run,
            [str(BINARIES / "twistd"), "--pidfile", str(pid), "--logfile", str(log), "llmux", "--config", path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            cwd=folder,
            timeout=60,
        )
        self.assertEqual(started.returncode, 0)
        try:
            await eventually(lambda: pid.exists() and pid.read_text().strip() and log.exists(), what="the pid file")
            self.assertEqual((await self.ask(port, "/healthz")).status, 200)
            self.assertIn("llmux listens on", log.read_text())
        finally:
            os.kill(int(pid.read_text()), signal.SIGTERM)
        await eventually(lambda: not pid.exists(), what="the end of the daemon")


class LogTests(EndToEndCase):
    async def test_everyLineOfAJSONLogIsAnObjectAndDecisionsHaveTheirFields(self) -> None:
        server = self.serve(lambda seen: seen.reply(200, b"{}"))
        daemon = await self.run_daemon(
            f"{DEMO}ampcode:\n  upstream-url: {server.url}\n  credits: {{allow: [paid]}}\n"
            "  model-mappings: [{from: asked, to: demo}]\n",
            "--log-format",
            "json",
            "--log-level",
            "debug",
        )
        for model in ("demo", "asked", "paid", "none", "a\nb"):
            body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}).encode()
            await self.ask(daemon.port, "/v1/chat/completions?key=not-for-logs", body)
        await daemon.stop()
        self.assertEqual(daemon.process.returncode, 0)
        records: list[dict[str, Any]] = [json.loads(line) for line in daemon.log.splitlines()]
        self.assertEqual([record for record in records if not {"time", "level", "message"} <= record.keys()], [])
        routes = [record for record in records if record.get("component") == "amp-routing"]
        self.assertEqual(
            [(record["level"], record["route_type"], record["requested_model"], record["cost"]) for record in routes],
            [
                ("debug", "LOCAL_PROVIDER", "demo", "free"),
                ("info", "MODEL_MAPPING", "asked", "free"),
                ("warn", "AMP_CREDITS", "paid", "amp_credits"),
                ("warn", "NO_PROVIDER", "none", "none"),
                ("warn", "NO_PROVIDER", routes[4]["requested_model"], "none"),
            ],
        )
        self.assertEqual({record["path"] for record in routes}, {"/v1/chat/completions"})
        self.assertEqual(routes[1]["mapping"], "asked -> demo")
        self.assertNotIn("not-for-logs", daemon.log)

    async def test_theReactorIsOurOwnAndSaysSo(self) -> None:
        daemon = await self.run_daemon(DEMO)
        self.assertIn("reactor class: llmux.wire.reactor.StreamReactor", daemon.log)

    async def test_aTextLogHasOneLineARecord(self) -> None:
        daemon = await self.run_daemon(DEMO, "--log-level", "debug")
        await self.ask(daemon.port, "/v1/chat/completions", b'{"model":"x\\ninjected","messages":[]}')
        log = await daemon.until("x")
        await daemon.stop()
        for line in daemon.log.splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info |warn |error) ", log)


class EndTests(EndToEndCase):
    async def begin(self, drain: float) -> tuple[Daemon, RawClient, Seen, list[bytes]]:
        """A daemon with a stream under way."""
        paused = Paused()
        server = self.serve(paused)
        daemon = await self.run_daemon(
            f"providers: [{{name: own, kind: anthropic, base-url: '{server.url}', api-keys: [k], models: [own-1]}}]\n"
            f"timeouts: {{drain: {drain}}}\n"
        )
        client = await self.connect(daemon.port, request_bytes("/v1/messages", STREAM))
        seen = await paused.next()
        seen.begin_stream()
        events = list(anthropic_events("own-1"))
        seen.chunk(events[0])
        await client.until(b"message_start")
        return daemon, client, seen, events[1:]

    async def gone(self, seen: Seen) -> None:
        """Wait until the provider's connection is closed."""
        await eventually(lambda: seen.gone.called, what="the end of the provider's connection")

    async def refused(self, daemon: Daemon) -> None:
        """Wait until nobody listens any more."""

        def knocks() -> bool:
            try:
                socket.create_connection(("127.0.0.1", daemon.port), 5).close()
            except ConnectionRefusedError:
                return True
            return False

        await eventually(knocks, what="the end of listening")

    async def test_streamsFinishAndTheStatusIsZero(self) -> None:
        daemon, client, seen, events = await self.begin(drain=30)
        idle = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=20)
        self.addCleanup(idle.close)

        def use() -> int:
            idle.request("GET", "/readyz")
            response = idle.getresponse()
            response.read()
            return response.status

        self.assertEqual(await deferToThread(use), 200)
        daemon.process.send_signal(signal.SIGTERM)
        await self.refused(daemon)
        await self.assertFailure(deferToThread(use), http.client.RemoteDisconnected, ConnectionError)
        self.assertIsNone(daemon.process.poll())
        for event in events:
            seen.chunk(event)
        seen.end_stream()
        await client.end("the stream")
        self.assertTrue(client.data.endswith(b"0\r\n\r\n"))
        self.assertIn(b"message_stop", client.data)
        self.assertEqual(await daemon.ended(), 0)
        self.assertNotIn("were cut", daemon.log)

    async def test_aStreamThatOutlastsTheDrainIsCutAndTheStatusTells(self) -> None:
        daemon, client, seen, _ = await self.begin(drain=0.3)
        daemon.process.send_signal(signal.SIGTERM)
        self.assertNotEqual(await daemon.ended(), 0)
        await client.end("the stream")
        self.assertFalse(client.data.endswith(b"0\r\n\r\n"))
        await self.gone(seen)
        self.assertIn("1 requests were cut after the drain time", daemon.log)

    async def test_aSecondSignalCutsAtOnce(self) -> None:
        daemon, client, seen, _ = await self.begin(drain=60)
        daemon.process.send_signal(signal.SIGTERM)
        await self.refused(daemon)
        daemon.process.send_signal(signal.SIGINT)
        self.assertNotEqual(await daemon.ended(10), 0)
        await client.end("the stream")
        self.assertFalse(client.data.endswith(b"0\r\n\r\n"))
        self.assertIn("1 requests were cut by a second signal", daemon.log)
        await self.gone(seen)

    async def test_withNothingToDoItEndsAtOnce(self) -> None:
        daemon = await self.run_daemon(DEMO)
        client = await self.connect(daemon.port, request_bytes("/healthz", method="GET"))
        await client.until(b'"status":"ok"')
        daemon.process.send_signal(signal.SIGINT)
        self.assertEqual(await daemon.ended(5), 0)
        self.assertIsInstance((await client.end("an idle connection")).value, ConnectionDone)
