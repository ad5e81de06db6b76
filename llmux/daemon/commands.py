"""The `llmux` console command: looks at configurations and routes without starting anything."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence

from llmux.web.routes import table

COLUMNS = ("methods", "path", "class", "client key", "handler")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0 when it did what was asked, 2 for a mistake in its use."""
    parser = argparse.ArgumentParser(prog="llmux", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    routes = commands.add_parser("routes", help="print the table of routes", description=print_routes.__doc__)
    routes.add_argument("--json", action="store_true", help="print JSON for programs")
    routes.set_defaults(run=lambda options: print_routes(options.json))
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return status


def print_routes(as_json: bool) -> int:
    """Print every route: methods, path, class, whether a client key is asked for, and the handler."""
    rows = table()
    if as_json:
        print(json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in rows], indent=1))
    else:
        print("\n".join(columns([COLUMNS, *rows])))
    return 0


def columns(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Rows of text as lines with aligned columns."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
