"""Compiles the C programs into a cache outside the repository."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).with_name("c")
PROGRAMS = ("fake_provider", "loadgen", "tunnelgen")
FLAGS = ("-O2", "-Wall")


class CannotBuild(Exception):
    """There is no compiler, or it refused."""


def cache_folder(root: Path | None = None) -> Path:
    """Where the programs of this state of the sources live: below `root`, or the user's cache."""
    digest = hashlib.sha256()
    for path in sorted(SOURCES.glob("*.[ch]")):
        digest.update(path.read_bytes())
    if root is None:
        root = Path(os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"))
    return root / "llmux-bench" / digest.hexdigest()[:16]


def build(root: Path | None = None) -> Path:
    """Compile what is missing; returns the folder of the programs. Raises CannotBuild with the compiler's words."""
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    folder = cache_folder(root)
    if all((folder / name).exists() for name in PROGRAMS):
        return folder
    if compiler is None:
        raise CannotBuild("the benchmark needs a C compiler (gcc)")
    folder.mkdir(parents=True, exist_ok=True)
    for name in PROGRAMS:
        # Another run may be building the same: each into a name of its own, then a rename.
        with tempfile.NamedTemporaryFile(dir=folder, prefix=name, delete=False) as target:
            command = [compiler, *FLAGS, "-o", target.name, str(SOURCES / f"{name}.c")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            os.unlink(target.name)
            raise CannotBuild(done.stderr)
        os.chmod(target.name, 0o755)
        os.replace(target.name, folder / name)
    return folder
