"""Prints the matrix: every SDK format against every vendor, whole and streamed; `CASE=plain` limits it."""

from __future__ import annotations

import os
import sys
import traceback

from tests.crossings.cases import CASES, FORMATS, Crossing
from tests.crossings.rig import MODELS, Rig


def main() -> int:
    """Run the cases; the exit status is the number of failures."""
    only = os.environ.get("CASE", "")
    names = [name for name in CASES if only in name]
    rig = Rig()
    failures: list[str] = []
    try:
        print(f"{'SDK format -> vendor':24}" + "".join(f"{name:>18}" for name in names))
        for client in FORMATS:
            for vendor in FORMATS:
                crossing = Crossing(rig.url, client, vendor, MODELS[vendor])
                line = f"{client + ' -> ' + vendor:24}"
                for name in names:
                    marks = []
                    for stream in (False, True):
                        marks.append(_mark(crossing, name, stream, failures))
                    line += f"{' '.join(marks):>18}"
                print(line, flush=True)
    finally:
        rig.stop()
    print("\n" + ("\n".join(failures) or "every cell: whole answer, then streamed; all as it must be"))
    return len(failures)


def _mark(crossing: Crossing, name: str, stream: bool, failures: list[str]) -> str:
    try:
        CASES[name](crossing, stream)
    except Exception as problem:
        where = f"{crossing.client} -> {crossing.vendor}, {name}{', streamed' if stream else ''}"
        if os.environ.get("TRACE"):
            traceback.print_exc()
        failures.append(f"{where}: {type(problem).__name__}: {str(problem)[:600]}")
        return "FAIL"
    return "ok"


if __name__ == "__main__":
    sys.exit(main())
