"""Loads configuration text in tests and gives its problems as lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llmux.config import Config, ConfigError, load
from llmux.config.document import compose
from llmux.config.problem import Ledger
from llmux.config.reader import Fault, Value

FILE = "llmux.yaml"


def config(text: str, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration of a text that has no problem."""
    return load(text, FILE, environ or {})


def problems(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """All problems of a text as `LINE:COLUMN: key: problem`; empty when it loads."""
    try:
        load(text, FILE, environ or {})
    except ConfigError as error:
        return [str(each).removeprefix(f"llmux: {FILE}:") for each in error.all]
    return []


def warnings(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """The warnings of a text that loads, as `LINE:COLUMN: key: problem`."""
    return [line.removeprefix(f"{FILE}:") for line in config(text, environ).warnings]


def value(text: str, environ: Mapping[str, str] | None = None) -> Value:
    """The value of the key `k` of a text."""
    ledger = Ledger(FILE)
    return Value(compose(text, FILE, ledger), "", ledger, environ or {}).entry("k")


def outcome(reader: Callable[[Value], Any], written: str, environ: Mapping[str, str] | None = None) -> Any:
    """What a reader makes of `k: written`; the text of the problem when it refuses."""
    at = value(f"k: {written}\n", environ)
    try:
        read = reader(at)
    except Fault as fault:
        return f"refused: {fault.problem}"
    at.ledger.settle()
    return read
