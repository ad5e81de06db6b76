"""What the README says can be pasted works: its run command, its curl lines, the set-up of the SDKs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import anthropic
import openai
from google import genai
from twisted.internet.threads import deferToThread

from tests.end_to_end import EndToEndCase
from tests.running import Daemon

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
ROOT = "http://127.0.0.1:8317"
KEY = "client-key-of-the-tests"
ENDS = {
    "/v1/messages": "event: message_stop",
    "/v1/chat/completions": "data: [DONE]",
    "/v1/responses": "event: response.completed",
    "/v1beta/models/demo:streamGenerateContent": '"finishReason":"STOP"',
}


def section(title: str) -> str:
    """One section of the README."""
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, f"README.md has no section {title}"
    return found[1]


def shell_blocks(text: str) -> list[str]:
    """The shell commands of a text."""
    return re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def curl_lines() -> list[str]:
    """Every curl command of the first section, continuation lines joined."""
    text = "\n".join(shell_blocks(section("Run it"))).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.startswith("curl ")]


def set_up(client: str) -> str:
    """What the table of clients says for one of them."""
    found = re.search(rf"^\| {client} \| `([^`]*)` \|$", README, re.MULTILINE)
    assert found is not None, f"README.md tells no set-up for {client}"
    return found[1]


def texts_by_sdk(clients: dict[str, Any]) -> list[str]:
    """The answer to one question by each SDK; blocks."""
    hello: Any = [{"role": "user", "content": "Hello, llmux"}]
    chat = clients["openai"].chat.completions.create(model="demo", messages=hello)
    response = clients["openai"].responses.create(model="demo", input="Hello, llmux")
    message = clients["anthropic"].messages.create(model="demo", max_tokens=99, messages=hello)
    generated = clients["google"].models.generate_content(model="demo", contents="Hello, llmux")
    for client in clients.values():
        client.close()
    return [chat.choices[0].message.content, response.output_text, message.content[0].text, generated.text]


class ReadmeTests(EndToEndCase):
    async def begin(self) -> Daemon:
        return await self.run_daemon(f"api-keys: [{KEY}]\nproviders: [{{name: demo, kind: demo}}]\n")

    def assertAnswers(self, texts: list[str]) -> None:
        self.assertEqual([text[:23] for text in texts], ["You said: Hello, llmux "] * 4)

    def test_theRunCommandStartsWhatTheseTestsStart(self) -> None:
        command = shell_blocks(section("Run it"))[0].strip().rpartition("&& ")[2]
        self.assertEqual(shlex.split(command), [".venv/bin/twistd", "-n", "llmux"])

    async def test_theCurlLinesStreamACompleteAnswerInEveryFormat(self) -> None:
        daemon = await self.run_daemon("providers: [{name: demo, kind: demo}]\n")
        lines = curl_lines()
        asked = []
        for line in lines:
            self.assertIn(ROOT, line)
            ended = await deferToThread(
                subprocess.run,
                ["bash", "-c", line.replace(ROOT, daemon.url)],
                capture_output=True,
                text=True,
                timeout=30,
            )
            path = next(path for path in ENDS if f"{ROOT}{path}" in line)
            asked.append(path)
            self.assertEqual(ended.returncode, 0, ended.stderr)
            events = [event for event in ended.stdout.strip().split("\n\n") if event]
            self.assertGreater(len(events), 5, ended.stdout)
            self.assertIn(ENDS[path], events[-1], line)
            self.assertIn(" llmux", ended.stdout, line)
        self.assertEqual(asked, list(ENDS))

    async def test_theSDKsWorkAsTheTableOfClientsSetsThemUp(self) -> None:
        daemon = await self.begin()
        names = {"OpenAI": openai.OpenAI, "Anthropic": anthropic.Anthropic, "genai": genai}

        def ask() -> list[str]:
            clients = {
                name.lower(): eval(set_up(f"{name} SDK").replace("ROOT", daemon.url).replace("KEY", KEY), dict(names))
                for name in ("OpenAI", "Anthropic", "Google")
            }
            return texts_by_sdk(clients)

        self.assertAnswers(await deferToThread(ask))

    async def test_theSDKsWorkWithTheVariablesThatTheCommandPrints(self) -> None:
        daemon = await self.begin()
        variables: dict[str, str] = {}
        for client in ("openai", "claude", "gemini"):
            program = "import sys; from llmux.daemon.commands.main import main; sys.exit(main())"
            command = [sys.executable, "-c", program, "env", client, "-c", str(daemon.config)]
            printed = await deferToThread(subprocess.run, command, capture_output=True, text=True, timeout=30)
            self.assertEqual(printed.returncode, 0, printed.stderr)
            exports = [line.removeprefix("export ") for line in printed.stdout.splitlines() if not line.startswith("#")]
            for line in exports:
                name, _, value = shlex.split(line)[0].partition("=")
                variables[name] = value

        def ask() -> list[str]:
            with mock.patch.dict(os.environ, variables):
                clients = {"openai": openai.OpenAI(), "anthropic": anthropic.Anthropic(), "google": genai.Client()}
            return texts_by_sdk(clients)

        self.assertAnswers(await deferToThread(ask))
