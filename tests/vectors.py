"""Loads the test vectors; `LLMUX_VECTORS` names another folder of the same shape as `tests/vectors`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(os.environ.get("LLMUX_VECTORS") or Path(__file__).parent / "vectors").resolve()
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(path: Path) -> Any:
    """Parse one YAML file of vectors."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)


def routing(area: str) -> list[dict[str, Any]]:
    """The vectors of `routing/<area>.yaml`, in file order; empty when the folder has no such file."""
    path = ROOT / "routing" / f"{area}.yaml"
    return list(load(path)["vectors"]) if path.exists() else []


def translation(kind: str) -> list[dict[str, Any]]:
    """The vectors of `translation/<kind>/*.yaml` (request, response, stream, error), sorted by file name."""
    return [load(path) for path in sorted((ROOT / "translation" / kind).glob("*.yaml"))]
