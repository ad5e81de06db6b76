"""`llmux status`: what the running daemon is doing."""

from __future__ import annotations

import argparse
from typing import Any

from llmux.daemon.commands.asking import add_daemon, ask
from llmux.daemon.commands.printing import Command, print_json, print_table


def _run(options: argparse.Namespace) -> int:
    found: dict[str, Any] = ask(options, "GET", "/llmux/status")
    if options.json:
        print_json(found)
        return 0
    connections = found["upstream_connections"]
    left = found["credits"]["left_today"]
    facts = [
        ("configuration", f"{found['config'] or 'built-in defaults'} ({found['digest'] or 'no digest'})"),
        ("generation", str(found["generation"])),
        ("listening on", ", ".join(found["listen"])),
        ("upstream", found["upstream"] or "none"),
        ("state", "draining" if found["draining"] else "serving"),
        ("streams", f"{found['streams']} open, {found['streams_cut']} cut since the start"),
        ("tunnels", str(found["tunnels"])),
        ("connections", f"{connections['open']} to providers and upstream, {connections['idle']} of them idle"),
        ("paid requests", f"{found['credits']['spent_today']} today, {'no limit' if left is None else f'{left} left'}"),
        ("cooldowns", str(len(found["cooldowns"]))),
    ]
    width = max(len(name) for name, _ in facts)
    print("\n".join(f"{name:<{width}}  {value}" for name, value in facts))
    if found["providers"]:
        print()
        print_table(
            ("provider", "kind", "base url", "keys"),
            [
                (row["name"], row["kind"], row["base_url"] or "-", ", ".join(row["credentials"]) or "none")
                for row in found["providers"]
            ],
        )
    for warning in found["warnings"]:
        print(f"warning: {warning}")
    return 0


COMMAND = Command("status", "ask the running daemon what it is doing", add_daemon, _run)
