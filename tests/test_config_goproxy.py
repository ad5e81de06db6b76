"""Sections of a CLIProxyAPI file."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from llmux.config.goproxy import IGNORED
from llmux.config.model import ModelEntry, ProviderConfig
from llmux.config.secret import Secret
from tests.configuring import config, problems, warnings

WHOLE = """
host: "127.0.0.1"
port: 8318
tls: {enable: false, cert: "", key: ""}
remote-management: {allow-remote: false, secret-key: "hidden-1"}
auth-dir: "~/.cli-proxy-api"
api-keys: ["your-api-key-1", "your-api-key-2"]
debug: false
pprof: {enable: false, addr: "127.0.0.1:8316"}
logging-to-file: false
usage-statistics-enabled: false
proxy-url: "socks5://user:hidden-2@192.168.1.1:1080/"
request-retry: 3
max-retry-interval: 30
quota-exceeded: {switch-project: true, switch-preview-model: true}
routing: {strategy: "round-robin", session-affinity: false, session-affinity-ttl: "1h"}
ws-auth: true
gemini-api-key:
  - api-key: "AIzaSy...01"
    weight: 5
    prefix: "test"
    base-url: "https://generativelanguage.googleapis.com"
    headers: {X-Custom-Header: "custom-value", X-Session: "$ABC"}
    proxy-url: "direct"
    models:
      - {name: "gemini-2.5-flash", alias: "gemini-flash", display-name: "Gemini", thinking: {levels: [high]}}
    excluded-models: ["gemini-2.5-pro", "*-preview"]
  - api-key: "AIzaSy...02"
codex-api-key:
  - api-key: "sk-atSM..."
    base-url: "https://www.example.com"
claude-api-key:
  - api-key: "sk-1"
  - api-key: "sk-2"
  - api-key: "sk-3"
    base-url: "https://www.example.com"
    cloak: {mode: "auto"}
xai-api-key: [{api-key: "xai-1"}]
openai-compatibility:
  - name: "openrouter"
    disabled: false
    prefix: ""
    base-url: "https://openrouter.ai/api/v1"
    api-key-entries:
      - {api-key: "sk-or-1", proxy-url: "direct"}
      - api-key: "sk-or-2"
    models:
      - {name: "moonshotai/kimi-k2:free", alias: "kimi-k2"}
      - {name: "glm-5", alias: ""}
vertex-api-key: [{api-key: "vk-1"}]
oauth-model-alias: {claude: [{name: a, alias: b}]}
payload: {default: []}
ampcode:
  upstream-url: "https://ampcode.com"
  upstream-api-key: ""
  restrict-management-to-localhost: false
  model-mappings: [{from: "claude-opus-4-5-20251101", to: "gemini-claude-opus-4-5-thinking"}]
"""


class GoProxyFileTests(SynchronousTestCase):
    def test_aWholeFileLoads(self) -> None:
        found = config(WHOLE)
        self.assertEqual(found.listen, ("tcp:8318:interface=127.0.0.1",))
        self.assertEqual(found.retry.rounds, 3)
        self.assertEqual(
            [(entry.name, entry.kind, entry.base_url, len(entry.api_keys)) for entry in found.providers],
            [
                ("openrouter", "openai", "https://openrouter.ai/api/v1", 2),
                ("claude", "anthropic", "https://api.anthropic.com", 2),
                ("claude-2", "anthropic", "https://www.example.com", 1),
                ("codex", "openai-responses", "https://www.example.com", 1),
                ("gemini", "gemini", "https://generativelanguage.googleapis.com", 1),
                ("gemini-2", "gemini", "https://generativelanguage.googleapis.com", 1),
                ("xai", "openai-responses", "https://api.x.ai/v1", 1),
            ],
        )

    def test_eachKeyWithoutUseWarnsOnceAndShowsNothing(self) -> None:
        found = warnings(WHOLE)
        keys = [line.split(": ")[1] for line in found]
        self.assertEqual(len(keys), len(set(keys)))
        for key in ("remote-management", "auth-dir", "debug", "pprof", "proxy-url", "quota-exceeded", "ws-auth"):
            self.assertIn(key, keys)
        self.assertIn("gemini-api-key[0].headers.X-Session", keys)
        self.assertNotIn("hidden", "".join(found))
        self.assertNotIn("sk-", "".join(found))

    def test_everyIgnoredKeyTakesAnyValue(self) -> None:
        text = "".join(f"{key}: [1, {{a: b}}]\n" for key in sorted(IGNORED))
        self.assertEqual(len(warnings(text)), len(IGNORED))


class KeySectionTests(SynchronousTestCase):
    def providers(self, text: str) -> tuple[ProviderConfig, ...]:
        return config(text).providers

    def test_everyUsefulFieldIsRead(self) -> None:
        (found,) = self.providers(
            "claude-api-key:\n  - {api-key: k, base-url: https://x, headers: {A: b}, models: [{name: m, alias: n}, p], "
            "prefix: t, excluded-models: [q], priority: 4, weight: 0, disabled: true}\n"
        )
        self.assertEqual(
            found,
            ProviderConfig(
                "claude",
                "anthropic",
                "https://x",
                (Secret("k"),),
                (ModelEntry("m", "n"), ModelEntry("p"), ModelEntry("m", "t/n"), ModelEntry("p", "t/p")),
                ("q",),
                priority=4,
                headers=(("A", "b"),),
                enabled=False,
                weight=0,
            ),
        )
        self.assertEqual(found.line, 2)

    def test_entriesThatDifferOnlyInTheKeyAreOneProvider(self) -> None:
        found = self.providers("codex-api-key: [{api-key: a}, {api-key: b, priority: 1}, {api-key: c}, {api-key: a}]")
        self.assertEqual(
            [(entry.name, entry.api_keys) for entry in found],
            [("codex", (Secret("a"), Secret("c"))), ("codex-2", (Secret("b"),))],
        )

    def test_namesAreFree(self) -> None:
        found = self.providers("providers: [{name: claude, kind: demo}]\nclaude-api-key: [{api-key: a}]\n")
        self.assertEqual([entry.name for entry in found], ["claude", "claude-2"])

    def test_aKeyThatIsNotSetLeavesTheProvider(self) -> None:
        text = "claude-api-key: [{api-key: ${NOPE}}, {api-key: ''}]"
        self.assertEqual([entry.api_keys for entry in self.providers(text)], [()])
        self.assertEqual(len(warnings(text)), 2)

    def test_aPrefixWithoutListedModelsWarns(self) -> None:
        text = "claude-api-key: [{api-key: k, prefix: t}]"
        self.assertEqual(self.providers(text)[0].models, ())
        self.assertEqual(len(warnings(text)), 1)

    def test_grokIsServedByXai(self) -> None:
        self.assertEqual(self.providers("xai-api-key: [{api-key: k}]")[0].models, (ModelEntry("grok-*"),))

    def test_theOldGeminiListIsUnderstood(self) -> None:
        (found,) = self.providers("generative-language-api-key: [a, b]")
        self.assertEqual((found.name, found.kind, len(found.api_keys)), ("gemini", "gemini", 2))
        self.assertEqual(self.providers("generative-language-api-key: []"), ())

    def test_wrongTypesAndUnknownKeysRefuseTheFile(self) -> None:
        for written, problem in {
            "claude-api-key: sk-hidden": "1:17: claude-api-key: expected a list",
            "claude-api-key: [sk-hidden]": "1:18: claude-api-key[0]: expected keys with values",
            "claude-api-key: [{apikey: sk-hidden}]": "claude-api-key[0].apikey: unknown key; did you mean api-key?",
            "claude-api-key: [{models: [{alias: a}]}]": "claude-api-key[0].models[0].name: is missing",
            "claude-api-key: [{headers: [a]}]": "expected header names with values",
            "claude-api-keys: []": "1:1: claude-api-keys: unknown key; did you mean claude-api-key?",
            "openai-compatibility: [{base-url: https://x, models: [a]}]": "openai-compatibility[0].name: is missing",
        }.items():
            found = problems(written)
            self.assertEqual(len(found), 1, found)
            self.assertIn(problem, found[0])
            self.assertNotIn("hidden", found[0])


class CompatibilityTests(SynchronousTestCase):
    def test_keysOfBothNotationsAreTaken(self) -> None:
        text = (
            "openai-compatibility: [{name: a, base-url: https://x, models: [m], "
            "api-keys: [k1], api-key-entries: [{api-key: k2}, {api-key: k1}]}]"
        )
        (found,) = config(text).providers
        self.assertEqual(found.api_keys, (Secret("k2"), Secret("k1")))
        self.assertEqual((found.name, found.kind, found.models), ("a", "openai", (ModelEntry("m"),)))

    def test_anEntryThatServesNothingIsLeftOut(self) -> None:
        for written in ("name: a, base-url: https://x", "name: a, models: [m]", "name: a, base-url: '', models: [m]"):
            text = f"openai-compatibility: [{{{written}}}]"
            self.assertEqual(config(text).providers, ())
            self.assertEqual(len(warnings(text)), 1)

    def test_namesMustDifferFromThoseOfProviders(self) -> None:
        text = (
            "providers: [{name: a, kind: demo}]\n"
            "openai-compatibility:\n  - {name: a, base-url: https://x, models: [m]}\n"
        )
        self.assertEqual(problems(text), ["3:1: providers: two providers have the same name, the first in line 1"])
