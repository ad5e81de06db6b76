"""What a model route asks of its provider: the format, the verb and, for Gemini, the method in the path."""

from __future__ import annotations

from typing import NamedTuple

from llmux.errors import action_not_found, bridge_path_invalid
from llmux.peers.endpoints import COUNT, GEMINI_METHODS, GENERATE
from llmux.web.matching import Match


class Wanted(NamedTuple):
    """What a model route wants of its provider: the format, the verb and, for Gemini, the method in the path."""

    protocol: str
    verb: str
    action: str = ""


def wanted(match: Match) -> Wanted:
    """Read the verb off a route; raises HTTPProblem for a Gemini path without a known method (SPEC R-ER-10)."""
    route = match.route
    protocol = route.protocol or "chat"
    if protocol != "gemini":
        return Wanted(protocol, COUNT if route.handler.endswith("count_tokens") else GENERATE)
    if "path" in match.params:
        return gemini_wanted(bridge_action(match.params["path"]))
    return gemini_wanted(match.params["action"])


def bridge_action(path: str) -> str:
    """The `model:method` of a v1beta1 path (SPEC 2.3); raises HTTPProblem when it names no model."""
    _, found, action = f"/{path}".partition("/models/")
    if not found:
        raise bridge_path_invalid()
    return action


def gemini_wanted(action: str) -> Wanted:
    """The method after the last colon of an action."""
    _, colon, method = action.rpartition(":")
    if not colon or method not in GEMINI_METHODS:
        raise action_not_found(action)
    return Wanted("gemini", COUNT if method == "countTokens" else GENERATE, method)
