"""The vocabulary of a routing decision (SPEC 6). Only `Router.resolve` chooses a `RouteType`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RouteType(Enum):
    """The four outcomes of a model request, each with the effects and log fields that SPEC 6 and 18 give it."""

    LOCAL_PROVIDER = "LOCAL_PROVIDER"
    MODEL_MAPPING = "MODEL_MAPPING"
    AMP_CREDITS = "AMP_CREDITS"
    NO_PROVIDER = "NO_PROVIDER"


@dataclass(frozen=True, slots=True)
class RoutingRequest:
    """What the router is asked: the model as the client wrote it, and the format of its route.

    `protocol` is one of `anthropic`, `chat`, `completions`, `responses`, `gemini`, or None for any.
    `prefer_local` changes no outcome (SPEC R-DC-1). `force` is `ampcode.force-model-mappings`.
    """

    requested_model: str
    protocol: str | None = None
    prefer_local: bool = True
    force: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A provider that can serve a name now: what to send it as, whether natively, whether it is cooling down."""

    provider: str
    model: str
    native: bool = True
    ready: bool = True


@dataclass(frozen=True, slots=True)
class Attempt:
    """One step of the executor's plan: the model name with its suffix, and who serves it."""

    model: str
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Effects:
    """What happens to the bytes of the request and of its answer (SPEC 6, table `Effects`)."""

    rewrite_request: bool = False
    rewrite_response_model: bool = False
    amp_shape_fixes: bool = False
    filter_betas: bool = False


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """The answer of the router; `attempts` lists candidates of the resolved model first, then of the fallbacks.

    `reason` is one line for people. `refusal` is the text for the client when nothing may serve the request.
    """

    route_type: RouteType
    requested_model: str
    resolved_model: str
    provider: str | None = None
    fallback_models: tuple[str, ...] = ()
    should_proxy: bool = False
    attempts: tuple[Attempt, ...] = ()
    effects: Effects = Effects()
    reason: str = ""
    refusal: str | None = None
