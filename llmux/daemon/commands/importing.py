"""`llmux import TOOL FILE`: another tool's configuration, written anew as one of ours."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from llmux.config import ConfigError, load
from llmux.daemon.commands.printing import Command, print_json
from llmux.daemon.importing import ccr, cliproxyapi, litellm, llmux_ts
from llmux.daemon.importing.imported import Imported, NotThatFormat

TOOLS: Mapping[str, Callable[[Mapping[str, Any]], Imported]] = {
    "cliproxyapi": cliproxyapi.convert,
    "litellm": litellm.convert,
    "ccr": ccr.convert,
    "llmux-ts": llmux_ts.convert,
}
LARGEST_FILE = 4 * 1024 * 1024
_STRING = r'("(?:\\.|[^"\\])*")'
_COMMENT = re.compile(rf"{_STRING}|//[^\n]*|/\*.*?\*/", re.DOTALL)
_TRAILING_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])")


class Unusable(Exception):
    """The import cannot be done; the text says why."""


def _add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tool", choices=tuple(TOOLS), help="whose configuration it is")
    parser.add_argument("file", metavar="FILE", help="that configuration")
    parser.add_argument("--output", "-o", metavar="FILE", default="llmux.yaml", help="the new file (llmux.yaml)")
    parser.add_argument("--force", action="store_true", help="replace the new file if it exists")


def _run(options: argparse.Namespace) -> int:
    try:
        imported = convert(options.tool, read(options.file))
        text = written(options.tool, imported)
        problems, ignored = problems_of(text, options.output)
        lost = [*imported.lost, *ignored]
        write(options.output, text, options.force)
    except Unusable as problem:
        print(f"llmux: {problem}", file=sys.stderr)
        return 1
    if options.json:
        print_json({"file": options.output, "lost": lost, "problems": problems})
    else:
        print(f"written: {options.output}")
        for line in lost:
            print(f"not carried over: {line}")
        for line in problems:
            print(f"to be mended: {line}")
    return 1 if problems else 0


def read(path: str) -> Mapping[str, Any]:
    """The document in a YAML or JSON file; raises Unusable."""
    try:
        if os.path.getsize(path) > LARGEST_FILE:
            raise Unusable(f"{path} is too large to be a configuration")
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise Unusable(f"{path}: {getattr(problem, 'strerror', None) or 'it is not UTF-8'}") from None
    try:
        document = parsed(text)
    except (ValueError, yaml.YAMLError, RecursionError):
        raise Unusable(f"{path} is neither YAML nor JSON") from None
    if not isinstance(document, dict):
        raise Unusable(f"{path} is not a configuration")
    return {str(name): value for name, value in document.items()}


def parsed(text: str) -> Any:
    """The document: YAML, or JSON with comments and trailing commas, as Claude Code Router reads it."""
    if text.lstrip()[:1] in ("{", "/"):
        with suppress(ValueError):
            return json.loads(_TRAILING_COMMA.sub(r"\1", _COMMENT.sub(r"\1", text)))
    return yaml.safe_load(text)


def convert(tool: str, document: Mapping[str, Any]) -> Imported:
    """Carry a document over; raises Unusable when it is not that tool's."""
    try:
        return TOOLS[tool](document)
    except NotThatFormat as problem:
        raise Unusable(f"this is no configuration of {tool}: {problem}") from None


def written(tool: str, imported: Imported) -> str:
    """The new file's text."""
    head = f"# Made by `llmux import {tool}`; `llmux check` says what is worth a second look.\n"
    return head + yaml.safe_dump(imported.config, sort_keys=False, allow_unicode=True, width=100)


def problems_of(text: str, path: str) -> tuple[list[str], list[str]]:
    """What keeps the new file from being loaded, nothing as a rule, and what is ignored in it."""
    try:
        return [], [*load(text, path, _AnyVariable()).warnings]
    except ConfigError as problem:
        return [str(each) for each in problem.all], []


class _AnyVariable(dict[str, str]):
    """An environment in which every variable is set: whether they are is not the import's to judge."""

    def __missing__(self, name: str) -> str:
        return "set"

    def get(self, name: str, default: Any = None) -> Any:
        return "set"

    def __contains__(self, name: object) -> bool:
        return True


def write(path: str, text: str, force: bool) -> None:
    """Write the file, for its owner's eyes only: it may hold keys. Raises Unusable."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if force else os.O_EXCL)
    try:
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Unusable(f"{path} exists; give --force to replace it") from None
    except OSError as problem:
        raise Unusable(f"{path}: {problem.strerror}") from None


COMMAND = Command("import", "write a configuration from another tool's, and say what stays behind", _add, _run)
