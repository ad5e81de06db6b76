"""`llmux env CLIENT`: the lines that point a client here."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Mapping

from llmux.daemon.commands.asking import add_daemon, address, configuration
from llmux.daemon.commands.printing import Command, print_json

PLACEHOLDER = "any-key"


def _claude(root: str, key: str) -> dict[str, str]:
    return {"ANTHROPIC_BASE_URL": root, "ANTHROPIC_API_KEY": key}


def _codex(root: str, key: str) -> dict[str, str]:
    return {"LLMUX_KEY": key}


def _amp(root: str, key: str) -> dict[str, str]:
    return {"AMP_URL": root, "AMP_API_KEY": key}


def _gemini(root: str, key: str) -> dict[str, str]:
    return {"GOOGLE_GEMINI_BASE_URL": root, "GEMINI_API_KEY": key}


def _openai(root: str, key: str) -> dict[str, str]:
    return {"OPENAI_BASE_URL": f"{root}/v1", "OPENAI_API_KEY": key}


CLIENTS: Mapping[str, Callable[[str, str], dict[str, str]]] = {
    "claude": _claude,
    "codex": _codex,
    "amp": _amp,
    "gemini": _gemini,
    "openai": _openai,
}
# What goes into a client's own file, where variables do not suffice.
FILES: Mapping[str, tuple[str, str]] = {
    "codex": (
        "~/.codex/config.toml",
        """\
model_provider = "llmux"
[model_providers.llmux]
name = "llmux"
base_url = "ROOT/v1"
env_key = "LLMUX_KEY"
wire_api = "responses"
""",
    ),
    "gemini": ("~/.gemini/settings.json", '{"security": {"auth": {"selectedType": "gemini-api-key"}}}\n'),
}


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("client", choices=tuple(CLIENTS), help="which client")
    add_daemon(parser)


def _run(options: argparse.Namespace) -> int:
    config = configuration(options.config)
    root = (options.url or address(config)).rstrip("/")
    known = config.api_keys[0].reveal() if config.api_keys else PLACEHOLDER
    key = options.client_key or os.environ.get("LLMUX_KEY") or known
    variables = CLIENTS[options.client](root, key)
    files = {name: text.replace("ROOT", root) for client, (name, text) in FILES.items() if client == options.client}
    if options.json:
        print_json({"variables": variables, "files": files})
        return 0
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")
    for name, text in files.items():
        print(f"# in {name}:")
        print("".join(f"# {line}" for line in text.splitlines(keepends=True)), end="")
    return 0


COMMAND = Command("env", "print the lines that point a client at llmux", _add, _run)
