"""Whole configuration files."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.config import Config, ConfigError, EmptyConfig, load
from llmux.config.goproxy import IGNORED
from llmux.config.loading import _SCHEMA
from llmux.config.secret import Secret
from tests.configuring import config, problems

DESIGN = """
listen: tcp:8317:interface=127.0.0.1      # or host/port
api-keys: [${LLMUX_KEY}]
providers:
  - name: anthropic
    kind: anthropic
    base-url: https://api.anthropic.com
    api-keys: [${ANTHROPIC_API_KEY}]
    models: ["claude-*", {name: claude-opus-4-7, alias: opus}]
    priority: 0
    capabilities: {budget-max: 64000}
ampcode:
  upstream-url: https://ampcode.com
  upstream-api-key: ${AMP_API_KEY}
  model-mappings:
    - {from: "claude-haiku-*", to: [gpt-5-mini, gemini-3-flash], regex: false}
  force-model-mappings: false
  credits: deny
timeouts: {header: 10, connect: 10, first-byte: 600, idle: 300, send: 60, drain: 30}
cooldown: {max: 3600}
limits: {body: 64MiB, buffered: 512MiB, connections: 20000}
"""
ENVIRON = {"LLMUX_KEY": "client-key", "ANTHROPIC_API_KEY": "sk-ant-1", "AMP_API_KEY": "amp-key"}
LOOPBACK = ("tcp:8317:interface=127.0.0.1",)


class WholeFileTests(SynchronousTestCase):
    def test_theExampleOfTheDesignLoads(self) -> None:
        found = config(DESIGN, ENVIRON)
        self.assertEqual(found.warnings, ())
        self.assertEqual((found.listen, found.api_keys), (LOOPBACK, (Secret("client-key"),)))
        self.assertEqual(found.providers[0].api_keys, (Secret("sk-ant-1"),))
        self.assertEqual(found.ampcode.upstream_api_key, Secret("amp-key"))
        self.assertEqual(found.path, "llmux.yaml")

    def test_theDigestIsOfTheText(self) -> None:
        digest = config("port: 1\n").digest
        self.assertEqual(len(digest), 12)
        self.assertEqual(digest, config("port: 1\n").digest)
        self.assertNotEqual(digest, config("port: 1\n# x\n").digest)
        self.assertEqual(config("port: 1\n").digest, "854e00f83420")

    def test_nothingInTheFileIsNotTheDefaultProviders(self) -> None:
        found = config("{}", {"OPENAI_API_KEY": "k"})
        self.assertEqual((found.listen, found.providers, found.api_keys), (LOOPBACK, (), ()))

    def test_anEmptyFileIsAKindOfItsOwn(self) -> None:
        self.assertRaises(EmptyConfig, load, "# later\n", "f", {})

    def test_allProblemsAreFoundInFileOrder(self) -> None:
        found = problems(
            "prot: 1\nproviders: [{name: a, kind: x}, {name: b, kind: demo, weight: y}]\n"
            "ampcode: {credit: deny}\ntimeouts: 5\ntimeouts: {}\n"
        )
        self.assertEqual(
            [line.split(": ")[0] + " " + line.split(": ")[1] for line in found],
            [
                "1:1 prot",
                "2:29 providers[0].kind",
                "2:63 providers[1].weight",
                "3:11 ampcode.credit",
                "4:11 timeouts",
                "5:1 timeouts",
            ],
        )

    def test_variablesWorkInEveryKindOfValue(self) -> None:
        found = config(
            "port: ${PORT}\nhost: env.HOST\nlimits: {body: '${MB}MiB'}\nampcode: {force-model-mappings: ${FORCE}}\n",
            {"PORT": "99", "HOST": "::1", "MB": "3", "FORCE": "true"},
        )
        self.assertEqual(found.listen, (r"tcp:99:interface=\:\:1",))
        self.assertEqual((found.limits.body, found.ampcode.force_model_mappings), (3 * 2**20, True))

    def test_anUnsetVariableElsewhereIsAnErrorThatNamesIt(self) -> None:
        self.assertEqual(
            problems("ampcode: {upstream-url: 'https://${NOPE}'}"),
            ["1:25: ampcode.upstream-url: environment variable NOPE is not set"],
        )
        self.assertIn("only ${NAME}", problems("port: ${PORT:-80}\n")[0])

    def test_noValueOfTheEnvironmentIsEverShown(self) -> None:
        text = "".join(f"{key}: ${{V}}\n" for key in _SCHEMA)
        found = "\n".join(problems(text, {"V": "hidden-value"}))
        self.assertIn("port: expected a whole number", found)
        self.assertNotIn("hidden", found)


class ListenTests(SynchronousTestCase):
    def listen(self, text: str) -> tuple[str, ...]:
        return config(text).listen

    def test_oneOrSeveralEndpoints(self) -> None:
        self.assertEqual(self.listen("listen: unix:/x"), ("unix:/x",))
        text = "listen: [unix:/x, 'systemd:domain=INET:index=0', tcp:1:interface=127.0.0.1]"
        self.assertEqual(len(self.listen(text)), 3)

    def test_hostAndPort(self) -> None:
        self.assertEqual(self.listen("port: 9"), ("tcp:9:interface=127.0.0.1",))
        self.assertEqual(self.listen("host: localhost"), LOOPBACK)
        self.assertEqual(self.listen("host: ''\nport: 9\napi-keys: [k]\n"), ("tcp:9",))
        self.assertEqual(self.listen("host: 10.0.0.1\napi-keys: [k]\n"), ("tcp:8317:interface=10.0.0.1",))
        self.assertEqual(len(problems("port: 65536")), 1)

    def test_tlsIsServed(self) -> None:
        self.assertEqual(
            self.listen("tls: {enable: true, cert: c.pem, key: k.pem}"),
            ("ssl:8317:certKey=c.pem:privateKey=k.pem:interface=127.0.0.1",),
        )
        self.assertEqual(problems("tls: {enable: true}"), ["1:6: tls: enabled without a cert and a key file"])

    def test_twoWaysToSayItAreOneTooMany(self) -> None:
        self.assertEqual(
            problems("listen: unix:/x\nport: 9\n"), ["2:7: port: given beside `listen`, which says the same"]
        )

    def test_anOpenDaemonStaysOnThisMachine(self) -> None:
        for text in (
            "listen: tcp:8317",
            "listen: [unix:/x, tcp:8317:interface=0.0.0.0]",
            "host: 0.0.0.0",
            "host: ''",
            "host: ''\napi-keys: []",
            "host: ''\napi-keys:",
        ):
            (found,) = problems(text)
            self.assertIn("reachable from other machines without api-keys", found)
            self.assertEqual(problems(f"{text.split('api-keys')[0]}\napi-keys: [k]\n"), [])

    def test_keysThatAreNotSetDoNotOpenIt(self) -> None:
        (found,) = problems("listen: tcp:8317\napi-keys: [${NOPE}]\n")
        self.assertIn("2:11: api-keys: every key is blank or its variable is not set", found)


KEYS = st.sampled_from([*_SCHEMA, *list(IGNORED)[:5], "name", "kind", "from", "to", "models", "api-key", "x"])
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["deny", "demo", "anthropic", "tcp:1:interface=127.0.0.1", "${A}", "env.A", "https://x", "1MiB"])
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=6), inner, max_size=4)
)


class AnyFileTests(SynchronousTestCase):
    def check(self, text: str) -> None:
        try:
            found = load(text, "f", {"A": "hidden"})
        except ConfigError as error:
            for each in error.all:
                self.assertTrue(str(each).startswith(f"llmux: f:{each.line}:{each.column}: {each.key}: "))
                self.assertNotIn("\n", str(each))
        else:
            self.assertIsInstance(found, Config)

    @settings(max_examples=100, deadline=None)
    @given(st.text())
    def test_anyTextIsAConfigurationOrAnError(self, text: str) -> None:
        self.check(text)

    @settings(max_examples=200, deadline=None)
    @given(st.dictionaries(KEYS, VALUES, max_size=5))
    def test_anyValuesAreAConfigurationOrAnError(self, values: dict[str, Any]) -> None:
        self.check(yaml.safe_dump(values, allow_unicode=True))

    @settings(max_examples=100, deadline=None)
    @given(st.integers(0, len(DESIGN)), st.text(max_size=4), st.integers(0, 20))
    def test_aDamagedFileIsAConfigurationOrAnError(self, at: int, inserted: str, lost: int) -> None:
        self.check(DESIGN[:at] + inserted + DESIGN[at + lost :])
