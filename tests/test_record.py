"""The structured record of a decision."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from llmux.routing.decision import RouteType, RoutingDecision, RoutingRequest
from llmux.routing.record import record, stamp
from tests.test_mapping import provider_of, rule_of
from tests.test_router import router_of

NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC).timestamp()


class Records(SynchronousTestCase):
    """What a record holds."""

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
