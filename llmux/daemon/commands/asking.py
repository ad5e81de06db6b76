"""Finds the configuration, and asks the running daemon over its own HTTP interface."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
from typing import Any
from urllib.parse import urlsplit

from llmux.config import Config, ConfigError, defaults, find, load_file
from llmux.config.endpoint import parse

SECONDS = 10.0


class NotAnswered(Exception):
    """The daemon gave no answer that could be used; the text says why."""


def add_config(parser: argparse.ArgumentParser) -> None:
    """The option that names a configuration file."""
    parser.add_argument("--config", "-c", metavar="FILE", help="configuration file (default: as twistd llmux finds it)")


def add_daemon(parser: argparse.ArgumentParser) -> None:
    """The options that say which daemon is asked."""
    add_config(parser)
    parser.add_argument("--url", metavar="URL", help="address of the daemon (default: from the configuration)")
    parser.add_argument("--client-key", metavar="KEY", help="client key (default: $LLMUX_KEY, else the first api-key)")


def configuration(path: str | None) -> Config:
    """The configuration of a command; raises SystemExit with its first problem."""
    path = path or find(os.environ)
    if path is None:
        return defaults(os.environ)
    try:
        return load_file(path, os.environ)
    except ConfigError as problem:
        print(problem, file=sys.stderr)
        raise SystemExit(1) from None


def ask(options: argparse.Namespace, method: str, path: str, body: Any = None) -> Any:
    """One question to the daemon, and its JSON answer; raises NotAnswered."""
    url, key = options.url, options.client_key or os.environ.get("LLMUX_KEY")
    if url is None or key is None:
        config = configuration(options.config)
        url = url or address(config)
        key = key or (config.api_keys[0].reveal() if config.api_keys else None)
    connection = http.client.HTTPConnection(*_host_and_port(url), timeout=SECONDS)
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
    except ValueError:
        raise NotAnswered("the client key has a character that a header cannot carry") from None
    except OSError as problem:
        raise NotAnswered(f"no daemon answers at {url}: {problem.strerror or problem}") from None
    except http.client.HTTPException as problem:
        raise NotAnswered(f"what answers at {url} does not speak HTTP ({type(problem).__name__})") from None
    finally:
        connection.close()
    try:
        value = json.loads(text)
    except ValueError:
        raise NotAnswered(f"{url}{path} answered {answer.status} without JSON") from None
    if answer.status != 200:
        raise NotAnswered(f"{url}{path} answered {answer.status}: {value.get('error', value)}")
    return value


def _host_and_port(url: str) -> tuple[str, int]:
    """Where a URL leads; raises NotAnswered for what is no address of a daemon."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "http" and parts.hostname is not None:
            return parts.hostname, parts.port or 80
    except ValueError:
        pass
    raise NotAnswered(f"{url}: the address of a daemon is http://HOST:PORT")


def address(config: Config) -> str:
    """Where a daemon with this configuration listens on loopback TCP; raises NotAnswered when it does not."""
    for written in config.listen:
        endpoint = parse(written)
        if endpoint.kind == "tcp":
            host = endpoint.options.get("interface") or "127.0.0.1"
            port = endpoint.options.get("port") or endpoint.arguments[0]
            return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    raise NotAnswered("the configuration has no TCP address to ask; give --url")
