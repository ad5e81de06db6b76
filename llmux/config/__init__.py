"""YAML text into a frozen `Config`, or a `ConfigError` that says where and why (DESIGN 6)."""

from llmux.config.difference import changes
from llmux.config.loading import load
from llmux.config.model import Config
from llmux.config.problem import ConfigError, EmptyConfig
from llmux.config.source import defaults, find, load_bytes, load_file, read_file

__all__ = [
    "Config",
    "ConfigError",
    "EmptyConfig",
    "changes",
    "defaults",
    "find",
    "load",
    "load_bytes",
    "load_file",
    "read_file",
]
