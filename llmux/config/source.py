"""Where a configuration comes from: a named file, the usual file, or none (DESIGN 6)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from llmux.config.document import MAX_TEXT
from llmux.config.loading import load
from llmux.config.model import Config, ProviderConfig
from llmux.config.problem import ConfigError
from llmux.config.provider import DEFAULT_URL, DEMO_MODELS
from llmux.config.secret import Secret

_FROM_ENVIRONMENT = (
    ("anthropic", "anthropic", "ANTHROPIC_API_KEY"),
    ("openai", "openai", "OPENAI_API_KEY"),
    ("openai-responses", "openai-responses", "OPENAI_API_KEY"),
    ("gemini", "gemini", "GEMINI_API_KEY"),
)


def load_bytes(data: bytes, path: str, environ: Mapping[str, str]) -> Config:
    """Read the content of a configuration file, UTF-8 with or without a mark; raises as `load` does."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigError(path, line, column, "file", "is not in UTF-8") from None
    return load(text, path, environ)


def read_file(path: str) -> bytes:
    """The content of a configuration file, cut where it is too long in any case; ConfigError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(4 * MAX_TEXT + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "this cannot name a file"
        raise ConfigError(path, 1, 1, "file", f"cannot be read: {reason}") from None


def load_file(path: str, environ: Mapping[str, str]) -> Config:
    """Read a configuration file; one that cannot be read is a `ConfigError` as well."""
    return load_bytes(read_file(path), path, environ)


def defaults(environ: Mapping[str, str]) -> Config:
    """The configuration without a file: loopback, the providers whose usual key is in the environment, and `demo`."""
    services = []
    for name, kind, variable in _FROM_ENVIRONMENT:
        key = environ.get(variable, "").strip()
        if key and key.isascii() and key.isprintable():
            services.append(ProviderConfig(name, kind, DEFAULT_URL[kind], (Secret(key),)))
    services.append(ProviderConfig("demo", "demo", DEFAULT_URL["demo"], models=DEMO_MODELS))
    return Config(providers=tuple(services))


def find(environ: Mapping[str, str]) -> str | None:
    """The file to use when none is named: `$LLMUX_CONFIG`, whether it exists or not, then the XDG place if it does."""
    named = environ.get("LLMUX_CONFIG", "").strip()
    if named:
        return named
    home = environ.get("XDG_CONFIG_HOME", "").strip()
    if not os.path.isabs(home):
        if not environ.get("HOME"):
            return None
        home = os.path.join(environ["HOME"], ".config")
    usual = Path(home, "llmux", "llmux.yaml")
    return str(usual) if usual.is_file() else None
