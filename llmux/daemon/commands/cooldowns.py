"""`llmux cooldowns`: which credentials the running daemon leaves alone, and an end to it."""

from __future__ import annotations

import argparse
from typing import Any

from llmux.daemon.commands.asking import add_daemon, ask
from llmux.daemon.commands.printing import Command, duration, print_json, print_table


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("list", "clear"), default="list", help="list (default) or clear")
    parser.add_argument("--provider", metavar="NAME", help="clear this provider only")
    parser.add_argument("--model", metavar="MODEL", help="clear what keeps the provider from this model only")
    add_daemon(parser)


def _run(options: argparse.Namespace) -> int:
    if options.action == "clear":
        asked = {"provider": options.provider, "model": options.model}
        found: dict[str, Any] = ask(options, "POST", "/llmux/cooldowns/clear", asked)
        if options.json:
            print_json(found)
        else:
            print(f"{found['cleared']} cleared")
        return 0
    found = ask(options, "GET", "/llmux/cooldowns")
    if options.json:
        print_json(found["cooldowns"])
    elif not found["cooldowns"]:
        print("nothing is cooling down")
    else:
        rows = [
            (
                row["provider"],
                row["credential"],
                row["model"] or "all models",
                f"{row['reason']} ({row['status']})" if row["status"] else row["reason"],
                str(row["failures"]),
                f"{duration(row['age'])} ago",
                "probing" if row["probing"] else duration(row["remaining"]),
            )
            for row in found["cooldowns"]
        ]
        print_table(("provider", "key", "model", "reason", "failures", "since", "left"), rows)
    return 0


COMMAND = Command("cooldowns", "list or clear the cooldowns of the running daemon", _add, _run)
