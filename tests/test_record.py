"""The structured record of a decision: every vector of `logging`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from llmux.routing.decision import RouteType, RoutingDecision, RoutingRequest
from llmux.routing.extractor import ModelExtractor
from llmux.routing.record import DecisionRecord, record, stamp
from tests import vectors
from tests.test_mapping import provider_of, rule_of
from tests.test_router import router_of

VECTORS = vectors.routing("logging")
NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC).timestamp()
MODEL_ROUTE = re.compile(
    r"(/api/provider/[^/]+)?(/v1)?/(chat/completions|completions|responses|messages|messages/count_tokens)"
    r"|(/api/provider/[^/]+)?/v1(beta)?/models/(?P<action>.+)"
    r"|/api/provider/google/v1beta1/(?P<path>.*models/.+)"
)
"""The model routes of SPEC 2.1, as far as the vectors need them."""


def decision_of(given: dict[str, Any]) -> RoutingDecision:
    route = RouteType[given["route_type"]]
    return RoutingDecision(
        route,
        given["requested_model"],
        given["resolved_model"],
        given["provider"],
        should_proxy=route is RouteType.AMP_CREDITS,
        effects=route.effects,
        reason="no provider lists it",
    )


def records_of(given: dict[str, Any]) -> list[DecisionRecord]:
    """What the routing layer would log for a request."""
    request = given["request"]
    target = str(request["target"])
    route = MODEL_ROUTE.fullmatch(target.partition("?")[0])
    if request["method"] != "POST" or route is None:
        return []
    params = {name: value for name, value in route.groupdict().items() if value is not None}
    model = ModelExtractor().extract(str(request.get("body") or "").encode(), None, params, bool(params))
    if model is None:
        return []
    providers = [
        provider_of({"name": f"p{index}", "models": [one]} if isinstance(one, str) else one)
        for index, one in enumerate(given.get("providers", ()))
    ]
    router = router_of(providers, [rule_of(rule) for rule in given.get("rules", ())], given.get("proxy", True))
    return [record(router.resolve(RoutingRequest(model)), target, NOW)]


class LoggingVectors(SynchronousTestCase):
    """SPEC 18 by example."""

    def test_thereAreVectors(self) -> None:
        self.assertGreater(len(VECTORS), 0)

    def check(self, vector: dict[str, Any]) -> None:
        given, expect, label = vector["input"], vector["expect"], f"{vector['id']}: {vector['why']}"
        if "decision" in given:
            records = [record(decision_of(given["decision"]), given["decision"]["path"], NOW)]
        else:
            records = records_of(given)
        self.assertEqual(set(expect) - {"level", "fields", "contains", "decision_records", "no_leak"}, set(), label)
        if "decision_records" in expect:
            self.assertEqual(len(records), expect["decision_records"], label)
        for found in records:
            message = found.message.format(**found.fields)
            self.assertEqual(found.fields["component"], "amp-routing", label)
            self.assertEqual(found.fields["timestamp"], "2026-01-02T03:04:05.678Z", label)
            if "level" in expect:
                self.assertEqual(found.level, expect["level"], label)
            for name, value in expect.get("fields", {}).items():
                self.assertEqual(found.fields.get(name), value, f"{label}: {name}")
            for text in expect.get("contains", ()):
                self.assertIn(text, message, label)
            for text in expect.get("no_leak", ()):
                self.assertNotIn(text, f"{message} {found.fields}", label)


def _add(vector: dict[str, Any]) -> None:
    def test(self: LoggingVectors) -> None:
        self.check(vector)

    setattr(LoggingVectors, f"test_{vector['id'].replace('-', '_')}", test)


for _vector in VECTORS:
    _add(_vector)


class Records(SynchronousTestCase):
    """What a record holds beyond the vectors."""

    def test_aQueryIsNotLogged(self) -> None:
        found = record(RoutingDecision(RouteType.LOCAL_PROVIDER, "a", "a", "p"), "/v1/messages?key=abc", NOW)
        self.assertEqual(found.fields["path"], "/v1/messages")

    def test_valuesStayOnOneLine(self) -> None:
        decision = RoutingDecision(RouteType.NO_PROVIDER, "a\nb", "a\nb", reason="c\rd")
        for value in record(decision, "/x\ny", NOW).fields.values():
            self.assertTrue(value.isprintable(), value)

    def test_theTimeIsInUtc(self) -> None:
        decision = RoutingDecision(RouteType.LOCAL_PROVIDER, "a", "a", "p")
        self.assertEqual(record(decision, "/", NOW).fields["timestamp"], "2026-01-02T03:04:05.678Z")

    def test_timesAreRfc3339AndFindTheirSecond(self) -> None:
        for seconds, text in ((0.25, "00.250Z"), (1.001, "01.001Z"), (0.99999, "00.999Z"), (59.99999999, "00.000Z")):
            self.assertTrue(stamp(seconds).endswith(text), (seconds, stamp(seconds)))
        self.assertEqual(stamp(0.25), "1970-01-01T00:00:00.250Z")

    def test_everyMessageFitsItsFields(self) -> None:
        for requested in ("a", "big", "ghost"):
            for upstream in (True, False):
                router = router_of(
                    [provider_of({"name": "p", "models": ["a"]})], [rule_of({"from": "big", "to": "a"})], upstream
                )
                found = record(router.resolve(RoutingRequest(requested)), "/", NOW)
                self.assertIn(requested, found.message.format(**found.fields))
