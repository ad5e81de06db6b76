"""The parts of the status page: what they say, and that hostile text stays text in every one of them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, timedelta, timezone
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from llmux.config.model import (
    AmpcodeConfig,
    Config,
    CreditsPolicy,
    MappingRule,
    ModelEntry,
    ProviderConfig,
    Target,
    Timeouts,
)
from llmux.config.secret import Secret
from llmux.formats.events import Usage
from llmux.peers.credentials import Cooldown
from llmux.routing.decision import RouteType, RoutingDecision
from llmux.web import page
from llmux.web.figures import NOTHING, count, rounded, size, span, time_of_day
from llmux.web.journal import HOUR, KEPT, Entry, Journal
from llmux.web.page_config import configuration, lines
from llmux.web.page_day import day
from llmux.web.page_requests import requests_table, row
from tests.markup import HOSTILE, Tree

NOW = 1_000 * HOUR + 754.0
KEY = "sk-ant-api03-the-middle-of-a-secret-9f3k"
HEADER = "Basic aGVhZGVyLXNlY3JldA=="


class Answer:
    """A request as the journal sees it."""

    status = 200
    bytes_sent = 1234
    gone = False
    broken = False


class Count:
    """Somebody who knows the tokens."""

    def __init__(self, usage: Usage) -> None:
        self.usage = usage


def entry(model: str = "m-1", resolved: str = "", route: RouteType = RouteType.LOCAL_PROVIDER, **more: Any) -> Entry:
    clock = Clock()
    clock.advance(NOW)
    decision = RoutingDecision(
        route, model, resolved or model, more.get("provider", "p"), reason=more.get("reason", "")
    )
    return Journal(clock.seconds).begin(decision, more.get("protocol", "chat"), Answer())


def cells(shown: Entry, now: float = NOW) -> list[str]:
    return Tree(f"<table>{row(shown, now, UTC)}</table>").texts("td")


class FigureTests(SynchronousTestCase):
    def test_countsHaveTheirThousandsApart(self) -> None:
        self.assertEqual([count(n) for n in (None, 0, 999, 1234567)], [NOTHING, "0", "999", "1,234,567"])

    def test_roundedNumbersHaveFewDigits(self) -> None:
        for number, text in (
            (0, "0"),
            (999, "999"),
            (999.6, "1k"),
            (1000, "1k"),
            (1240, "1.2k"),
            (34_400, "34k"),
            (999_700, "1M"),
            (5_600_000, "5.6M"),
            (7.2e9, "7.2G"),
            (8e12, "8T"),
        ):
            self.assertEqual(rounded(number), text)

    def test_sizesAreInBytes(self) -> None:
        self.assertEqual([size(n) for n in (0, 883, 4_800, 2_000_000)], ["0 B", "883 B", "4.8 kB", "2 MB"])

    def test_spansGrowFromMillisecondsToHours(self) -> None:
        for seconds, text in (
            (None, NOTHING),
            (0.0, "0.0 ms"),
            (0.0042, "4.2 ms"),
            (0.0999, "100 ms"),
            (0.32, "320 ms"),
            (0.9999, "1.00 s"),
            (9.994, "9.99 s"),
            (59.94, "59.9 s"),
            (59.99, "1 min 00 s"),
            (3599.7, "1 h 00 min"),
            (7500, "2 h 05 min"),
        ):
            self.assertEqual(span(seconds), text)

    def test_momentsAreThoseOfTheZone(self) -> None:
        self.assertEqual(Tree(time_of_day(NOW, UTC)).texts("time"), ["16:12:34"])
        east = timezone(timedelta(hours=5, minutes=30))
        (time,) = Tree(time_of_day(NOW, east)).all("time")
        self.assertEqual(time["datetime"], "1970-02-11T21:42:34.000+05:30")


class RowTests(SynchronousTestCase):
    def test_aRowTellsEverythingAboutARequest(self) -> None:
        shown = entry("asked", "served", RouteType.MODEL_MAPPING, reason="why", protocol="anthropic")
        shown.first_byte, shown.counting = 0.25, Count(Usage(input=1500, cache_read=500, output=42, reasoning=7))
        shown.close(2.0, 0)
        self.assertEqual(
            cells(shown),
            [
                "16:12:34",
                "model mapping",
                "asked→ servedanthropic: why",
                "p",
                "200",
                "250 ms",
                "2.00 s",
                "1,500",
                "42",
                "1.2 kB",
            ],
        )
        tree = Tree(f"<table>{row(shown, NOW, UTC)}</table>")
        self.assertEqual(tree.all("tr"), [{"id": "r1", "class": "done"}])
        titles = [cell["title"] for cell in tree.all("td") if "title" in cell]
        self.assertEqual(titles, ["500 from a cache", "7 of them for reasoning"])

    def test_outcomesAreTold(self) -> None:
        waiting = entry()
        self.assertEqual((cells(waiting)[4], cells(waiting, NOW + 3)[6]), ("waiting", "3.00 s"))
        waiting.first_byte = 1.0
        self.assertEqual(cells(waiting)[4], "streaming")
        for outcome, status, failure, text in (
            ("left", 200, "", "client left"),
            ("cut", 200, "idle-timeout", "cutidle-timeout"),
            ("cut", 200, "", "cut"),
            ("failed", 429, "", "429"),
            ("failed", 0, "", "failed"),
        ):
            shown = entry()
            shown.outcome, shown.status, shown.failure, shown.duration = outcome, status, failure, 1.0
            self.assertEqual(cells(shown)[4], text)

    def test_hostileTextStaysText(self) -> None:
        shown = entry(HOSTILE, HOSTILE + "2", provider=HOSTILE, reason=HOSTILE, protocol=HOSTILE)
        shown.outcome, shown.failure, shown.route = "cut", HOSTILE, HOSTILE
        tree = Tree(requests_table([shown], NOW, UTC))
        self.assertEqual(tree.dangers(), [])
        self.assertEqual(len(tree.all("tr")), 3)
        self.assertEqual(tree.texts("td", "by"), [HOSTILE])
        self.assertIn(HOSTILE + "2", tree.texts("td", "model")[0])

    def test_anEmptyListSaysSo(self) -> None:
        tree = Tree(requests_table([], NOW, UTC))
        self.assertEqual(tree.text("rows"), "No request yet. The next one appears here.")


class DayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.journal = Journal(self.clock.seconds)

    def test_theChartsAndTheirNumbersAreThere(self) -> None:
        for route, tokens in ((RouteType.LOCAL_PROVIDER, 1000), (RouteType.AMP_CREDITS, 500)):
            shown = self.journal.begin(RoutingDecision(route, "m", "m", "p"), "chat", Answer())
            shown.counting = Count(Usage(input=tokens, cache_read=100, output=20))
            self.clock.advance(2)
            self.journal.answering(shown, "p", "m")
            self.journal.end(shown)
        tree = Tree(day(self.journal.hours(), UTC))
        self.assertEqual(tree.dangers(), [])
        self.assertEqual(tree.texts("h3"), ["Requests an hour 2", "Tokens an hour 1.5k", "Time to the first byte"])
        classes = [bar["class"] for bar in tree.all("rect", lambda attributes: "class" in attributes)]
        self.assertEqual(classes, ["local_provider", "amp_credits", "input", "cached", "output"])
        self.assertEqual(len(tree.all("polyline")), 2)
        self.assertIn("16:00: 1 local provider, 1 amp credits", tree.texts("title"))
        self.assertEqual(
            tree.texts("td"), ["1", "0", "1", "0", "0", "0", "0", "1,500", "200", "40", "1.88 s", "1.88 s"]
        )
        self.assertEqual(tree.texts("th")[-1], "16:00")

    def test_aQuietDayIsADayToo(self) -> None:
        tree = Tree(day(self.journal.hours(), UTC))
        self.assertEqual(tree.all("rect", lambda attributes: "class" in attributes), [])
        self.assertEqual(tree.texts("td"), ["No request in the last 24 hours."])

    def test_theNumbersOfTheMomentCountTheDay(self) -> None:
        shown = self.journal.begin(RoutingDecision(RouteType.LOCAL_PROVIDER, "m", "m", "p"), "chat", Answer())
        self.journal.end(shown, 500)
        state = page.Facts(True, 3, 1, 9, 4, 7, 43, 2)
        tree = Tree(page.facts(state, self.journal.hours()))
        told = dict(zip(tree.texts("dt"), tree.texts("dd"), strict=True))
        self.assertEqual(
            told,
            {
                "state": "draining",
                "streams open": "3",
                "requests, 24 h": "1",
                "failed": "1",
                "cut off": "0",
                "tokens in": "0",
                "tokens out": "0",
                "first byte, median": NOTHING,
                "cooldowns": "2",
                "connections, idle": "9, 4",
                "tunnels": "1",
                "paid today": "7 of 50",
            },
        )
        free = page.facts(replace(state, draining=False, spent=None, left=None), [])
        self.assertEqual((Tree(free).texts("dd")[0], Tree(free).texts("dd")[-1]), ("serving", NOTHING))


COOLDOWN = Cooldown("p", "sk-a...9f3k", None, "rate limit", 429, 2, 60.0, 90.0, False)


class CooldownTests(SynchronousTestCase):
    def test_eachHasAButtonThatSaysWhatItClears(self) -> None:
        tree = Tree(page.cooldowns([COOLDOWN, replace(COOLDOWN, model="m-1", status=0)], NOW, UTC, "tok"))
        self.assertEqual([form["action"] for form in tree.all("form")], ["/llmux/clear"] * 3)
        self.assertEqual({form["method"] for form in tree.all("form")}, {"post"})
        hidden = [(field["name"], field["value"]) for field in tree.all("input")]
        token, provider = ("token", "tok"), ("provider", "p")
        self.assertEqual(hidden, [token, provider, token, provider, ("model", "m-1"), token])
        self.assertEqual(len({button["id"] for button in tree.all("button")}), 3)
        self.assertEqual(tree.texts("button"), ["Clear", "Clear", "Clear all"])
        shown = tree.texts("td")[:7]
        self.assertEqual(shown, ["sk-a...9f3k", "all", "rate limit, 429", "2", "16:11:34", "16:14:04", "Clear"])

    def test_theyStayTheSameWhileNothingHappens(self) -> None:
        later = replace(COOLDOWN, age=70.0, remaining=80.0)
        first = page.cooldowns([COOLDOWN], NOW, UTC, "tok")
        self.assertEqual(first, page.cooldowns([later], NOW + 10, UTC, "tok"))

    def test_probesAreTold(self) -> None:
        rows = [replace(COOLDOWN, remaining=0.0), replace(COOLDOWN, remaining=0.0, probing=True)]
        tree = Tree(page.cooldowns(rows, NOW, UTC, "tok"))
        self.assertEqual(tree.texts("td")[5::7], ["the next request probes", "a probe is under way"])

    def test_noneIsSaid(self) -> None:
        self.assertEqual(
            Tree(page.cooldowns([], NOW, UTC, "tok")).text("cooldowns"), "None: every credential is in use."
        )

    def test_hostileTextStaysText(self) -> None:
        row = replace(COOLDOWN, provider=HOSTILE, credential=HOSTILE, model=HOSTILE, reason=HOSTILE)
        tree = Tree(page.cooldowns([row, row], NOW, UTC, HOSTILE))
        self.assertEqual(tree.dangers(), [])
        self.assertEqual({field["value"] for field in tree.all("input")}, {HOSTILE})


EXPLANATION: dict[str, Any] = {
    "requested_model": "m",
    "route_type": "MODEL_MAPPING",
    "reason": "mapping m leads to n",
    "refusal": None,
    "attempts": [
        {"model": "n(high)", "provider": "p", "sent_as": "n", "translated": True, "ready": False},
        {"model": "o", "provider": "q", "sent_as": "o", "translated": False, "ready": True},
    ],
    "steps": [{"subject": "name", "detail": "m", "outcome": "no suffix"}],
}


class ExplainTests(SynchronousTestCase):
    def test_theDecisionItsStepsAndItsPlanAreThere(self) -> None:
        tree = Tree(page.explanation(EXPLANATION))
        self.assertEqual(tree.texts("p"), ["model mapping mapping m leads to n"])
        plan = ["n(high) at p sent as n, translated, cooling down", "o at q"]
        self.assertEqual(tree.texts("li"), ["name mno suffix", *plan])

    def test_aRefusalIsToldInFull(self) -> None:
        refused = {**EXPLANATION, "refusal": "No provider available", "attempts": []}
        self.assertEqual(Tree(page.explanation(refused)).texts("p")[1], "No provider available")

    def test_theFormKeepsWhatWasAsked(self) -> None:
        tree = Tree(page.explain_form("m-1", "/v1/messages", ["/v1/messages", "/v1/responses"]))
        self.assertEqual(tree.all("input")[0]["value"], "m-1")
        self.assertEqual(tree.texts("option"), ["any format", "/v1/messages", "/v1/responses"])
        self.assertEqual([o["value"] for o in tree.all("option", lambda o: "selected" in o)], ["/v1/messages"])
        other = Tree(page.explain_form("", "/x", ["/v1/messages"]))
        self.assertEqual([o["value"] for o in other.all("option", lambda o: "selected" in o)], ["/x"])
        self.assertEqual(Tree(page.explain_form("", "", [])).texts("option"), ["any format"])

    def test_hostileTextStaysText(self) -> None:
        step = {"subject": HOSTILE, "detail": HOSTILE, "outcome": HOSTILE}
        attempt = {"model": HOSTILE, "provider": HOSTILE, "sent_as": "x" + HOSTILE, "translated": 0, "ready": 1}
        told = page.explanation(
            {"route_type": HOSTILE, "reason": HOSTILE, "refusal": HOSTILE, "attempts": [attempt], "steps": [step]}
        )
        tree = Tree(page.explain_form(HOSTILE, HOSTILE, [HOSTILE]) + told + page.problem(HOSTILE))
        self.assertEqual(tree.dangers(), [])
        self.assertEqual(tree.all("input")[0]["value"], HOSTILE)
        self.assertEqual(tree.texts("p")[-1], HOSTILE)


CONFIG = Config(
    api_keys=(Secret(KEY),),
    providers=(
        ProviderConfig(
            "p",
            "openai",
            "https://api.example",
            api_keys=(Secret(KEY), Secret("short")),
            models=(ModelEntry("m-*"), ModelEntry("n", "alias", MappingProxyType({"budget_max": 5}))),
            headers=(("X_Team-Key", HEADER),),
            timeouts=Timeouts(idle=7.5),
        ),
    ),
    ampcode=AmpcodeConfig(
        upstream_url="https://up.example",
        upstream_api_key=Secret(KEY),
        model_mappings=(MappingRule("^a b$", (Target("m-1"), Target("n", "p")), regex=True),),
        credits=CreditsPolicy(allow=(), daily_requests=5, line=3),
    ),
    path="/etc/llmux.yaml",
    digest="d" * 64,
)


class ConfigTests(SynchronousTestCase):
    def test_itIsWrittenAsTheFileWouldBe(self) -> None:
        told = [f"{'  ' * line.depth}{line.text}" for line in lines(CONFIG) if not line.default]
        self.assertEqual(
            told,
            [
                "api-keys: [sk-a...9f3k]",
                "providers:",
                "  - name: p",
                "    kind: openai",
                "    base-url: https://api.example",
                "    api-keys: [sk-a...9f3k, ****]",
                "    models:",
                "      - m-*",
                "      - name: n",
                "        alias: alias",
                "        capabilities: {budget-max: 5}",
                '    headers: {X_Team-Key: "Basi...dA=="}',
                "    timeouts:",
                "      idle: 7.5",
                "ampcode:",
                "  upstream-url: https://up.example",
                "  upstream-api-key: sk-a...9f3k",
                "  model-mappings:",
                '    - from: "^a b$"',
                "      to:",
                "        - m-1",
                "        - model: n",
                "          provider: p",
                "      regex: true",
                "  credits:",
                "    allow: []",
                "    daily-requests: 5",
            ],
        )

    def test_whatHoldsAnywayIsThereToo(self) -> None:
        defaults = [line.text for line in lines(Config()) if line.default]
        for text in ("timeouts:", "first-byte: 600", 'listen: ["tcp:8317:interface=127.0.0.1"]', "providers: []"):
            self.assertIn(text, defaults)
        self.assertEqual([line for line in lines(Config()) if not line.default], [])

    def test_noSecretIsInIt(self) -> None:
        shown = configuration(CONFIG)
        for secret in (KEY, KEY[4:-4], HEADER, HEADER[4:-4], "short"):
            self.assertNotIn(secret, shown)

    def test_hostileTextStaysTextOnItsLine(self) -> None:
        name = HOSTILE + "\n\u2028\x1b[31m"
        provider = replace(CONFIG.providers[0], name=name, models=(ModelEntry(name),), headers=((name, name),))
        shown = configuration(replace(CONFIG, providers=(provider,), removed_betas=(name,)))
        tree = Tree(shown)
        self.assertEqual(tree.dangers(), [])
        self.assertEqual(len(tree.all("span")), shown.count("</span>\n"))
        self.assertNotIn("\x1b", shown)


PAGE = page.Page(
    version="1.2.3",
    token="tok",
    signed_in=True,
    rows=30,
    kept=40,
    about_part="",
    warnings_part="",
    facts_part="",
    requests_part="",
    day_part="",
    cooldowns_part="",
    explain_part="",
    config_part="",
)


class DocumentTests(SynchronousTestCase):
    def test_itSaysWhichConfigurationIsInForce(self) -> None:
        tree = Tree(page.about(("tcp:8317",), "/etc/llmux.yaml", 7, "0123456789abcdef"))
        self.assertEqual(
            tree.texts("p", "about"),
            ["Listening on tcp:8317. Configuration /etc/llmux.yaml, generation 7, digest 0123456789ab."],
        )
        self.assertEqual([code.get("title") for code in tree.all("code")], [None, "0123456789abcdef"])

    def test_thePolicyPermitsItsStyleAndItsScriptAndNothingElse(self) -> None:
        headers = dict(page.HEADERS)
        policy = headers[b"Content-Security-Policy"].decode()
        text = page.document(PAGE).decode()
        for tag, directive in (("style", "style-src"), ("script", "script-src")):
            (inner,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
            digest = b64encode(sha256(inner.encode()).digest()).decode()
            self.assertIn(f"{directive} 'sha256-{digest}';", policy)
        for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
            self.assertIn(part, policy.split("; "))
        self.assertNotIn("unsafe", policy)
        self.assertEqual(
            (headers[b"X-Content-Type-Options"], headers[b"Referrer-Policy"], headers[b"Cache-Control"]),
            (b"nosniff", b"no-referrer", b"no-store"),
        )

    def test_nothingComesFromElsewhere(self) -> None:
        for text in (page.document(PAGE), page.sign_in("tok", "no"), page.refused(403, "no")):
            self.assertEqual(Tree(text).dangers(), [])
            self.assertNotIn(b"http://", text.replace(b"xmlns='http://www.w3.org/2000/svg'", b""))
            self.assertNotIn(b"https://", text)

    def test_hostileTextStaysText(self) -> None:
        about, warnings = page.about([HOSTILE], HOSTILE, 7, HOSTILE), page.warnings([HOSTILE])
        hostile = replace(PAGE, version=HOSTILE, about_part=about, warnings_part=warnings)
        for text in (page.document(hostile), page.sign_in(HOSTILE, HOSTILE), page.refused(400, HOSTILE)):
            self.assertEqual(Tree(text).dangers(), [])
        self.assertEqual(Tree(page.document(hostile)).texts("ul", "warnings"), [HOSTILE])
        self.assertEqual(Tree(page.sign_in("t", HOSTILE)).texts("p", "problem"), [HOSTILE])

    def test_textWithoutAUTF8FormDoesNotHarm(self) -> None:
        self.assertIn(b"a?b", page.document(replace(PAGE, facts_part="a\ud800b")))

    def test_whereTheEventsComeFrom(self) -> None:
        (body,) = Tree(page.document(PAGE)).all("body")
        self.assertEqual(body, {"data-events": "/llmux/events?rows=30&token=tok", "data-rows": "30"})

    def test_moreIsOfferedWhenThereIsMore(self) -> None:
        self.assertIn(f"/llmux/?rows={KEPT}#requests", page.document(PAGE).decode())
        for few in (replace(PAGE, kept=30), replace(PAGE, rows=KEPT)):
            self.assertNotIn("Show all", page.document(few).decode())

    def test_signingOutIsForThoseWhoSignedIn(self) -> None:
        self.assertIn("Sign out", page.document(PAGE).decode())
        self.assertNotIn("Sign out", page.document(replace(PAGE, signed_in=False)).decode())

    def test_theSignInPageRunsNothing(self) -> None:
        tree = Tree(page.sign_in("tok"))
        self.assertEqual((tree.all("script"), tree.texts("p", "problem")), ([], []))
        (form,) = tree.all("form")
        self.assertEqual(form, {"method": "post", "action": "/llmux/sign-in"})
        self.assertEqual([field["name"] for field in tree.all("input")], ["token", "user", "key"])

    def test_anEventIsOneLineOfParts(self) -> None:
        parts = [f"<p>{HOSTILE}\n\r</p>", "<b>\ud800</b>"]
        told = page.event(parts)
        self.assertEqual((told[:6], told[-2:], told.count(b"\n"), told.count(b"\r")), (b"data: ", b"\n\n", 2, 0))
        self.assertEqual(json.loads(told[6:]), parts)
