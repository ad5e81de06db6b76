"""`llmux routes`: the table of routes."""

from __future__ import annotations

import argparse

from llmux.daemon.commands.printing import Command, print_json, print_table
from llmux.web.routes import table

COLUMNS = ("methods", "path", "class", "client key", "handler")


def _add(parser: argparse.ArgumentParser) -> None:
    """There is nothing to say but --json."""


def _run(options: argparse.Namespace) -> int:
    rows = table()
    if options.json:
        print_json([dict(zip(COLUMNS, row, strict=True)) for row in rows])
    else:
        print_table(COLUMNS, rows)
    return 0


COMMAND = Command("routes", "print every route: methods, path, class, client key and handler", _add, _run)
