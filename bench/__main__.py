"""`python -m bench`: llmux beside nginx and Caddy, and the table of ratios.

Progress goes to standard error, the table to standard output. The exit status is 1 when llmux crashed, sent a wrong
byte or lost an event, and never because of a time.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from bench.build import CannotBuild, build
from bench.machine import WANTED_DESCRIPTORS, choose_cores, raise_descriptor_limit
from bench.profiles import PROFILES, select
from bench.running import Bench, as_json, say
from bench.spy import CannotSpy
from bench.systems import CannotStart, installed
from bench.table import markdown, medians, ratios

PEERS = ("nginx", "caddy")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="quick")
    parser.add_argument("--rounds", type=int, default=1, help="how often all of it is done; medians count")
    parser.add_argument("--only", default="", help="workloads or sections, separated by commas")
    parser.add_argument("--peers", default=",".join(PEERS), help="nginx, caddy, both with a comma, or none")
    parser.add_argument("--json", metavar="FILE", help="write every value to a file as well")
    parser.add_argument(
        "--spy",
        metavar="WORKLOADS",
        help="no comparison: the dearest functions of llmux under these workloads (py-spy)",
    )
    return parser.parse_args()


def _peers(wanted: str) -> list[str]:
    names = [name for name in wanted.split(",") if name and name != "none"]
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise SystemExit(f"bench: no peer {', '.join(unknown)}; there are {', '.join(PEERS)}")
    missing = [name for name in names if not installed(name)]
    if missing:
        say(f"{' and '.join(missing)} not installed (nginx-light and caddy are packages of Debian): measured without")
    return [name for name in names if name not in missing]


def main() -> int:
    """Run what the command line asks for; returns the exit status."""
    options = _arguments()
    profile = PROFILES[options.profile]
    try:
        workloads = select(profile, [name for name in (options.spy or options.only).split(",") if name])
        programs = build()
    except (ValueError, CannotBuild) as problem:
        raise SystemExit(f"bench: {problem}") from None
    order = [*_peers(options.peers), "llmux"]
    cores = choose_cores()
    if cores.shared:
        say("only one core: proxies and generators share it, times mean little")
    descriptors = raise_descriptor_limit()
    if descriptors < WANTED_DESCRIPTORS:
        say(f"only {descriptors} descriptors, {WANTED_DESCRIPTORS} wanted: the largest holds may fail")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llmux-bench-") as name:
        bench = Bench(programs, Path(name), profile, workloads, cores)
        try:
            if options.spy:
                print(bench.spy())
                return 0
            report = bench.run(order, options.rounds)
        except (CannotStart, CannotSpy) as problem:
            say(f"bench: {problem}")
            return 1
    print(markdown(report.figures, order))
    say(f"{time.monotonic() - began:.0f} s; others took {report.noise():.0%} of the proxies' core (median)")
    for system, faults in report.faults.items():
        for fault in faults:
            say(f"{system}: {fault}")
    if options.json:
        table = {
            row: {**row_medians, **ratios(row_medians, order)} for row, row_medians in medians(report.figures).items()
        }
        document = as_json(report, profile, options.rounds, table)
        Path(options.json).write_text(json.dumps(document, indent=1) + "\n")
    return 1 if report.faults.get("llmux") else 0


if __name__ == "__main__":
    sys.exit(main())
