"""An explanation is the decision itself: the command, the management plane and the live request say the same."""

from __future__ import annotations

import io
import json
import os
import time
from contextlib import closing, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from llmux.config import load_bytes
from llmux.daemon.commands.explain import router_of
from llmux.daemon.commands.main import main
from llmux.peers.store import opened, state_file
from llmux.routing.decision import RoutingRequest
from llmux.routing.explanation import as_text, explain
from tests.harness import CLIENT_KEY, Harness, configuration
from tests.native_answers import script as well

EXAMPLES = 1000
MODELS = (
    "m-1",
    "m-2",
    "opus-9",
    "claude-x",
    "gpt-x",
    "gemini-x",
    "M-1",
    "m-1(high)",
    "m-1(8192)",
    "opus-9(none)",
    "m-2()",
)
ROUTES = {
    "chat": "/v1/chat/completions",
    "anthropic": "/api/provider/anthropic/v1/messages",
    "responses": "/v1/responses",
    "gemini": "/v1beta/models/{}:generateContent",
}
names = st.sampled_from(MODELS)
patterns = st.sampled_from((*MODELS, "*", "m-*", "*-x", "opus-*"))
entry = st.one_of(
    patterns, st.fixed_dictionaries({"name": names}, optional={"alias": st.sampled_from(("m-1", "opus-9", "short"))})
)
provider = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(("openai", "anthropic", "openai-responses", "gemini", "demo")),
        "api-keys": st.sampled_from((["pk-1"], ["pk-1", "pk-2"], [])),
        "models": st.lists(entry, max_size=3),
    },
    optional={
        "priority": st.integers(-1, 1),
        "weight": st.integers(0, 2),
        "enabled": st.booleans(),
        "excluded-models": st.lists(patterns, max_size=1),
        "protocols": st.lists(st.sampled_from(("anthropic", "chat", "responses", "gemini")), min_size=1, max_size=3),
    },
)
target = st.one_of(
    names,
    st.sampled_from(("m-1:p0", "opus-9:p1", "m-2:nobody")),
    st.fixed_dictionaries({"model": names, "provider": st.sampled_from(("p0", "p1", "p2"))}),
)
rule = st.fixed_dictionaries(
    {
        "from": st.sampled_from((*MODELS, "^m", "opus", "x$", "(")),
        "to": st.one_of(target, st.lists(target, max_size=3)),
    },
    optional={"regex": st.booleans()},
)
credits = st.one_of(
    st.sampled_from(("allow", "deny")),
    st.fixed_dictionaries({}, optional={"allow": st.lists(patterns, max_size=2), "daily-requests": st.integers(0, 1)}),
)
amp = st.fixed_dictionaries(
    {"force-model-mappings": st.booleans(), "model-mappings": st.lists(rule, min_size=2, max_size=6)},
    optional={"upstream-url": st.sampled_from(("http://upstream", "")), "credits": credits},
)
strategies = st.sampled_from(("round-robin", "fill-first", "weighted"))
configurations = st.fixed_dictionaries(
    {"providers": st.lists(provider, min_size=1, max_size=4), "ampcode": amp},
    optional={"routing": st.fixed_dictionaries({"strategy": strategies})},
)


def numbered(config: dict[str, Any]) -> dict[str, Any]:
    """The providers with names and addresses."""
    providers = [
        {"name": f"p{number}", "base-url": "http://provider", **each} for number, each in enumerate(config["providers"])
    ]
    return {**config, "providers": providers}


def questions(count: int) -> list[tuple[dict[str, Any], str, str]]:
    """So many random configurations, each with a model and a format to ask for it."""
    found: list[tuple[dict[str, Any], str, str]] = []

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    @given(configurations, st.sampled_from((*MODELS, "short", "unknown")), st.sampled_from([*ROUTES]))
    def collect(config: dict[str, Any], model: str, protocol: str) -> None:
        found.append((numbered(config), model, protocol))

    collect()
    return found


class Agreement(TestCase):
    """A thousand configurations."""

    timeout = 110

    def setUp(self) -> None:
        self.harness = Harness(self)
        self.harness.server("provider", well)
        self.harness.server("upstream", lambda seen: seen.reply(200, b"{}"))
        self.harness.start({"providers": []}, log_level="error")

    async def live(self, model: str, protocol: str) -> tuple[Any, ...]:
        """What a real request of a client is told: route, provider, model, reason, and the text of a refusal."""
        turn = [{"role": "user", "content": "hi"}]
        body: dict[str, Any] = {"model": model, "messages": turn, "max_tokens": 9}
        if protocol == "responses":
            body = {"model": model, "input": "hi"}
        elif protocol == "gemini":
            body = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
        path = ROUTES[protocol].format(quote(model, safe=""))
        answer = await self.harness.ask("POST", path, [("x-api-key", CLIENT_KEY)], json.dumps(body).encode())
        refusal = answer.json()["error"]["message"] if answer.status == 503 else None
        told = [answer.header(f"x-llmux-{name}") for name in ("route", "provider", "model", "reason")]
        return (answer.status, *told, refusal)

    async def managed(self, model: str, route: str) -> dict[str, Any]:
        """What the running daemon's own explanation says."""
        asked = json.dumps({"model": model, "route": route}).encode()
        headers = [("Host", "localhost"), ("x-api-key", CLIENT_KEY)]
        found: dict[str, Any] = (await self.harness.ask("POST", "/llmux/explain", headers, asked)).json()
        return found

    def commanded(self, model: str, route: str) -> dict[str, Any]:
        """What `llmux explain` says of the file."""
        out = io.StringIO()
        with redirect_stdout(out):
            status = main(["explain", model, "--route", route, "--config", str(self.harness.path), "--json"])
        self.assertEqual(status, 0)
        found: dict[str, Any] = json.loads(out.getvalue())
        return found

    async def test_theCommandTheDaemonAndTheRequestAgree(self) -> None:
        seen: dict[str, int] = {}
        for number, (config, model, protocol) in enumerate(questions(EXAMPLES)):
            content = yaml.safe_dump(configuration(config), sort_keys=False).encode()
            self.harness.path.write_bytes(content)
            self.harness.daemon._apply(load_bytes(content, str(self.harness.path), {}))
            route = ROUTES[protocol].format(quote(model, safe=""))
            what = f"number {number}: {model} at {route}\n{content.decode()}"
            explained = await self.managed(model, route)
            self.assertEqual(self.commanded(model, route), explained, what)
            status, kind, provider, served, reason, refusal = await self.live(model, protocol)
            seen[kind] = seen.get(kind, 0) + 1
            self.assertEqual((kind, reason), (explained["route_type"], explained["reason"]), what)
            first = explained["attempts"][:1]
            if kind in ("LOCAL_PROVIDER", "MODEL_MAPPING"):
                self.assertEqual(status, 200, what)
                weighted = config.get("routing", {}).get("strategy") == "weighted"
                allowed = explained["attempts"] if weighted else first
                self.assertIn((provider, served), [(one["provider"], one["model"]) for one in allowed], what)
                self.assertEqual(first[0]["provider"], explained["provider"], what)
            elif kind == "AMP_CREDITS":
                self.assertEqual((status, provider, served, first), (200, "upstream", model, []), what)
                self.harness.daemon._lasting.credits.refund()
                await self.harness.daemon._store.read("SELECT 1")  # the command reads what is in the file
            else:
                self.assertEqual((status, provider, refusal, first), (503, None, explained["refusal"], []), what)
        self.assertEqual(sum(seen.values()), EXAMPLES)
        self.assertEqual(len(seen), 4, seen)
        self.assertGreater(min(seen.values()), EXAMPLES // 50, seen)


class Counting(SynchronousTestCase):
    """Today's count, which the command reads from the daemon's file."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.config = self.folder / "llmux.yaml"
        self.config.write_text(
            "providers: []\nampcode: {upstream-url: 'https://up.example', credits: {daily-requests: 2}}\n"
        )
        environment = mock.patch.dict(os.environ, {"HOME": str(self.folder), "XDG_STATE_HOME": str(self.folder)})
        environment.start()
        self.addCleanup(environment.stop)
        self.file = state_file(str(self.config), os.environ)

    def spent(self, requests: int, seconds: float) -> None:
        """Put the count of a day into the file."""
        day = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
        with closing(opened(self.file)) as connection:
            connection.execute("INSERT INTO credits VALUES (?, ?)", (day, requests))

    def explained(self) -> tuple[int, str]:
        """What the command prints."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            status = main(["explain", "paid-1", "--config", str(self.config)])
        return status, out.getvalue() + err.getvalue()

    def test_aBudgetThatIsUsedUpIsTold(self) -> None:
        now = time.time()
        self.spent(2, now - 86400)
        self.assertIn("AMP_CREDITS", self.explained()[1])
        self.spent(2, now)
        status, text = self.explained()
        self.assertEqual(status, 0)
        self.assertIn("NO_PROVIDER", text)
        self.assertIn("daily-requests: 2 at llmux.yaml:2 is used up for today", text)

    def test_withoutAFileNothingIsSpentAndNoneIsMade(self) -> None:
        self.assertIn("AMP_CREDITS", self.explained()[1])
        self.assertFalse(self.file.exists())

    def test_aFileWithoutTablesIsADaemonsThatIsJustStarting(self) -> None:
        self.file.parent.mkdir()
        self.file.touch()
        status, text = self.explained()
        self.assertEqual(status, 0, text)
        self.assertIn("AMP_CREDITS", text)

    def test_aFileThatIsNoneIsOneLine(self) -> None:
        self.file.parent.mkdir()
        self.file.write_bytes(b"no database" * 100)
        status, text = self.explained()
        self.assertEqual((status, text.count("\n")), (1, 1))
        self.assertIn(str(self.file), text)
        self.config.write_text("providers: []\n")
        self.assertEqual(self.explained()[0], 0)


OLDER = {"name": "o8", "alias": "big"}


class Texts(SynchronousTestCase):
    """The explanation for people."""

    def text(self, config: dict[str, Any], model: str, protocol: str | None = None) -> str:
        """The lines for a model."""
        loaded = load_bytes(yaml.safe_dump(config, sort_keys=False).encode(), "/etc/llmux.yaml", {})
        request = RoutingRequest(model, protocol, force=loaded.ampcode.force_model_mappings)
        return as_text(explain(router_of(loaded, None), request))

    def test_everyStepIsTold(self) -> None:
        config = {
            "providers": [
                {
                    "name": "own",
                    "kind": "anthropic",
                    "api-keys": ["pk"],
                    "models": ["opus-9", {"name": "o8", "alias": "big"}],
                },
                {"name": "spare", "kind": "openai", "api-keys": ["pk"], "models": ["opus-9"], "priority": 1},
                {"name": "off", "kind": "openai", "api-keys": ["pk"], "models": ["opus-9"], "enabled": False},
            ],
            "ampcode": {"model-mappings": [{"from": "sonnet-9", "to": ["opus-9", "big"]}]},
        }
        text = self.text(config, "sonnet-9(high)", "anthropic")
        for words in (
            "sonnet-9(high), asked in the anthropic format",
            "base sonnet-9, suffix high: level high",
            "does not list it",
            "disabled",
            "tried in this order:",
            "1. opus-9(high) at own (sent as opus-9)",
            "2. opus-9(high) at spare (sent as opus-9, translated)",
            "3. big(high) at own (sent as o8)",
            "MODEL_MAPPING (cost: free): the rule for sonnet-9 at line",
        ):
            self.assertIn(words, text)

    def test_aRefusalNamesTheLineThatWouldPermitIt(self) -> None:
        config = {"providers": [], "ampcode": {"upstream-url": "https://up.example", "credits": {"allow": ["a-*"]}}}
        text = self.text(config, "b-1")
        self.assertIn("ampcode.credits.allow at llmux.yaml:4 does not list it; add b-1 to it", text)
        self.assertIn("NO_PROVIDER (cost: none)", text)

    def test_noNameBreaksALine(self) -> None:
        text = self.text({"providers": []}, "a\nb\x1b[31m")
        self.assertNotIn("\x1b", text)
        self.assertNotIn("\nb", text)
