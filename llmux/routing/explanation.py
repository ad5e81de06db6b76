"""A decision with everything that led to it, for `llmux explain` and the running daemon's own explanation."""

from __future__ import annotations

from typing import Any

from llmux.routing.decision import RoutingRequest, Step, one_line
from llmux.routing.router import Router


def explain(router: Router, request: RoutingRequest) -> dict[str, Any]:
    """Resolve a request by the live code and tell every step, as values for JSON."""
    steps: list[Step] = []
    decision = router.resolve(request, steps)
    return {
        "requested_model": decision.requested_model,
        "protocol": request.protocol,
        "route_type": decision.route_type.value,
        "resolved_model": decision.resolved_model,
        "provider": decision.provider,
        "fallback_models": list(decision.fallback_models),
        "cost": decision.route_type.cost,
        "reason": decision.reason,
        "refusal": decision.refusal,
        "attempts": [
            {
                "model": attempt.model,
                "provider": attempt.candidate.provider,
                "sent_as": attempt.candidate.model,
                "translated": not attempt.candidate.native,
                "ready": attempt.candidate.ready,
            }
            for attempt in decision.attempts
        ],
        "steps": [step._asdict() for step in steps],
    }


def as_text(explanation: dict[str, Any]) -> str:
    """The explanation as lines for people: the steps, then the plan, then the result."""
    form = f"the {explanation['protocol']}" if explanation["protocol"] else "any"
    lines = [f"{one_line(explanation['requested_model'])}, asked in {form} format", ""]
    width = max((len(step["subject"]) for step in explanation["steps"]), default=0)
    for step in explanation["steps"]:
        lines.append(f"  {step['subject']:<{width}}  {step['detail']}")
        lines.append(f"  {'':<{width}}    -> {step['outcome']}")
    if explanation["attempts"]:
        lines += ["", "tried in this order:"]
        for number, attempt in enumerate(explanation["attempts"], 1):
            notes = [
                note
                for note, holds in (
                    (f"sent as {attempt['sent_as']}", attempt["sent_as"] != attempt["model"]),
                    ("translated", attempt["translated"]),
                    ("cooling down", not attempt["ready"]),
                )
                if holds
            ]
            tail = f" ({', '.join(notes)})" if notes else ""
            lines.append(f"  {number}. {one_line(attempt['model'])} at {attempt['provider']}{tail}")
    lines += ["", f"{explanation['route_type']} (cost: {explanation['cost']}): {explanation['reason']}"]
    return "\n".join(lines)
