"""The structured record of a routing decision (SPEC 18)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

from llmux.routing.decision import RoutingDecision, one_line

COMPONENT = "amp-routing"


class DecisionRecord(NamedTuple):
    """`level` is `debug`, `info` or `warning`; `message` is a constant format whose names are keys of `fields`."""

    level: str
    message: str
    fields: dict[str, str]


def record(decision: RoutingDecision, path: str, timestamp: datetime) -> DecisionRecord:
    """What the log says about a decision (SPEC R-LG-1).

    `path` is the request's; a query is cut off, since it can hold a key (R-LG-2). `timestamp` must know its zone;
    ValueError otherwise. Every value stays on one line. `reason` is there when nothing serves the request.
    """
    if timestamp.tzinfo is None:
        raise ValueError("the timestamp has no time zone")
    route = decision.route_type
    requested = one_line(decision.requested_model)
    fields = {
        "component": COMPONENT,
        "route_type": route.value,
        "requested_model": requested,
        "cost": route.cost,
        "source": route.source,
        "path": one_line(path.partition("?")[0]),
        "timestamp": timestamp.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
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
