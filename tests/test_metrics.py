"""Metrics: what is counted, that it stays bounded, and that docs and dashboard name nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from twisted.trial.unittest import SynchronousTestCase, TestCase

from llmux.formats.events import Usage
from llmux.web.metrics import Snapshot, States, page
from llmux.web.tally import MOST_MODELS, MOST_UNSERVED, Histogram, Tally
from tests.conversation import Answer
from tests.harness import CLIENT_KEY, Harness, provider
from tests.running import pause
from tests.scripted import Seen

ROOT = Path(__file__).parent.parent
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
FULL = States(
    generation=3,
    credits_left=7,
    cooldowns=(("own", "quota"), ("own", "quota"), ("own", "timeout")),
    failed_tries={("own", "503"): 2},
    upstream_open=5,
    upstream_idle=2,
)
LABELS = ("route_type", "provider", "model", "outcome", "status", "type", "reason", "state", "le")
KEY = ("X-Api-Key", CLIENT_KEY)
LOCAL = ("Host", "127.0.0.1:8317")
CHAT = "/v1/chat/completions"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def add(tally: Tally, model: str = "opus-9", status: int = 200, **more: Any) -> None:
    given: dict[str, Any] = {"aborted": False, "duration": 2.0, "first_byte": 0.5, "usage": None, **more}
    tally.add("LOCAL_PROVIDER", "own", model, status, **given)


def filled() -> Tally:
    tally = Tally()
    add(tally, usage=Usage(input=10, cache_read=4, output=3, reasoning=1))
    add(tally, status=502, first_byte=None, aborted=True)
    tally.overhead.observe(0.0002)
    tally.stream("own", 0.02, 3)
    tally.passed_on("answered", 200)
    return tally


def part_of_it(seen: Seen) -> None:
    """Answer less than was announced."""
    seen.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart")
    seen.close()


def scraped(tally: Tally, states: States = FULL, accept: str = "") -> dict[str, Metric]:
    kind, body = page(Snapshot(tally, states), accept)
    parse = openmetrics if kind.startswith("application/openmetrics") else plain
    return {metric.name: metric for metric in parse(body.decode())}


def values(metric: Metric) -> dict[tuple[str, ...], float]:
    """Samples by suffix and label values, these in the order of `LABELS`."""
    return {
        (sample.name.removeprefix(metric.name), *(sample.labels[name] for name in LABELS if name in sample.labels)): (
            sample.value
        )
        for sample in metric.samples
    }


class HistogramTests(SynchronousTestCase):
    def test_aValueCountsWhereItsBoundIs(self) -> None:
        histogram = Histogram((1.0, 2.0))
        for value in (0.5, 1.0, 1.5, 2.0, 9.0):
            histogram.observe(value)
        self.assertEqual((histogram.counts, histogram.sum), ([2, 2, 1], 14.0))

    def test_bucketsAreCumulative(self) -> None:
        found = values(scraped(filled())["llmux_request_duration_seconds"])
        self.assertEqual(found["_bucket", "own", "opus-9", "1.0"], 0)
        self.assertEqual(found["_bucket", "own", "opus-9", "2.5"], 2)
        self.assertEqual(found["_bucket", "own", "opus-9", "+Inf"], 2)
        self.assertEqual((found["_count", "own", "opus-9"], found["_sum", "own", "opus-9"]), (2, 4.0))


class PageTests(SynchronousTestCase):
    def test_everythingThatWasCountedIsThere(self) -> None:
        found = scraped(filled())
        self.assertEqual(
            values(found["llmux_requests"]),
            {
                ("_total", "LOCAL_PROVIDER", "own", "opus-9", "200"): 1,
                ("_total", "LOCAL_PROVIDER", "own", "opus-9", "502"): 1,
            },
        )
        tokens = {labels[-1]: value for labels, value in values(found["llmux_tokens"]).items()}
        self.assertEqual(tokens, {"input": 10, "cached": 4, "output": 3, "reasoning": 1})
        self.assertEqual(values(found["llmux_client_aborts"]), {("_total",): 1})
        self.assertEqual(values(found["llmux_time_to_first_byte_seconds"])["_count", "own", "opus-9"], 1)
        self.assertEqual(values(found["llmux_overhead_seconds"])["_bucket", "0.00025"], 1)
        self.assertEqual(values(found["llmux_stream_event_gap_seconds"])["_bucket", "own", "0.025"], 1)
        self.assertEqual(values(found["llmux_stream_silence_seconds"])["_sum", "own"], 3)

    def test_statesAreThoseOfTheScrape(self) -> None:
        found = scraped(Tally())
        self.assertEqual(values(found["llmux_cooldowns"]), {("", "own", "quota"): 2, ("", "own", "timeout"): 1})
        self.assertEqual(values(found["llmux_upstream_connections"]), {("", "idle"): 2, ("", "active"): 3})
        self.assertEqual(values(found["llmux_failed_tries"]), {("_total", "own", "503"): 2})
        self.assertEqual(values(found["llmux_config_generation"]), {("",): 3})
        self.assertEqual(values(found["llmux_credits_left_today"]), {("",): 7})
        self.assertNotIn("llmux_credits_left_today", scraped(Tally(), States()))

    def test_openMetricsIsThereForWhoeverAsks(self) -> None:
        found = {name: values(metric) for name, metric in scraped(filled(), accept=OPENMETRICS).items()}
        usual = {name: values(metric) for name, metric in scraped(filled()).items()}
        for name in ("llmux_requests", "llmux_overhead_seconds", "llmux_cooldowns"):
            self.assertEqual(found[name], usual[name])
        self.assertEqual(len(found), len(usual))

    def test_aCopyIsAsOldAsItsScrape(self) -> None:
        tally = filled()
        snapshot = Snapshot(tally, FULL)
        before = page(snapshot, "")[1].split(b"# HELP process")[0]
        add(tally, usage=Usage(input=1))
        tally.overhead.observe(1.0)
        tally.stream("own", 1, 1)
        self.assertEqual(page(snapshot, "")[1].split(b"# HELP process")[0], before)

    def test_namesOfModelsCannotGrowThePage(self) -> None:
        tally = Tally()
        for number in range(2 * MOST_MODELS):
            add(tally, f"made-up-{number}", 404)
        for number in range(2 * MOST_MODELS):
            add(tally, f"served-{number}")
        for status in range(1, 1000):
            add(tally, "served-1", status)
        add(tally, 'quote"\n\ud800')
        requests = values(scraped(tally)["llmux_requests"])
        models = {labels[3] for labels in requests}
        self.assertEqual(len(models), MOST_MODELS + MOST_UNSERVED + 1)
        self.assertIn("other", models)
        self.assertLess(len({labels[4] for labels in requests}), 502)
        self.assertEqual(sum(requests.values()), 4 * MOST_MODELS + 1000)


class NamingTests(SynchronousTestCase):
    """Documentation and dashboard against what is emitted."""

    def test_theDocumentationIsAboutWhatIsEmitted(self) -> None:
        emitted = {}
        for metric in scraped(filled()).values():
            labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
            name = metric.name + "_total" if metric.type == "counter" else metric.name
            emitted[name] = (metric.type, labels)
        documented = {}
        for line in (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines():
            cells = [cell.strip() for cell in line.strip("|").split(" |")]
            if len(cells) == 5 and cells[0].startswith("`"):
                documented[cells[0].strip("`")] = (cells[1], set(re.findall(r"`(\w+)`", cells[2])))
        self.assertEqual(documented, emitted)

    def test_everyNameFollowsTheConventions(self) -> None:
        for metric in scraped(filled()).values():
            self.assertRegex(metric.name, r"^(llmux|process)(_[a-z]+)+$")
            self.assertTrue(metric.documentation, metric.name)
            self.assertNotRegex(metric.name, r"_(count|sum|bucket|total|milliseconds|ms)$")

    def test_theDashboardAsksForWhatIsEmitted(self) -> None:
        dashboard = json.loads((ROOT / "etc" / "grafana.json").read_text(encoding="utf-8"))
        known: dict[str, set[str]] = {}
        for metric in scraped(filled()).values():
            for sample in metric.samples:
                known.setdefault(sample.name, {"instance"}).update(sample.labels)
        used = set()
        for expression in expressions(dashboard):
            names = set(re.findall(r"\b(?:llmux|process)_\w+", expression))
            self.assertTrue(names, expression)
            labels = set(re.findall(r"(\w+)(?:=~|!~|!=|=)\"", expression))
            for group in re.findall(r"by \(([^)]*)\)", expression):
                labels |= set(re.split(r",\s*", group))
            for name in names:
                self.assertIn(name, known, expression)
                self.assertLessEqual(labels, known[name], expression)
            used |= {re.sub(r"_(total|bucket)$", "", name) for name in names}
        unused = {name for name in scraped(filled()) if name.startswith("llmux") and name not in used}
        self.assertEqual(unused, {"llmux_build_info"})

    def test_panelsDoNotOverlap(self) -> None:
        dashboard = json.loads((ROOT / "etc" / "grafana.json").read_text(encoding="utf-8"))
        taken: set[tuple[int, int]] = set()
        ids = set()
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertFalse(taken & cells, panel["title"])
            self.assertLessEqual(place["x"] + place["w"], 24)
            taken |= cells
            ids.add(panel["id"])
        self.assertEqual(len(ids), len(dashboard["panels"]))


def expressions(node: Any) -> list[str]:
    """Every query of a dashboard."""
    if isinstance(node, dict):
        own = [node["expr"]] if isinstance(node.get("expr"), str) else []
        return own + [found for value in node.values() for found in expressions(value)]
    return [found for value in node for found in expressions(value)] if isinstance(node, list) else []


class RouteTests(TestCase):
    """The assembled daemon."""

    timeout = 20

    def setUp(self) -> None:
        self.harness = Harness(self)
        self.script: Any = lambda seen: seen.reply(200, b'{"usage":{"prompt_tokens":5,"completion_tokens":2}}')
        self.local = self.harness.server("local", lambda seen: self.script(seen))

    def start(self, **config: Any) -> None:
        self.harness.start({"providers": [provider(self.local, "gpt-9", "gpt-8")], **config})

    async def chat(self, model: str = "gpt-9", **more: Any) -> Answer:
        return await self.harness.ask("POST", CHAT, [KEY], json.dumps({"model": model, **more}).encode())

    async def metrics(self, *headers: tuple[str, str]) -> dict[str, Metric]:
        answer = await self.harness.ask("GET", "/metrics", [KEY, LOCAL, *headers])
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.header("cache-control"), "no-store")
        return {metric.name: metric for metric in plain(answer.body.decode())}

    async def test_itIsBehindTheGuardOfTheManagementPlane(self) -> None:
        self.start()
        for headers, status in (
            ([LOCAL], 401),
            ([], 403),
            ([KEY], 200),
            ([KEY, LOCAL], 200),
            ([("X-Api-Key", "x"), LOCAL], 401),
        ):
            answer = await self.harness.ask("GET", "/metrics", headers)
            self.assertEqual(answer.status, status, headers)
        answer = await self.harness.ask("POST", "/metrics", [KEY, LOCAL], b"")
        self.assertEqual(answer.status, 405)

    async def test_requestsAreCountedByWhatBecameOfThem(self) -> None:
        self.start()
        await self.chat()
        await self.chat("unknown-1")
        self.script = lambda seen: seen.reply(429, b'{"error":{"message":"slow down"}}')
        await self.chat("gpt-8")
        self.script = lambda seen: seen.cut()
        await self.chat("gpt-8")
        found = await self.metrics()
        self.assertEqual(
            values(found["llmux_requests"]),
            {
                ("_total", "LOCAL_PROVIDER", "local", "gpt-9", "200"): 1,
                ("_total", "NO_PROVIDER", "", "unknown-1", "503"): 1,
                ("_total", "LOCAL_PROVIDER", "local", "gpt-8", "429"): 1,
                ("_total", "LOCAL_PROVIDER", "local", "gpt-8", "502"): 1,
            },
        )
        self.assertEqual(values(found["llmux_tokens"])["_total", "local", "gpt-9", "input"], 5)
        self.assertEqual(values(found["llmux_failed_tries"])["_total", "local", "429"], 1)
        self.assertEqual(sum(values(found["llmux_cooldowns"]).values()), 1)
        self.assertEqual(values(found["llmux_time_to_first_byte_seconds"])["_count", "local", "gpt-9"], 1)
        self.assertEqual(values(found["llmux_overhead_seconds"])["_count",], 2)

    async def test_ownTimeIsWhatIsNotWaitedForProviders(self) -> None:
        self.start()
        pending: list[Seen] = []
        self.script = pending.append
        client = self.harness.client()
        client.ask("POST", CHAT, [KEY], b'{"model":"gpt-9"}')
        await self.harness.settled(lambda: bool(pending))
        await pause(0.3)
        pending[0].reply(200, b"{}")
        await client.answer()
        client.leave()
        found = await self.metrics()
        self.assertGreater(values(found["llmux_request_duration_seconds"])["_sum", "local", "gpt-9"], 0.29)
        self.assertLess(values(found["llmux_overhead_seconds"])["_sum",], 0.2)

    async def test_openStreamsAndThoseThatWereCutAreSeen(self) -> None:
        self.start()
        pending: list[Seen] = []
        self.script = pending.append
        client = self.harness.client()
        client.ask("POST", CHAT, [KEY], b'{"model":"gpt-9","stream":true}')
        await self.harness.settled(lambda: bool(pending))
        pending[0].begin_stream()
        pending[0].chunk(b'data: {"choices":[]}\n\n')
        await self.harness.settled(lambda: self.harness.daemon.face.models.watch.open == 1)
        found = await self.metrics()
        self.assertEqual(values(found["llmux_open_streams"]), {("",): 1})
        self.assertEqual(values(found["llmux_open_requests"]), {("",): 2})
        self.assertEqual(values(found["llmux_upstream_connections"]), {("", "idle"): 0, ("", "active"): 1})
        pending[0].cut()
        await self.harness.settled(lambda: self.harness.daemon.face.models.watch.open == 0)
        found = await self.metrics()
        self.assertEqual(values(found["llmux_open_streams"]), {("",): 0})
        self.assertEqual(values(found["llmux_streams_cut"]), {("_total",): 1})
        client.leave()

    async def test_aClientThatLeavesIsNoError(self) -> None:
        self.start()
        pending: list[Seen] = []
        self.script = pending.append
        client = self.harness.client()
        client.ask("POST", CHAT, [KEY], b'{"model":"gpt-9"}')
        await self.harness.settled(lambda: bool(pending))
        client.leave()
        await self.harness.settled(lambda: not self.harness.daemon.server.busy)
        found = await self.metrics()
        self.assertEqual(values(found["llmux_requests"]), {("_total", "LOCAL_PROVIDER", "local", "gpt-9", "499"): 1})
        self.assertEqual(values(found["llmux_client_aborts"]), {("_total",): 1})

    async def test_passthroughIsCountedByWhatBecameOfIt(self) -> None:
        up = self.harness.server("up", lambda seen: seen.reply(404, b"no such thread"))
        self.start(**{"upstream-url": "http://up"})
        await self.harness.ask("GET", "/api/threads/1", [KEY])
        await self.harness.ask("GET", "/api/threads/1", [KEY])
        await self.harness.ask("GET", "/api/threads/1", [])
        up.script = lambda seen: seen.cut()
        await self.harness.ask("GET", "/api/user", [KEY])
        up.script = part_of_it
        await self.harness.ask("GET", "/api/user", [KEY])
        pending: list[Seen] = []
        up.script = pending.append
        client = self.harness.client()
        client.ask("GET", "/api/user", [KEY])
        await self.harness.settled(lambda: bool(pending))
        client.leave()
        await self.harness.settled(lambda: not self.harness.daemon.server.busy)
        found = await self.metrics()
        self.assertEqual(
            values(found["llmux_passthrough_requests"]),
            {
                ("_total", "answered", "404"): 2,
                ("_total", "refused", "401"): 1,
                ("_total", "failed", "502"): 1,
                ("_total", "cut", "200"): 1,
                ("_total", "left", "499"): 1,
            },
        )

    async def test_aTunnelIsCountedWhenItIsOver(self) -> None:
        up = self.harness.server("up", lambda seen: seen.write(SWITCHED))
        self.start(**{"upstream-url": "http://up"})
        client = self.harness.client()
        client.ask("GET", "/actors/x", [KEY, ("Connection", "Upgrade"), ("Upgrade", "websocket")])
        await self.harness.settled(lambda: self.harness.daemon.face._passthrough.tunnels == 1)
        self.assertEqual(values((await self.metrics())["llmux_passthrough_requests"]), {})
        client.leave()
        await self.harness.settled(lambda: self.harness.daemon.face._passthrough.tunnels == 0)
        self.assertEqual(len(up.requests), 1)
        found = await self.metrics()
        self.assertEqual(values(found["llmux_passthrough_requests"]), {("_total", "tunnel", "101"): 1})

    async def test_whatCannotBeCountedIsAnsweredAllTheSame(self) -> None:
        self.start()
        self.patch(Tally, "add", None)
        self.assertEqual((await self.chat()).status, 200)
        self.assertEqual((await self.chat("unknown-1")).status, 503)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)

    async def test_aReloadIsSeen(self) -> None:
        self.start()
        self.harness.save({"providers": [provider(self.local, "gpt-7")]})
        self.harness.look()
        self.assertEqual(values((await self.metrics())["llmux_config_generation"]), {("",): 2})

    async def test_countingQuestionsAreRequestsWithoutTokens(self) -> None:
        self.script = lambda seen: seen.reply(200, b'{"input_tokens":17}')
        self.start(providers=[provider(self.local, "opus-9", kind="anthropic")])
        answer = await self.harness.ask("POST", "/v1/messages/count_tokens", [KEY], b'{"model":"opus-9"}')
        self.assertEqual(answer.json(), {"input_tokens": 17})
        found = await self.metrics()
        self.assertEqual(len(values(found["llmux_requests"])), 1)
        self.assertEqual(set(values(found["llmux_tokens"]).values()), {0})
        ledger = self.harness.daemon._lasting.ledger
        assert ledger is not None
        self.assertEqual(ledger.unwritten, 0)
