"""`python -m tests.fuzz TARGET [--seconds N] [--seed N] [--plain]`: fuzz one target, or `all` of them in turn.

With atheris installed the run is guided by coverage; without it, or with --plain, a seeded random driver mutates the
corpus. A finding is written to the folder of --keep, and its bytes belong into `tests/corpus/TARGET` once it is fixed.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import traceback
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.fuzz.driving import Finding, run_atheris, run_random


def main() -> int:
    """Run as the command line says; the exit status is 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="do not use atheris")
    parser.add_argument("--keep", type=Path, help="a folder for findings; a new one without it")
    options = parser.parse_args()
    guided = not options.plain and options.target != "all" and find_spec("atheris") is not None
    instrumented: Any = import_module("atheris").instrument_imports(include=["llmux"]) if guided else nullcontext()
    with instrumented:
        targets = import_module("tests.fuzz.targets").TARGETS
    names = list(targets) if options.target == "all" else [options.target]
    if unknown := set(names) - set(targets):
        parser.error(f"no target {unknown.pop()!r}; there are: {', '.join(targets)}, all")
    folder = options.keep or Path(tempfile.mkdtemp(prefix="llmux-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    if guided:
        run_atheris(targets[names[0]], seed=options.seed, seconds=options.seconds, folder=folder)
    known: set[str] = set()

    def found(finding: Finding) -> None:
        cause = finding.__cause__
        place = traceback.extract_tb(cause.__traceback__)[-1] if cause is not None else None
        signature = (
            f"{finding.target} {type(cause).__name__} {place.filename if place else ''}:{place and place.lineno}"
        )
        if signature in known:
            return
        known.add(signature)
        path = folder / f"{finding.target}-{hashlib.sha256(finding.data).hexdigest()[:12]}"
        path.write_bytes(finding.data)
        print(f"FOUND {signature}\n  {path}\n  {type(cause).__name__}: {str(cause)[:300]}", flush=True)

    for name in names:
        count = run_random(targets[name], seed=options.seed, seconds=options.seconds / len(names), found=found)
        print(f"{name}: {count} inputs", flush=True)
    print(f"{len(known)} findings")
    return 1 if known else 0


if __name__ == "__main__":
    sys.exit(main())
