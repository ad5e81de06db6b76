"""The structured record of a routing decision (SPEC 18)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from llmux.routing.decision import RoutingDecision, one_line

COMPONENT = "amp-routing"
_seconds: tuple[int, str] = (-1, "")


class DecisionRecord(NamedTuple):
    """`level` is `debug`, `info` or `warning`; `message` is a constant format whose names are keys of `fields`."""

    level: str
    message: str
    fields: dict[str, str]


def stamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    global _seconds
    whole, thousandths = divmod(int(seconds * 1000 + 1e-4), 1000)  # floats lie a little below what was written
    if whole != _seconds[0]:
        # Thousands of records share a second, and its text.
        _seconds = whole, datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{_seconds[1]}.{thousandths:03d}Z"


def record(decision: RoutingDecision, path: str, seconds: float) -> DecisionRecord:
    """What the log says about a decision (SPEC R-LG-1).

    `path` is the request's; a query is cut off, since it can hold a key (R-LG-2). `seconds` is the time since the
    epoch. Every value stays on one line. `reason` is there when nothing serves the request.
    """
    route = decision.route_type
    requested = one_line(decision.requested_model)
    fields = {
        "component": COMPONENT,
        "route_type": route.value,
        "requested_model": requested,
        "cost": route.cost,
        "source": route.source,
        "path": one_line(path.partition("?")[0]),
        "timestamp": stamp(seconds),
    }
    if decision.resolved_model != decision.requested_model:
        # Only a mapping changes the name (SPEC R-DC-2).
        resolved = one_line(decision.resolved_model)
        fields["resolved_model"] = resolved
        fields["mapping"] = f"{requested} -> {resolved}"
    if decision.provider is not None:
        fields["provider"] = decision.provider
    else:
        fields["model_id"] = requested
        if not decision.should_proxy:
            fields["reason"] = one_line(decision.reason)
    return DecisionRecord(route.level, route.message, fields)
