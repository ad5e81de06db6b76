"""Reads the command line and runs one command; every command is a module with `NAME`, `HELP`, `add` and `run`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from llmux import __version__
from llmux.daemon.commands import (
    check,
    cooldowns,
    env,
    explain,
    importing,
    models,
    reload,
    replay,
    routes,
    status,
    usage,
)
from llmux.daemon.commands.asking import NotAnswered
from llmux.daemon.commands.printing import Command

COMMANDS: tuple[Command, ...] = (
    check.COMMAND,
    explain.COMMAND,
    routes.COMMAND,
    models.COMMAND,
    status.COMMAND,
    cooldowns.COMMAND,
    reload.COMMAND,
    env.COMMAND,
    importing.COMMAND,
    replay.COMMAND,
    usage.COMMAND,
)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="llmux",
        description="Looks at llmux configurations and decisions, and talks to the running daemon.",
        epilog="The daemon itself is started with `twistd llmux`. Exit status: 0 done, 1 problems found, 2 wrong use.",
    )
    top.add_argument("--version", action="version", version=f"llmux {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        sub = commands.add_parser(command.name, help=command.help, description=f"{command.help}.")
        command.add(sub)
        sub.add_argument("--json", action="store_true", help="print JSON for programs")
        sub.set_defaults(run=command.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked, 1 when it found problems, 2 for a mistake in its use."""
    options = parser().parse_args(arguments)
    try:
        result: int = options.run(options)
        sys.stdout.flush()
    except NotAnswered as problem:
        print(f"llmux: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output has enough; Python must not complain about it while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return result
