"""Readers for the sections that hold plain settings: timeouts, limits, streaming, routing and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmux.config.model import MIB, CaptureConfig
from llmux.config.reader import (
    Fault,
    Reader,
    Schema,
    Value,
    boolean,
    fields,
    filled,
    integer,
    list_of,
    number,
    one_of,
    size,
)
from llmux.config.url import origin

STRATEGIES = ("round-robin", "weighted", "fill-first")

_WEEK = 7 * 24 * 3600.0
_COUNT = integer(1, 10_000_000)
_BYTES = size(1024, 64 * 1024 * MIB)
_SECONDS = number(0.001, _WEEK, "seconds")
_SECONDS_OR_OFF = number(0, _WEEK, "seconds")
_ELSEWHERE = "llmux has no use for this key; ignored"


def section(schema: Schema, useless: Mapping[str, str] | None = None) -> Reader[dict[str, Any]]:
    """A mapping whose keys become field names: `first-byte` is `first_byte`."""

    def read(value: Value) -> dict[str, Any]:
        return {name.replace("-", "_"): found for name, found in fields(value, schema, useless).items()}

    return read


_PER_PROVIDER: Schema = {
    "connect": _SECONDS,
    "tls": _SECONDS,
    "first-byte": _SECONDS,
    "idle": _SECONDS,
    "send": _SECONDS,
    "keep-alive": _SECONDS,
    "total": _SECONDS_OR_OFF,
}
provider_timeouts = section(_PER_PROVIDER)
timeouts = section({**_PER_PROVIDER, "header": _SECONDS, "drain": _SECONDS})

limits = section(
    {
        "body": _BYTES,
        "buffered": _BYTES,
        "response": _BYTES,
        "header-bytes": size(1024, 16 * MIB),
        "header-fields": integer(10, 100_000),
        "target": size(256, MIB),
        "connections": _COUNT,
        "connections-per-address": _COUNT,
        "tunnels": _COUNT,
    }
)

_streaming = section(
    {
        "keepalive": _SECONDS_OR_OFF,
        "hold": integer(0, 600_000),
        "hold-bytes": size(0, 64 * MIB),
        "keepalive-seconds": integer(-1_000_000, int(_WEEK)),
    },
    {"bootstrap-retries": _ELSEWHERE},
)


def streaming(value: Value) -> dict[str, Any]:
    """The fields of `Streaming`; the Go proxy's `keepalive-seconds` holds where `keepalive` is not given."""
    found = _streaming(value)
    if "hold" in found:
        found["hold_ms"] = found.pop("hold")
    older = found.pop("keepalive_seconds", None)
    if older is not None:
        found.setdefault("keepalive", float(max(older, 0)))
    return found


_strategy = one_of((*STRATEGIES, "weighted-round-robin"))


def strategy(value: Value) -> str:
    """One of the strategies; the Go proxy has a longer name for `weighted`."""
    found = _strategy(value)
    return "weighted" if found == "weighted-round-robin" else found


routing = section(
    {"strategy": strategy, "session-affinity": boolean},
    {"session-affinity-ttl": _ELSEWHERE, "session-affinity-subagents": _ELSEWHERE},
)
cooldown = section({"max": _SECONDS_OR_OFF})
usage = section({"enabled": boolean, "retention-days": integer(1, 36_500), "prices": filled})
_capture = section({"directory": filled, "max-size": size(1024, 1024 * 1024 * MIB), "models": list_of(filled)})
cors = section({"origins": list_of(origin)})
translate = section({"strict": boolean, "reasoning-content": boolean, "extra-content": boolean})
removed_betas = list_of(filled)


def capture(value: Value) -> CaptureConfig | None:
    """The section of captures, which needs a `directory`."""
    found = _capture(value)
    if "directory" not in found:
        raise Fault(value, "needs a directory")
    if "models" in found:
        found["models"] = tuple(found["models"])
    return CaptureConfig(**found)
