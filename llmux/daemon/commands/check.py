"""`llmux check`: every problem of a configuration, not just the first, and what is worth a second look."""

from __future__ import annotations

import argparse
import os
import re
import socket
import ssl
import stat
from pathlib import Path
from urllib.parse import urlsplit

from llmux.config import Config, ConfigError, defaults, find, load_file
from llmux.daemon.commands.printing import Command, print_json
from llmux.daemon.commands.usage import price_list
from llmux.peers.capture import keys_of
from llmux.routing.directory import Directory, unusable
from llmux.routing.mapping import ModelMapper

ONLINE_SECONDS = 5.0
_LITERAL_KEY = re.compile(r"(?:sk|rk|gsk|xai|sgamp)[-_][A-Za-z0-9_-]{8,}|AIza[A-Za-z0-9_-]{20,}")


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", metavar="FILE", help="configuration file (default: as twistd llmux finds it)"
    )
    parser.add_argument("--online", action="store_true", help="also try to connect to every base URL")


def _run(options: argparse.Namespace) -> int:
    path = options.file or find(os.environ)
    problems: list[str] = []
    warnings: list[str] = []
    if path is None:
        config: Config | None = defaults(os.environ)
    else:
        try:
            config = load_file(path, os.environ)
        except ConfigError as problem:
            config = None
            problems += [str(each) for each in problem.all]
    if config is not None:
        warnings += worth_a_look(config, path)
        if options.online:
            warnings += unreachable(config)
    if options.json:
        print_json({"file": path, "problems": problems, "warnings": warnings})
    else:
        for text in problems:
            print(f"error: {text}")
        for text in warnings:
            print(f"warning: {text}")
        count = f"{_counted(problems, 'error')}, {_counted(warnings, 'warning')}"
        print(f"{path or 'built-in defaults'}: {count if problems or warnings else 'all is well'}")
    return 1 if problems else 0


def _counted(found: list[str], what: str) -> str:
    return f"{len(found)} {what}{'' if len(found) == 1 else 's'}"


def worth_a_look(config: Config, path: str | None) -> list[str]:
    """What loads and may still not be meant."""
    directory = Directory(config.providers)
    found = [*config.warnings, *directory.warnings]
    found += ModelMapper(config.ampcode.model_mappings, directory.provider_names).warnings
    if config.ampcode.upstream_url and not config.ampcode.credits.line:
        found.append(
            "ampcode.credits is not written down: models that nobody serves go to the upstream and cost credits "
            "(write `credits: allow` to mean it, or `deny`)"
        )
    for provider in config.providers:
        reason = unusable(provider)
        if reason is not None:
            found.append(f"provider {provider.name} serves nothing: it {reason}")
    found += _bad_prices(config)
    if path is not None:
        found += _readable_keys(path, config)
    return found


def _bad_prices(config: Config) -> list[str]:
    """What keeps `llmux usage` from the prices; the daemon has no use for them."""
    try:
        price_list(config)
    except ConfigError as problem:
        return [str(each) for each in problem.all]
    except OSError as problem:
        return [f"usage.prices: {problem.filename}: {problem.strerror}"]
    return []


def _readable_keys(path: str, config: Config) -> list[str]:
    """Whether others on this machine can read a file with literal keys."""
    try:
        mode = os.stat(path).st_mode
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    if not mode & (stat.S_IROTH | stat.S_IRGRP):
        return []
    if not _LITERAL_KEY.search(text) and not any(_holds(text, key) for key in keys_of(config)):
        return []
    return [f"{path} holds literal keys and others can read it (chmod 600, or use ${{NAME}})"]


def _holds(text: str, key: str) -> bool:
    """Whether a key is written out, and not just short enough to be a part of something else."""
    return re.search(rf"(?<![\w-]){re.escape(key)}(?![\w-])", text) is not None


def unreachable(config: Config) -> list[str]:
    """Base URLs that no connection can be made to, TLS included."""
    urls = [
        (f"provider {provider.name}", provider.base_url) for provider in config.providers if provider.kind != "demo"
    ]
    if config.ampcode.upstream_url:
        urls.append(("ampcode.upstream-url", config.ampcode.upstream_url))
    found = []
    for name, url in urls:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            with socket.create_connection((parts.hostname or "", port), ONLINE_SECONDS) as connection:
                if parts.scheme == "https":
                    ssl.create_default_context().wrap_socket(connection, server_hostname=parts.hostname).close()
        except OSError as problem:
            found.append(f"{name}: {url} cannot be reached: {getattr(problem, 'strerror', None) or problem}")
    return found


COMMAND = Command("check", "check a configuration: all problems, and what is worth a second look", _add, _run)
