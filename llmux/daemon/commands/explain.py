"""`llmux explain`: why a model would be routed as it would."""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import time
from contextlib import closing
from typing import Any

from llmux.client_keys import ClientKeys
from llmux.config import Config
from llmux.daemon.commands.asking import NotAnswered, add_daemon, ask, configuration
from llmux.daemon.commands.printing import Command, print_json
from llmux.errors import HTTPProblem
from llmux.peers.credits import DailyCredits, MemoryLedger
from llmux.peers.store import read_only, state_file
from llmux.routing.decision import RoutingRequest
from llmux.routing.directory import Directory
from llmux.routing.explanation import as_text, explain
from llmux.routing.mapping import ModelMapper
from llmux.routing.router import Router
from llmux.web.management import protocol_of
from llmux.web.matching import Matcher
from llmux.web.routes import ROUTES


def router_of(config: Config, credits_left: int | None) -> Router:
    """The router of a configuration, by the daemon's own code, with nothing cooling down."""
    directory = Directory(config.providers)
    amp = config.ampcode
    mapper = ModelMapper(amp.model_mappings, directory.provider_names)
    return Router(directory, mapper, bool(amp.upstream_url), amp.credits, config.path, lambda: credits_left)


def credits_left(config: Config) -> int | None:
    """How many paid requests the day's budget still permits, by the daemon's own file; raises NotAnswered."""
    limit = config.ampcode.credits.daily_requests
    path = state_file(config.path, os.environ)
    ledger = MemoryLedger()
    if limit is not None and os.path.exists(path):
        try:
            with closing(read_only(path)) as connection:
                # A daemon that is just starting has made the file and not its tables.
                made = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'credits'").fetchall()
                for day, requests in connection.execute("SELECT day, requests FROM credits") if made else ():
                    ledger.add(day, requests)
        except sqlite3.Error as problem:
            raise NotAnswered(f"{path}: {problem}") from None
    return DailyCredits(time.time, ledger).left(limit)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the model as a client would ask for it, suffix included")
    parser.add_argument("--route", metavar="PATH", help="the path it is asked on, such as /v1/messages")
    parser.add_argument("--live", action="store_true", help="ask the running daemon, cooldowns included")
    add_daemon(parser)


def _run(options: argparse.Namespace) -> int:
    if not options.model.strip():
        print("llmux: MODEL is empty", file=sys.stderr)
        return 2
    if options.live:
        found: dict[str, Any] = ask(options, "POST", "/llmux/explain", {"model": options.model, "route": options.route})
    else:
        config = configuration(options.config)
        if options.client_key is not None and not _is_known(config, options.client_key):
            print("llmux: the client key is not one of api-keys: its requests are answered 401", file=sys.stderr)
            return 1
        try:
            protocol = protocol_of(Matcher(ROUTES), options.route)
        except HTTPProblem as problem:
            print(f"llmux: {problem}", file=sys.stderr)
            return 2
        request = RoutingRequest(options.model.strip(), protocol, force=config.ampcode.force_model_mappings)
        found = explain(router_of(config, credits_left(config)), request)
    if options.json:
        print_json(found)
    else:
        print(as_text(found))
    return 0


def _is_known(config: Config, key: str) -> bool:
    keys = ClientKeys(secret.reveal() for secret in config.api_keys)
    return keys.identify([(b"x-api-key", key.encode())], b"/").allowed


COMMAND = Command("explain", "explain how a model would be routed, and why", _add, _run)
