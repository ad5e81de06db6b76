"""Sections of plain settings, through whole files."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.config.model import MIB, Config, Limits, Retry, Streaming, Timeouts, UsageConfig
from tests.configuring import config, problems, warnings


class SectionTests(SynchronousTestCase):
    def test_theyStandAtTheirDefaults(self) -> None:
        found = config("timeouts:\nlimits: {}\nstreaming: {keepalive: }\nrouting:\n")
        self.assertEqual((found.timeouts, found.limits, found.streaming), (Timeouts(), Limits(), Streaming()))

    def test_timeoutsAreSeconds(self) -> None:
        text = (
            "timeouts: {header: 1, connect: 2.5, tls: 3, first-byte: 4, idle: 5, "
            "send: 6, keep-alive: 7, drain: 8, total: 0}"
        )
        self.assertEqual(config(text).timeouts, Timeouts(1, 2.5, 3, 4, 5, 6, 7, 8, 0))
        self.assertEqual(
            problems("timeouts: {idle: 0, total: -1, connect: 10s, firstbyte: 1}"),
            [
                "1:18: timeouts.idle: must be between 0.001 and 604800 seconds",
                "1:28: timeouts.total: must be between 0 and 604800 seconds",
                "1:41: timeouts.connect: expected a number of seconds, without a unit",
                "1:46: timeouts.firstbyte: unknown key; did you mean first-byte?",
            ],
        )

    def test_limitsAreSizesAndCounts(self) -> None:
        text = (
            "limits: {body: 1MiB, buffered: 2MiB, response: 3MiB, header-bytes: 16KiB, header-fields: 50, "
            "target: 8192, connections: 7, connections-per-address: 6, tunnels: 5}"
        )
        self.assertEqual(config(text).limits, Limits(MIB, 2 * MIB, 3 * MIB, 16384, 50, 8192, 7, 6, 5))
        self.assertIn("1:16: limits.body: expected a size", problems("limits: {body: 1M}")[0])
        self.assertIn("limits.connections: must be between", problems("limits: {connections: 0}")[0])

    def test_oneBodyMustFitIntoTheBuffer(self) -> None:
        self.assertEqual(problems("limits: {body: 1GiB}"), ["1:9: limits.buffered: must not be below limits.body"])

    def test_streamingUnderstandsTheGoProxysWords(self) -> None:
        self.assertEqual(
            config("streaming: {keepalive: 5, hold: 10, hold-bytes: 1kB}").streaming, Streaming(5, 10, 1000)
        )
        text = "streaming: {keepalive-seconds: 9, bootstrap-retries: 1}"
        self.assertEqual(config(text).streaming.keepalive, 9.0)
        self.assertIn("1:35: streaming.bootstrap-retries:", warnings(text)[0])
        self.assertEqual(config("streaming: {keepalive-seconds: -1}").streaming.keepalive, 0.0)
        self.assertEqual(config("streaming: {keepalive-seconds: 9, keepalive: 3}").streaming.keepalive, 3.0)

    def test_routing(self) -> None:
        text = "routing: {strategy: fill-first, session-affinity: false, session-affinity-ttl: 1h}"
        found = config(text)
        self.assertEqual((found.strategy, found.session_affinity), ("fill-first", False))
        self.assertEqual(len(found.warnings), 1)
        self.assertIn("did you mean round-robin?", problems("routing: {strategy: roundrobin}")[0])
        self.assertEqual(config("routing: {strategy: weighted-round-robin}").strategy, "weighted")

    def test_retriesAndCooldowns(self) -> None:
        self.assertEqual(config("request-retry: 3\nmax-retry-interval: 5\n").retry, Retry(3, 5.0))
        self.assertEqual(config("request-retry: -1\nmax-retry-interval: -1\n").retry, Retry(0, 0.0))
        self.assertEqual(config("cooldown: {max: 60}").cooldown_max, 60.0)
        self.assertEqual(config("disable-cooling: true").cooldown_max, 0.0)
        self.assertEqual(config("disable-cooling: false").cooldown_max, Config().cooldown_max)
        self.assertEqual(config("disable-cooling: true\ncooldown: {max: 9}\n").cooldown_max, 9.0)

    def test_corsBetasAndTranslation(self) -> None:
        found = config(
            "cors: {origins: ['*', https://a.example]}\nremoved-betas: [x-1]\n"
            "translate: {strict: true, reasoning-content: false, extra-content: false}\n"
        )
        self.assertEqual(found.cors_origins, ("*", "https://a.example"))
        self.assertEqual((found.removed_betas, found.translate_strict), (("x-1",), True))
        self.assertEqual((found.translate_reasoning_content, found.translate_extra_content), (False, False))
        self.assertEqual(config("removed-betas: []").removed_betas, ())
        self.assertEqual(config("{}").removed_betas, Config().removed_betas)

    def test_usage(self) -> None:
        self.assertEqual(config("usage: {}").usage, UsageConfig(True, 400, None))
        found = config("usage: {enabled: false, retention-days: 30, prices: p.yaml}").usage
        self.assertEqual(found, UsageConfig(False, 30, "p.yaml"))
        self.assertEqual(
            problems("usage: {retention-days: 0, price: x, prices: ''}"),
            [
                "1:25: usage.retention-days: must be between 1 and 36500",
                "1:28: usage.price: unknown key; did you mean prices?",
                "1:46: usage.prices: must not be blank",
            ],
        )
