"""The vocabulary of a routing decision (SPEC 6). Only `Router.resolve` chooses a `RouteType`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Effects:
    """What happens to the bytes of the request and of its answer (SPEC 6, table `Effects`)."""

    rewrite_request: bool = False
    rewrite_response_model: bool = False
    amp_shape_fixes: bool = False
    filter_betas: bool = False
    clean_body: bool = False


class RouteType(Enum):
    """The four outcomes of a model request.

    Each carries what follows from it, so that nobody has to ask which one it is: `effects` (SPEC 6), and for the log
    (SPEC R-LG-1) `cost`, `source`, `level` (debug, info or warning) and `message`, a format for the record's fields.
    """

    effects: Effects
    cost: str
    source: str
    level: str
    message: str

    def __new__(cls, value: str, effects: Effects, cost: str, source: str, level: str, message: str) -> RouteType:
        """Keep `value` as the member's value and the rest as its attributes."""
        member = object.__new__(cls)
        member._value_ = value
        member.effects = effects
        member.cost = cost
        member.source = source
        member.level = level
        member.message = message
        return member

    LOCAL_PROVIDER = (
        "LOCAL_PROVIDER",
        Effects(amp_shape_fixes=True, filter_betas=True, clean_body=True),
        "free",
        "local_oauth",
        "debug",
        "{requested_model} is served by {provider}",
    )
    MODEL_MAPPING = (
        "MODEL_MAPPING",
        Effects(True, True, True, True, True),
        "free",
        "local_oauth",
        "info",
        "{mapping} is served by {provider}",
    )
    AMP_CREDITS = (
        "AMP_CREDITS",
        Effects(clean_body=True),
        "amp_credits",
        "ampcode.com",
        "warning",
        "{model_id} is answered by the upstream and costs credits; "
        "an entry in ampcode.model-mappings (from: {model_id}) would serve it from a provider of your own",
    )
    NO_PROVIDER = ("NO_PROVIDER", Effects(), "none", "error", "warning", "nothing serves {model_id}: {reason}")


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
    """A provider that can serve a name now: what to send it as, whether natively, whether it is cooling down.

    `whole` says that the provider lists the asked name with its parentheses, which then ask for nothing (SPEC R-DC-3).
    """

    provider: str
    model: str
    native: bool = True
    ready: bool = True
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One step of the executor's plan: the model name with its suffix, and who serves it.

    The provider is sent `candidate.model`; `suffix` is the text of the thinking suffix to apply, empty for none.
    """

    model: str
    candidate: Candidate
    suffix: str = ""


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


class Step(NamedTuple):
    """One line of the explanation of a decision: what was looked at, its particulars, and what came of it."""

    subject: str
    detail: str
    outcome: str


def one_line(text: str, longest: int = 512) -> str:
    """`text` for a log or a terminal: control characters as escapes, cut after `longest` characters (SPEC R-LG-2)."""
    if len(text) > longest:
        text = f"{text[:longest]}..."
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
