"""Other tools' configurations become ours: what is carried over loads, and what is not is named with a reason."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import stat
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from llmux.config import load
from llmux.daemon.commands.importing import TOOLS, Unusable, convert, problems_of, written
from llmux.daemon.commands.main import main
from llmux.daemon.importing.imported import Imported

LITELLM: dict[str, Any] = {
    "model_list": [
        {"model_name": "gpt-4o", "litellm_params": {"model": "openai/gpt-4o", "api_key": "os.environ/OPENAI_API_KEY"}},
        {
            "model_name": "fast",
            "litellm_params": {"model": "openai/gpt-4o-mini", "api_key": "os.environ/OPENAI_API_KEY"},
        },
        {"model_name": "claude", "litellm_params": {"model": "anthropic/claude-opus-4-7", "temperature": 0}},
        {"model_name": "mine", "litellm_params": {"model": "openai/qwen", "api_base": "http://127.0.0.1:8000/v1"}},
        {"model_name": "gone", "litellm_params": {"model": "bedrock/claude"}},
    ],
    "general_settings": {"master_key": "sk-master-1234567", "database_url": "postgresql://x"},
    "router_settings": {"model_group_alias": {"gpt-4": "gpt-4o"}, "routing_strategy": "latency-based-routing"},
    "litellm_settings": {"num_retries": 2, "fallbacks": [{"gpt-4o": ["claude"]}]},
}
CCR: dict[str, Any] = {
    "PORT": 3456,
    "APIKEY": "$MY_KEY",
    "LOG": True,
    "API_TIMEOUT_MS": "600000",
    "Providers": [
        {
            "name": "openrouter",
            "api_base_url": "https://openrouter.ai/api/v1/chat/completions",
            "api_key": "sk-or-1234567890",
            "models": ["anthropic/claude-sonnet-4", "z-ai/glm-4.5"],
            "transformer": {"use": ["openrouter"]},
        },
        {
            "name": "gemini",
            "api_base_url": "https://generativelanguage.googleapis.com/v1beta/models/",
            "api_key": "$GEMINI_API_KEY",
            "models": ["gemini-2.5-pro"],
        },
    ],
    "Router": {"default": "openrouter,z-ai/glm-4.5", "background": "gemini,gemini-2.5-pro", "think": "x,y"},
}
LLMUX_TS: dict[str, Any] = {
    "server": {"port": 8743, "hostname": "localhost", "cors": True},
    "routing": {
        "fallbackOrder": ["anthropic", "antigravity"],
        "modelMapping": {"opus": {"provider": "anthropic", "model": "claude-opus-4-7", "fallbacks": ["gpt-5"]}},
        "modelMappings": [{"from": "haiku", "to": [{"model": "gemini-3-flash", "thinkingLevel": "low"}, "gpt-5-mini"]}],
    },
    "amp": {"enabled": True, "upstreamUrl": "https://ampcode.com", "restrictManagementToLocalhost": False},
}
GO: dict[str, Any] = {
    "port": 8317,
    "auth-dir": "~/.cli-proxy-api",
    "api-keys": ["ck-12345678"],
    "claude-api-key": [{"api-key": "sk-ant-1234567890", "models": [{"name": "claude-opus-4-7", "alias": "opus"}]}],
    "ampcode": {"upstream-url": "https://ampcode.com", "model-mappings": [{"from": "a", "to": "opus"}]},
}
EXAMPLES = {"litellm": LITELLM, "ccr": CCR, "llmux-ts": LLMUX_TS, "cliproxyapi": GO}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


class ConvertTests(SynchronousTestCase):
    def imported(self, tool: str) -> Imported:
        return convert(tool, EXAMPLES[tool])

    def config(self, tool: str) -> Any:
        environ = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "MY_KEY"), "a-key-from-the-environment")
        environ["GEMINI_API_KEY"] = "a-key-from-the-environment"
        return load(written(tool, self.imported(tool)), "new.yaml", environ)

    def test_everyExampleLoads(self) -> None:
        for tool in TOOLS:
            self.assertEqual(problems_of(written(tool, self.imported(tool)), "new.yaml"), ([], []), tool)

    def test_litellmsDeploymentsBecomeProvidersWithAliases(self) -> None:
        providers = {provider.name: provider for provider in self.config("litellm").providers}
        self.assertEqual(set(providers), {"openai", "openai-2", "anthropic"})
        listed = [(entry.name, entry.alias) for entry in providers["openai"].models]
        self.assertEqual(listed, [("gpt-4o", None), ("gpt-4o-mini", "fast")])
        self.assertEqual(providers["openai-2"].base_url, "http://127.0.0.1:8000/v1")

    def test_litellmsWildcardsBecomeTheKindsOwnPatterns(self) -> None:
        imported = convert(
            "litellm",
            {
                "model_list": [
                    {"model_name": f"{prefix}/*", "litellm_params": {"model": f"{prefix}/*"}}
                    for prefix in ("anthropic", "gemini", "openrouter")
                ]
                + [{"model_name": "*", "litellm_params": {"model": "*"}}]
            },
        )
        listed = [(found["name"], found["models"]) for found in imported.config["providers"]]
        self.assertEqual(listed, [("anthropic", ["claude-*"]), ("gemini", ["gemini-*", "gemma-*"])])
        lost = "\n".join(imported.lost)
        for name in ("anthropic/*", "gemini/*", "openrouter/*", "(*)"):
            self.assertIn(name, lost)
        self.assertEqual(problems_of(written("litellm", imported), "new.yaml"), ([], []))

    def test_whatSpeaksAnotherApiAtItsOwnAddressStaysBehind(self) -> None:
        params = {"model": "azure/gpt-4o-eu", "api_base": "https://x.openai.azure.com/", "api_key": "os.environ/A"}
        imported = convert("litellm", {"model_list": [{"model_name": "gpt-4o", "litellm_params": params}]})
        self.assertEqual(imported.config["providers"], [])
        self.assertIn("azure", imported.lost[0])

    def test_litellmsNamedCredentialsAreLookedUp(self) -> None:
        document = {
            "model_list": [
                {"model_name": "a", "litellm_params": {"model": "openai/a", "litellm_credential_name": "mine"}},
                {"model_name": "b", "litellm_params": {"model": "openai/b", "litellm_credential_name": "none"}},
            ],
            "credential_list": [
                {"credential_name": "mine", "credential_values": {"api_key": "k-1", "api_base": "http://h/v1"}}
            ],
        }
        imported = convert("litellm", document)
        (provider,) = imported.config["providers"]
        self.assertEqual((provider["base-url"], provider["api-keys"]), ("http://h/v1", ["k-1"]))
        self.assertEqual(len(imported.lost), 1)
        self.assertIn("none", imported.lost[0])

    def test_ollamaIsAskedInOpenaisFormat(self) -> None:
        params = {"model": "ollama/llama2", "api_base": "http://localhost:11434"}
        imported = convert("litellm", {"model_list": [{"model_name": "l", "litellm_params": params}]})
        self.assertEqual(imported.config["providers"][0]["base-url"], "http://localhost:11434/v1")

    def test_nothingIsDroppedWithoutAWord(self) -> None:
        entry = {
            "model_name": "a",
            "litellm_params": {"model": "openai/a", "timeout": 5, "stream_timeout": 6},
            "model_info": {"mode": "chat"},
        }
        document = {
            "model_list": [entry],
            "litellm_settings": {"set_verbose": True, "json_logs": True, "drop_params": True},
        }
        lost = "\n".join(convert("litellm", document).lost)
        for name in ("timeout", "stream_timeout", "model_info", "set_verbose", "json_logs"):
            self.assertIn(name, lost)
        self.assertNotIn("drop_params", lost)
        document = json.loads(json.dumps(LLMUX_TS))
        document["server"]["workers"] = document["amp"]["extra"] = 1
        document["routing"]["modelMappings"][0]["thinking"] = True
        document["routing"]["modelMapping"]["ag"] = {"provider": "antigravity", "model": "gemini-claude"}
        lost = "\n".join(convert("llmux-ts", document).lost)
        for name in ("server.workers", "amp.extra", "modelMappings[0].thinking", "modelMapping.ag (antigravity)"):
            self.assertIn(name, lost)

    def test_theTypeScriptLlmuxsOwnUpstreamIsKept(self) -> None:
        for amp, upstream in (
            ({}, "https://ampcode.com"),
            ({"amp": {"enabled": True}}, "https://ampcode.com"),
            ({"amp": {"enabled": False}}, None),
        ):
            config = convert("llmux-ts", {"routing": {}, **amp}).config
            self.assertEqual(config.get("ampcode", {}).get("upstream-url"), upstream)

    def test_litellmsLossesAreNamed(self) -> None:
        lost = "\n".join(self.imported("litellm").lost)
        for what in ("bedrock", "temperature", "database_url", "latency-based-routing", "fallbacks (gpt-4o)"):
            self.assertIn(what, lost)

    def test_routersRolesBecomeMappingsOfClaudesNames(self) -> None:
        config = self.config("ccr")
        rules = [
            (rule.source, rule.targets[0].model, rule.targets[0].provider) for rule in config.ampcode.model_mappings
        ]
        self.assertEqual(rules[0], ("^claude-(?:opus|sonnet)", "z-ai/glm-4.5", "openrouter"))
        self.assertEqual(rules[1][1:], ("gemini-2.5-pro", "gemini"))
        kinds = [(provider.kind, provider.base_url) for provider in config.providers]
        self.assertEqual(kinds[0], ("openai", "https://openrouter.ai/api/v1"))
        self.assertEqual(kinds[1], ("gemini", "https://generativelanguage.googleapis.com"))
        self.assertEqual(config.timeouts.first_byte, 600.0)
        self.assertIn("Router.think", "\n".join(self.imported("ccr").lost))

    def test_theTypeScriptLlmuxKeepsItsMappingsFirst(self) -> None:
        ampcode = self.config("llmux-ts").ampcode
        self.assertTrue(ampcode.force_model_mappings)
        self.assertEqual([target.model for target in ampcode.model_mappings[0].targets], ["claude-opus-4-7", "gpt-5"])
        self.assertEqual(ampcode.model_mappings[1].targets[0].model, "gemini-3-flash(low)")
        self.assertIn("antigravity", "\n".join(self.imported("llmux-ts").lost))

    def test_theGoProxysFileStaysAsItIs(self) -> None:
        config = self.config("cliproxyapi")
        self.assertEqual([provider.kind for provider in config.providers], ["anthropic"])
        (lost,) = self.imported("cliproxyapi").lost
        self.assertTrue(lost.startswith("auth-dir: "), lost)

    def test_anotherToolsFileIsRefused(self) -> None:
        for tool in TOOLS:
            self.assertRaises(Unusable, convert, tool, {"hello": "world"})

    @settings(max_examples=60, deadline=None)
    @given(st.sampled_from(sorted(EXAMPLES)), st.data())
    def test_nonsenseInAnyPlaceIsCarriedOverOrLostAndNeverRaises(self, tool: str, data: st.DataObject) -> None:
        document: Any = json.loads(json.dumps(EXAMPLES[tool]))
        place = document
        while isinstance(place, dict | list) and place:
            key: Any = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
            if not isinstance(place[key], dict | list) or data.draw(st.booleans()):
                place[key] = data.draw(VALUES)
                break
            place = place[key]
        with contextlib.suppress(Unusable):
            written(tool, convert(tool, document))


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="llmux-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.source = self.folder / "config.json"
        self.source.write_text(json.dumps(CCR))
        self.target = self.folder / "llmux.yaml"

    def run_command(self, *arguments: str) -> tuple[int, str, str]:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(["import", *arguments])
        return status, out.getvalue(), err.getvalue()

    def test_theNewFileIsForItsOwnerOnlyAndLossesArePrinted(self) -> None:
        status, out, _ = self.run_command("ccr", str(self.source), "-o", str(self.target))
        self.assertEqual(status, 0)
        self.assertIn("not carried over: LOG", out)
        self.assertEqual(stat.S_IMODE(os.stat(self.target).st_mode), 0o600)
        self.assertNotIn("sk-or-1234567890", out)

    def test_whatIsIgnoredFurtherInIsNamedWithItsPlace(self) -> None:
        entry = {"api-key": "sk-ant-1", "cloak": {"mode": "auto"}, "headers": {"X-A": "$ABC"}}
        document = {"claude-api-key": [entry], "routing": {"strategy": "weighted-round-robin"}}
        self.source.write_text(json.dumps(document))
        status, out, _ = self.run_command("cliproxyapi", str(self.source), "-o", str(self.target))
        self.assertEqual(status, 0, out)
        for name in ("claude-api-key[0].cloak: ", "claude-api-key[0].headers.X-A: "):
            self.assertRegex(out, f"not carried over: .*yaml:[0-9]+:[0-9]+: {re.escape(name)}")

    def test_commentsAndTrailingCommasAreReadAsTheRouterReadsThem(self) -> None:
        text = json.dumps(CCR, indent=1).replace('"LOG": true,', '"LOG": true, // "what"\n /* "and" why */')
        text = "// mine\n" + text.replace("\n}", ",\n}").replace('"x,y"', '"x,y", ')
        self.assertRaises(ValueError, json.loads, text)
        self.source.write_text(text)
        status, _, err = self.run_command("ccr", str(self.source), "-o", str(self.target))
        self.assertEqual(status, 0, err)
        self.assertIn("https://openrouter.ai/api/v1", self.target.read_text())

    def test_anExistingFileIsKept(self) -> None:
        self.target.write_text("mine")
        status, _, err = self.run_command("ccr", str(self.source), "-o", str(self.target))
        self.assertEqual((status, self.target.read_text()), (1, "mine"))
        self.assertIn("--force", err)
        self.assertEqual(self.run_command("ccr", str(self.source), "-o", str(self.target), "--force")[0], 0)

    def test_jsonTellsTheSame(self) -> None:
        _, out, _ = self.run_command("ccr", str(self.source), "-o", str(self.target), "--json")
        found = json.loads(out)
        self.assertEqual((found["file"], found["problems"]), (str(self.target), []))
        self.assertTrue(found["lost"])

    def test_aMissingOrForeignFileIsOneLine(self) -> None:
        for arguments in (("ccr", str(self.folder / "none")), ("litellm", str(self.source))):
            status, _, err = self.run_command(*arguments, "-o", str(self.target))
            self.assertEqual((status, err.count("\n")), (1, 1))
