"""Loads the test vectors; `LLMUX_VECTORS` names another folder of the same shape as `tests/vectors`.

`python -m tests.vectors` prints how many there are. Each is one test, named by its id, and none is skipped.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

OWN = Path(__file__).parent / "vectors"
ROOT = Path(os.environ.get("LLMUX_VECTORS") or OWN).resolve()
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(path: Path) -> Any:
    """Parse one YAML file of vectors."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)


def find(name: str) -> Path:
    """A file or folder of the vectors; what the other folder does not bring along is our own."""
    path = ROOT / name
    return path if path.exists() else OWN / name


def routing(area: str) -> list[dict[str, Any]]:
    """The vectors of `routing/<area>.yaml`, in file order."""
    return list(load(find(f"routing/{area}.yaml"))["vectors"])


def translation(kind: str) -> list[dict[str, Any]]:
    """The vectors of `translation/<kind>/*.yaml` (request, response, stream, error), sorted by file name."""
    return [load(path) for path in sorted(find(f"translation/{kind}").glob("*.yaml"))]


def counted() -> str:
    """How many vectors there are, by area and kind."""
    areas = {path.stem: len(routing(path.stem)) for path in sorted((OWN / "routing").glob("*.yaml"))}
    kinds = {path.name: len(translation(path.name)) for path in sorted((OWN / "translation").glob("[a-z]*/"))}
    lines = []
    for name, counts in (("routing", areas), ("translation", kinds)):
        each = ", ".join(f"{area} {count}" for area, count in counts.items())
        lines.append(f"{sum(counts.values())} {name} vectors: {each}")
    return "\n".join(lines)


if __name__ == "__main__":
    print(counted())
