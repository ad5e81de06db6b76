"""The `llmux` command, run in this process: its tables, its JSON, its exit status, and what it asks a daemon."""

from __future__ import annotations

import io
import json
import os
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from llmux.daemon.commands.main import main
from llmux.daemon.commands.printing import columns, duration
from llmux.web.routes import ROUTES, UNMATCHED, table
from tests.harness import CLIENT_KEY, Harness, provider

CONFIG = """\
api-keys: [ck-1]
providers:
  - {name: own, kind: anthropic, base-url: 'https://own.example', api-keys: [pk-1], models: [opus-9, "haiku-*"]}
ampcode:
  upstream-url: https://up.example
  model-mappings: [{from: sonnet-9, to: opus-9}]
"""
GEMINI_KEY = {"selectedType": "gemini-api-key"}


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


def run(*arguments: str) -> Ended:
    """Run one command without the environment's own configuration."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, {"HOME": "/nowhere"}), redirect_stdout(out), redirect_stderr(err):
        for name in ("LLMUX_CONFIG", "LLMUX_KEY", "XDG_CONFIG_HOME", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
            os.environ.pop(name, None)
        try:
            status = main(arguments)
        except SystemExit as ended:
            status = int(ended.code or 0)
    return Ended(status, out.getvalue(), err.getvalue())


class RoutesTests(SynchronousTestCase):
    def test_everyRouteIsOneLineBelowAHeader(self) -> None:
        ended = run("routes")
        lines = ended.out.splitlines()
        self.assertEqual((ended.status, ended.err), (0, ""))
        self.assertEqual(lines[0].split(), ["methods", "path", "class", "client", "key", "handler"])
        self.assertEqual(len(lines), 1 + len(ROUTES) + 1)
        (messages,) = [line.split() for line in lines if line.split()[1] == "/v1/messages"]
        self.assertEqual(messages, ["POST", "/v1/messages", "model", "required", "anthropic.messages"])
        self.assertEqual(lines[-1].split(), ["any", UNMATCHED.pattern, "passthrough", "required", UNMATCHED.handler])

    def test_programsGetJSON(self) -> None:
        found = run("routes", "--json").json()
        self.assertEqual([tuple(row.values()) for row in found], table())
        self.assertEqual(set(found[0]), {"methods", "path", "class", "client key", "handler"})

    def test_columnsAreAligned(self) -> None:
        self.assertEqual(list(columns([("a", "bb"), ("ccc", "d")])), ["a    bb", "ccc  d"])


class LineTests(SynchronousTestCase):
    def test_wrongUseIsStatus2WithTheUsage(self) -> None:
        for arguments in ((), ("fly",), ("routes", "extra"), ("env", "emacs")):
            ended = run(*arguments)
            self.assertEqual((ended.status, ended.out), (2, ""), arguments)
            self.assertIn("usage: llmux", ended.err)

    def test_itKnowsItsVersion(self) -> None:
        self.assertRegex(run("--version").out, r"^llmux \d+\.\d+")

    def test_durationsHaveAtMostTwoUnits(self) -> None:
        said = [duration(seconds) for seconds in (0.4, 59, 60, 3725, 86400, 90000)]
        self.assertEqual(said, ["0s", "59s", "1m", "1h 2m", "1d", "1d 1h"])


class ConfigurationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text(CONFIG)
        self.path.chmod(0o600)

    def test_checkNamesEveryProblemWithItsPlace(self) -> None:
        self.path.write_text("api-keys: [ck-1]\nprovidrs: []\nampcode: {upstream-url: nope}\n")
        ended = run("check", str(self.path))
        self.assertEqual(ended.status, 1)
        for said in (":2:1: providrs: ", ":3:25: ampcode.upstream-url: ", "2 errors, 0 warnings"):
            self.assertIn(said, ended.out)

    def test_checkWarnsOfCreditsThatNobodyWroteDown(self) -> None:
        ended = run("check", "--json", str(self.path))
        self.assertEqual(ended.status, 0)
        (warning,) = ended.json()["warnings"]
        self.assertIn("ampcode.credits is not written down", warning)

    def test_checkWarnsOfLiteralKeysThatOthersCanRead(self) -> None:
        permitted = CONFIG.replace("ampcode:\n", "ampcode:\n  credits: deny\n")
        named = permitted.replace("[ck-1]", "['${ITS_KEY}']").replace("[pk-1]", "[os.environ/ITS_KEY]")
        for text, mode, warned in (
            (permitted, 0o644, True),
            (permitted, 0o640, True),
            (permitted, 0o600, False),
            (named, 0o644, False),
            (named.replace("kind: anthropic", "kind: anthropic, headers: {X-A: sk-proj-0123456789}"), 0o644, True),
        ):
            self.path.write_text(text)
            self.path.chmod(mode)
            with mock.patch.dict(os.environ, {"ITS_KEY": "a-key-of-its-own"}):
                ended = run("check", str(self.path))
            self.assertEqual("holds literal keys" in ended.out, warned, text)

    def test_checkReadsThePricesToo(self) -> None:
        prices = self.path.with_name(self.path.name + "-prices")
        self.path.write_text(CONFIG + f"  credits: deny\nusage: {{prices: {prices.name}}}\n")
        self.assertIn(f"{prices.name}: No such file", run("check", str(self.path)).out)
        prices.write_text("currency: EUR\nmodels: [{model: x, input: -1, output: 1}, {input: 1}]\n")
        ended = run("check", str(self.path))
        self.assertEqual(ended.status, 0)
        for said in ("models[0].input", "models[1].model"):
            self.assertIn(said, ended.out)
        prices.write_text("currency: EUR\nmodels: []\n")
        self.assertIn("all is well", run("check", str(self.path)).out)

    def test_aModelWithoutANameIsWrongUse(self) -> None:
        for model in ("", " "):
            ended = run("explain", model, "-c", str(self.path))
            self.assertEqual((ended.status, ended.out), (2, ""))

    def test_whatIsNoAddressOrNoKeyIsOneLine(self) -> None:
        for wrong in (
            ("--url", "http://127.0.0.1:abc"),
            ("--url", "http://127.0.0.1:99999"),
            ("--url", "http://[::1"),
            ("--url", "https://127.0.0.1:1"),
            ("--url", "http://127.0.0.1:1", "--client-key", "a\nb"),
            ("--url", "http://127.0.0.1:1", "--client-key", "k\u2014y"),
        ):
            ended = run("status", "-c", str(self.path), *wrong)
            self.assertEqual((ended.status, ended.out, ended.err.count("\n")), (1, "", 1), ended.err)
            self.assertTrue(ended.err.startswith("llmux: "), ended.err)

    def test_explainSaysWhatTheRouterWouldDo(self) -> None:
        for model, route in (("opus-9", "LOCAL_PROVIDER"), ("sonnet-9(high)", "MODEL_MAPPING"), ("x", "AMP_CREDITS")):
            ended = run("explain", model, "--json", "-c", str(self.path))
            self.assertIn(route, ended.out)
        self.assertIn("opus-9(high)", run("explain", "sonnet-9(high)", "-c", str(self.path)).out)

    def test_explainRefusesAKeyThatIsNone(self) -> None:
        ended = run("explain", "opus-9", "-c", str(self.path), "--client-key", "ck-wrong")
        self.assertEqual((ended.status, ended.out), (1, ""))

    def test_modelsAreNamesAndPatterns(self) -> None:
        found = run("models", "--json", "-c", str(self.path)).json()
        self.assertEqual(found, [{"model": name, "providers": ["own"]} for name in ("opus-9", "haiku-*")])

    def test_theLinesForAClientCanBeSourced(self) -> None:
        out = run("env", "claude", "-c", str(self.path)).out
        self.assertIn("export ANTHROPIC_BASE_URL=http://127.0.0.1:8317\n", out)
        self.assertIn("export ANTHROPIC_API_KEY=ck-1\n", out)

    def test_programsGetWhatPeopleGetForAClient(self) -> None:
        found = run("env", "codex", "--json", "-c", str(self.path), "--url", "http://127.0.0.1:9/").json()
        self.assertEqual(found["variables"], {"LLMUX_KEY": "ck-1"})
        text = found["files"]["~/.codex/config.toml"]
        self.assertEqual(tomllib.loads(text)["model_providers"]["llmux"]["base_url"], "http://127.0.0.1:9/v1")
        found = run("env", "gemini", "--json", "-c", str(self.path)).json()
        self.assertEqual(json.loads(found["files"]["~/.gemini/settings.json"])["security"]["auth"], GEMINI_KEY)
        self.assertEqual(run("env", "openai", "--json", "-c", str(self.path)).json()["files"], {})
        for line in run("env", "codex", "-c", str(self.path)).out.splitlines():
            self.assertTrue(line.startswith(("export ", "# ")), line)

    def test_aFileThatCannotBeReadIsOneLine(self) -> None:
        ended = run("models", "-c", str(self.path) + ".none")
        self.assertEqual((ended.status, ended.out, ended.err.count("\n")), (1, "", 1))


class AskingTests(TestCase):
    """Commands that ask a running daemon."""

    timeout = 20

    def setUp(self) -> None:
        self.harness = Harness(self)
        local = self.harness.server("local")
        self.harness.start({"upstream-url": "http://up-a", "providers": [provider(local, "gpt-9")]})

    async def ask(self, *arguments: str, key: str = CLIENT_KEY) -> Ended:
        url = f"http://127.0.0.1:{self.harness.port}"
        return await deferToThread(run, *arguments, "--url", url, "--client-key", key)

    async def test_theStatusIsTheDaemonsOwn(self) -> None:
        ended = await self.ask("status", "--json")
        self.assertEqual(ended.status, 0, ended.err)
        self.assertIn("local", ended.out)

    async def test_theDecisionIsTheDaemonsOwn(self) -> None:
        ended = await self.ask("explain", "gpt-9", "--live", "--route", "/v1/chat/completions")
        self.assertEqual(ended.status, 0, ended.err)
        self.assertIn("LOCAL_PROVIDER", ended.out)

    async def test_aWrongKeyAndASilentAddressAreOneLine(self) -> None:
        wrong = await self.ask("status", key="ck-wrong")
        self.assertEqual((wrong.status, wrong.err.count("\n")), (1, 1))
        self.assertIn("401", wrong.err)
        port = self.harness.port
        await self.harness.stop()
        ended = await deferToThread(run, "status", "--url", f"http://127.0.0.1:{port}", "--client-key", "x")
        self.assertEqual((ended.status, ended.err.count("\n")), (1, 1))
