"""What `twistd llmux` runs: its options, and the service made from them."""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any

from twisted.python import usage

from llmux.config import Config, ConfigError, defaults, find, load_bytes, read_file
from llmux.daemon.observers import LEVELS


class Options(usage.Options):
    """The options of `twistd llmux`."""

    synopsis = "[--config FILE] [--log-format text|json] [--log-level LEVEL] [--access-log]"
    longdesc = (
        "Routes each model request to your own provider, to another model, or to an upstream that costs credits, and "
        "passes everything else through. Without --config the file is $LLMUX_CONFIG, then llmux/llmux.yaml in the "
        "XDG configuration folder, then built-in defaults: loopback port 8317, providers for the API keys found in "
        "the environment, and the offline provider `demo`. The file is read again when it changes, and on SIGHUP."
    )
    optParameters = [
        ["config", "c", None, "Configuration file"],
        ["log-format", None, "text", "text for people, json for programs"],
        ["log-level", None, "info", f"Least important level that is logged: {', '.join(LEVELS)}"],
    ]
    optFlags = [["access-log", None, "Log a line for every request, without its query"]]

    def postOptions(self) -> None:
        """Check the choices, and make the path absolute: twistd changes directory later."""
        if self["log-format"] not in ("text", "json"):
            raise usage.UsageError("--log-format is text or json")
        if self["log-level"] not in LEVELS:
            raise usage.UsageError(f"--log-level is one of {', '.join(LEVELS)}")
        if self["config"] is not None:
            self["config"] = os.path.abspath(self["config"])


def configuration(path: str | None, environ: Mapping[str, str]) -> tuple[Config, bytes | None]:
    """The configuration in force and the bytes it was read from, None for built-in defaults.

    Raises SystemExit with one line, `llmux: FILE:LINE:COLUMN: key: problem`, when there is none that can be used.
    """
    path = path or find(environ)
    if path is None:
        return defaults(environ), None
    try:
        content = read_file(path)
        return load_bytes(content, path, environ), content
    except ConfigError as problem:
        raise SystemExit(str(problem)) from None


def makeService(options: Options) -> Any:
    """The service, listening already: a busy port is one line and nothing has begun."""
    with suppress(ImportError):  # without epoll, Twisted's own choice will do
        from llmux.wire.reactor import install

        install()

    from twisted.internet import reactor

    from llmux.daemon.access import AccessLog
    from llmux.daemon.service import CannotListen, DaemonService

    config, content = configuration(options["config"], os.environ)
    parent = options.parent if options.parent is not None else {}
    try:
        service = DaemonService(
            reactor,
            config,
            content,
            options["log-format"],
            options["log-level"],
            parent.get("logfile"),
            lambda: forget_pidfile(parent),
        )
        if options["access-log"]:
            AccessLog(service.server, reactor.seconds)
        service.listen()
    except CannotListen as problem:
        raise SystemExit(f"llmux: {problem}") from None
    # Modules and configuration stay: looking through them for garbage, again and again, is work for nothing.
    gc.collect()
    gc.freeze()
    return service


def forget_pidfile(parent: MutableMapping[str, Any]) -> None:
    """Leave the pid file to the process that takes over: twistd would refuse to start beside it, and then remove it."""
    pidfile = parent.get("pidfile")
    if pidfile:
        with suppress(OSError):
            os.unlink(pidfile)
        parent["pidfile"] = ""
