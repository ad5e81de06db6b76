"""The one place where it is decided who answers a model request (SPEC 6; DESIGN D-46)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from llmux.config.model import CreditsPolicy
from llmux.routing.decision import Attempt, Candidate, RouteType, RoutingDecision, RoutingRequest, Step, one_line
from llmux.routing.directory import Directory
from llmux.routing.mapping import Mapping, ModelMapper
from llmux.routing.suffix import ModelName, interpret, parse
from llmux.routing.wildcard import matches_any

MOST_REMEMBERED = 1024
LONGEST_REMEMBERED = 256
_PERMITTED = CreditsPolicy()


class Router:
    """Decides by the table of SPEC R-DC-1, from one generation of the configuration.

    `credits` says whether the upstream may be paid, `config_path` where that is written, and `credits_left` how many
    requests of the day's budget are left (None: no bound); without it nothing counts as used.
    """

    def __init__(
        self,
        directory: Directory,
        mapper: ModelMapper,
        upstream_configured: bool,
        credits: CreditsPolicy = _PERMITTED,
        config_path: str | None = None,
        credits_left: Callable[[], int | None] | None = None,
    ) -> None:
        self._directory = directory
        self._mapper = mapper
        self._upstream_configured = upstream_configured
        self._credits = credits
        self._place = _place(credits.line, config_path)
        self._credits_left = credits_left
        # By name and protocol: the decision for the very candidates that the directory remembers (it gives the same
        # tuple again unless somebody is cooling down), since most requests ask for one of a few names.
        self._decided: dict[tuple[str, str | None], tuple[tuple[Candidate, ...], RoutingDecision]] = {}

    def resolve(self, request: RoutingRequest, trace: list[Step] | None = None) -> RoutingDecision:
        """The decision for one request; `trace`, if given, receives the steps that led to it.

        Changes nothing and has no other inputs than cooldowns and the credits that are left. Raises ValueError for a
        protocol that does not exist.
        """
        name = parse(request.requested_model)
        local = self._directory.candidates(name.base, request.requested_model, request.protocol)
        if trace is not None:
            self._explain_name(request, name, trace)
        decision = None
        if local and not request.force:
            if trace is not None:
                trace.append(Step("mapping", "all rules", "not consulted: a provider serves the requested name"))
            decision = self._served(request, name, local)
        else:
            mapping = self._mapper.map(request.requested_model, self._lookup(request.protocol), trace)
            if mapping is not None:
                decision = _mapped(request, mapping)
            elif local:
                decision = _local(request, name, local)
            else:
                decision = self._unserved(request, name, trace)
        if trace is not None:
            trace.append(Step("result", decision.route_type.value, decision.reason))
        return decision

    def _served(self, request: RoutingRequest, name: ModelName, candidates: tuple[Candidate, ...]) -> RoutingDecision:
        key = (request.requested_model, request.protocol)
        remembered = self._decided.get(key)
        if remembered is not None and remembered[0] is candidates:
            return remembered[1]
        decision = _local(request, name, candidates)
        if len(request.requested_model) <= LONGEST_REMEMBERED:
            if len(self._decided) >= MOST_REMEMBERED:
                self._decided.clear()
            self._decided[key] = (candidates, decision)
        return decision

    def _lookup(self, protocol: str | None) -> Callable[[str, str, str | None], tuple[Candidate, ...]]:
        return lambda base, full, pin: self._directory.candidates(base, full, protocol, pin)

    def _unserved(self, request: RoutingRequest, name: ModelName, trace: list[Step] | None) -> RoutingDecision:
        """What happens to a name that nobody serves, under its own or another name."""
        requested = request.requested_model
        if not self._upstream_configured:
            if trace is not None:
                trace.append(Step("upstream", "none is configured", "cannot answer"))
            return _refused(requested, "no provider lists it, no mapping applies, and no upstream is configured", None)
        denial = self._denial(requested, name.base)
        if trace is not None:
            trace.append(Step("upstream", "configured", "could answer, for credits"))
            trace.append(Step("credits", f"ampcode.credits{self._place}", denial or "permits it"))
        if denial is not None:
            return _refused(requested, "the credits policy does not permit it", denial)
        return RoutingDecision(
            RouteType.AMP_CREDITS,
            requested,
            requested,
            should_proxy=True,
            effects=RouteType.AMP_CREDITS.effects,
            reason="no provider lists it and no mapping applies, so the upstream answers for credits",
        )

    def _denial(self, requested: str, base: str) -> str | None:
        """Why the upstream may not be paid for this model, or None when it may (DESIGN D-46)."""
        policy = self._credits
        if policy.allow is not None and not (matches_any(policy.allow, base) or matches_any(policy.allow, requested)):
            if policy.allow:
                return f"ampcode.credits.allow{self._place} does not list it; add {base} to it"
            return f"ampcode.credits: deny{self._place}; set it to allow or add {base} to credits.allow"
        if policy.daily_requests is None:
            return None
        left = self._credits_left() if self._credits_left else policy.daily_requests
        if left is None or left > 0:
            return None
        return (
            f"ampcode.credits.daily-requests: {policy.daily_requests}{self._place} is used up for today; "
            "raise it to permit more"
        )

    def _explain_name(self, request: RoutingRequest, name: ModelName, trace: list[Step]) -> None:
        requested = one_line(request.requested_model)
        if name.has_suffix:
            thinking = interpret(name.raw)
            value = thinking.level or ("" if thinking.budget is None else str(thinking.budget))
            outcome = f"base {name.base}, suffix {name.raw}: {thinking.mode} {value}"
        else:
            outcome = "no suffix"
        trace.append(Step("name", requested, one_line(outcome.strip())))
        for state in self._directory.explain(name.base, request.requested_model, request.protocol):
            trace.append(Step("provider", state.provider, one_line(state.outcome)))
        if request.force:
            trace.append(Step("force", "ampcode.force-model-mappings: true", "mappings come before providers"))


def _place(line: int, config_path: str | None) -> str:
    """Where the policy is written, for a client's eyes: the file's name without its folders."""
    if not line:
        return ""
    return f" at {PurePath(config_path).name}:{line}" if config_path else f" at line {line}"


def _local(request: RoutingRequest, name: ModelName, candidates: tuple[Candidate, ...]) -> RoutingDecision:
    requested = request.requested_model
    first = candidates[0]
    return RoutingDecision(
        RouteType.LOCAL_PROVIDER,
        requested,
        requested,
        first.provider,
        (),
        False,
        _attempts(requested, name.raw, candidates),
        RouteType.LOCAL_PROVIDER.effects,
        f"provider {first.provider} serves it" if first.ready else f"provider {first.provider} serves it, cooling down",
    )


def _mapped(request: RoutingRequest, mapping: Mapping) -> RoutingDecision:
    attempts = tuple(
        [attempt for target in mapping.targets for attempt in _attempts(target.model, target.raw, target.candidates)]
    )
    provider = attempts[0].candidate.provider
    state = "" if attempts[0].candidate.ready else ", cooling down"
    rule = f"the rule for {mapping.rule.source}" + (f" at line {mapping.rule.line}" if mapping.rule.line else "")
    return RoutingDecision(
        RouteType.MODEL_MAPPING,
        request.requested_model,
        mapping.model,
        provider,
        mapping.fallback_models,
        False,
        attempts,
        RouteType.MODEL_MAPPING.effects,
        one_line(f"{rule} leads to {mapping.model}, which provider {provider} serves{state}"),
    )


def _attempts(model: str, raw: str, candidates: tuple[Candidate, ...]) -> tuple[Attempt, ...]:
    return tuple([Attempt(model, candidate, "" if candidate.whole else raw) for candidate in candidates])


def _refused(requested: str, reason: str, denial: str | None) -> RoutingDecision:
    text = f"No provider available for model: {requested}"
    return RoutingDecision(
        RouteType.NO_PROVIDER,
        requested,
        requested,
        effects=RouteType.NO_PROVIDER.effects,
        reason=reason if denial is None else one_line(f"{reason}: {denial}"),
        refusal=text if denial is None else f"{text} ({denial})",
    )
