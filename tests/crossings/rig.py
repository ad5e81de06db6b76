"""The real daemon before the four vendors, each in a process of its own, so that SDKs can block."""

from __future__ import annotations

import atexit
import socket
import subprocess
import sys
import time
import urllib.request
from functools import cache
from pathlib import Path
from typing import Any

from tests.crossings.talk import KEY
from tests.running import STARTUP_SECONDS, Daemon
from tests.vendors.service import DOWN_PATH, KEYS, SEEN_PATH, loaded

KINDS = {"anthropic": "anthropic", "chat": "openai", "responses": "openai-responses", "gemini": "gemini"}
MODELS = {
    "chat": "gpt-4.1",
    "responses": "gpt-5",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-3-pro",
}
OLD_GEMINI = "gemini-2.5-pro"
ADAPTIVE = "claude-opus-4-7"
QUIRKY = "quirky-chat"
AGENT = "agent-model"
STRICT = "translate: {strict: true}\n"


def configuration(vendors: str, more: str = "") -> str:
    """A provider of each kind, two of some models."""
    models = {
        "chat": f"[{MODELS['chat']}, {QUIRKY}]",
        "responses": f"[{MODELS['responses']}]",
        "anthropic": f"[{MODELS['anthropic']}, {{name: {ADAPTIVE}, capabilities: {{thinking: adaptive,"
        " api-version: '2026-10-21'}}]",
        "gemini": f"[{MODELS['gemini']}, {OLD_GEMINI}]",
    }
    lines = [f"api-keys: [{KEY}]", "cooldown: {max: 0}", "providers:"]
    for family, kind in KINDS.items():
        base = vendors + ("/v1" if kind.startswith("openai") else "")
        lines.append(
            f"  - {{name: {family}, kind: {kind}, base-url: {base}, api-keys: [{KEYS[family]}],"
            f" models: {models[family]}}}"
        )
    order = ", ".join(MODELS[family] for family in ("anthropic", "gemini", "responses"))
    lines += ["ampcode:", f"  model-mappings: [{{from: {AGENT}, to: [{order}]}}]"]
    return "\n".join(lines) + "\n" + more


@cache
def shared() -> Rig:
    """The rig of all tests of this process; ends with the process."""
    rig = Rig()
    atexit.register(rig.stop)
    return rig


class Rig:
    """Starts both; `stop` ends both. `python -m tests.vendors` ends with its standard input."""

    def __init__(self, more: str = "") -> None:
        root = Path(__file__).resolve().parents[2]
        self.vendors = subprocess.Popen(
            [sys.executable, "-m", "tests.vendors"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
        )
        assert self.vendors.stdout is not None
        self.vendors_url = f"http://127.0.0.1:{int(self.vendors.stdout.readline())}"
        self.daemon = Daemon(configuration(self.vendors_url, more))
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTUP_SECONDS
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.daemon.port), 1).close()
                return
            except OSError:
                if self.daemon.process.poll() is not None:
                    break
                time.sleep(0.05)
        self.stop()
        raise AssertionError(f"llmux does not listen:\n{self.daemon.log}")

    @property
    def url(self) -> str:
        """The daemon's address."""
        return self.daemon.url

    def seen(self) -> list[dict[str, Any]]:
        """The last requests that the vendors got: `target`, `headers`, `body`."""
        with urllib.request.urlopen(self.vendors_url + SEEN_PATH, timeout=10) as answer:
            told: list[dict[str, Any]] = loaded(answer.read())
            return told

    def take_down(self, *vendors: str) -> None:
        """Let these be overloaded from now on, and any other well again."""
        urllib.request.urlopen(self.vendors_url + DOWN_PATH + ",".join(vendors), timeout=10).close()

    def stop(self) -> None:
        """End both processes."""
        if self.daemon.process.poll() is None:
            self.daemon.process.terminate()
            self.daemon.process.wait(20)
        assert self.vendors.stdin is not None and self.vendors.stdout is not None
        self.vendors.stdin.close()
        self.vendors.wait(20)
        self.vendors.stdout.close()
