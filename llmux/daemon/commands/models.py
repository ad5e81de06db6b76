"""`llmux models`: the names that clients can ask for."""

from __future__ import annotations

import argparse

from llmux.daemon.commands.asking import add_config, configuration
from llmux.daemon.commands.printing import Command, print_json, print_table
from llmux.routing.directory import DEFAULT_MODELS, Directory


def _add(parser: argparse.ArgumentParser) -> None:
    add_config(parser)


def _run(options: argparse.Namespace) -> int:
    config = configuration(options.config)
    directory = Directory(config.providers)
    rows = [(model.name, ", ".join(model.providers)) for model in directory.models()]
    rows += [
        (pattern, provider.name)
        for provider in config.providers
        for pattern in ([entry.name for entry in provider.models] or DEFAULT_MODELS.get(provider.kind, ()))
        if "*" in pattern
    ]
    if options.json:
        print_json([{"model": model, "providers": providers.split(", ")} for model, providers in rows])
    elif rows:
        print_table(("model", "served by"), rows)
    else:
        print("no provider lists a model")
    return 0


COMMAND = Command("models", "list the models that clients can ask for, patterns included", _add, _run)
