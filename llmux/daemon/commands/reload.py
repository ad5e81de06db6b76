"""`llmux reload`: check the configuration file, then have the running daemon read it."""

from __future__ import annotations

import argparse
import time
from typing import Any

from llmux.daemon.commands.asking import NotAnswered, add_daemon, ask, configuration
from llmux.daemon.commands.printing import Command, print_json

PATIENCE = 10.0
LOOK = 0.1


def _run(options: argparse.Namespace) -> int:
    """The daemon notices the file by itself; this waits until the file's digest is the one in force."""
    config = configuration(options.config)
    deadline = time.monotonic() + PATIENCE
    while True:
        found: dict[str, Any] = ask(options, "GET", "/healthz")
        if found.get("digest") == config.digest:
            break
        if time.monotonic() > deadline:
            raise NotAnswered("the daemon did not take the file; its log says why")
        time.sleep(LOOK)
    if options.json:
        print_json({"generation": found["generation"], "digest": found["digest"]})
    else:
        print(f"in force: generation {found['generation']}, digest {found['digest'] or 'none'}")
    return 0


COMMAND = Command("reload", "check the configuration and wait until the running daemon has it", add_daemon, _run)
