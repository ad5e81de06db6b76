"""Model mappings: which other name a request is served under (SPEC 5)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from llmux.config.model import MappingRule, Target
from llmux.routing.decision import Candidate, Step, one_line
from llmux.routing.pattern import Pattern, PatternError
from llmux.routing.suffix import carry, parse

LONGEST_SEARCHED = 512
_REMEMBERED = 1024

Lookup = Callable[[str, str, str | None], tuple[Candidate, ...]]
"""Candidates for a base name, the full name that is tried when nobody lists the base, and a pinned provider."""


@dataclass(frozen=True, slots=True)
class MappedTarget:
    """One served target of a rule: the name with its suffix, the text of the suffix, and who serves it."""

    model: str
    raw: str
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Mapping:
    """A rule that applies; the first target is the result, the others follow in the rule's order."""

    rule: MappingRule
    targets: tuple[MappedTarget, ...]

    @property
    def model(self) -> str:
        """The mapped name, suffix included (SPEC R-MP-6)."""
        return self.targets[0].model

    @property
    def fallback_models(self) -> tuple[str, ...]:
        """Names of the further targets, once each and without the result (SPEC R-DC-5)."""
        return tuple(dict.fromkeys([target.model for target in self.targets]))[1:]


class ModelMapper:
    """The usable rules of a configuration.

    `rules` are those that were accepted, trimmed and with `model:provider` taken apart; `warnings` has a line for each
    thing that was dropped or looks wrong (SPEC R-MP-1). Expressions search names of at most LONGEST_SEARCHED characters
    in linear time (`pattern.Pattern`), so neither a rule nor a name can stop the daemon (SPEC B-40).
    """

    def __init__(self, rules: Iterable[MappingRule], provider_names: Collection[str] = ()) -> None:
        self._exact: dict[str, MappingRule] = {}
        self._patterns: list[tuple[Pattern, MappingRule]] = []
        self._found: dict[str, MappingRule | None] = {}
        warnings: list[str] = []
        accepted: list[MappingRule] = []
        for number, written in enumerate(rules, 1):
            where = f"line {written.line}" if written.line else f"rule {number}"
            rule = _clean(written, provider_names, where, warnings)
            if rule is None:
                continue
            if rule.regex:
                try:
                    self._patterns.append((Pattern(rule.source), rule))
                except PatternError as error:
                    warnings.append(f"model-mappings, {where}: {rule.source!r} is dropped: {error}")
                    continue
            else:
                key = rule.source.lower()
                if key in self._exact:
                    warnings.append(f"model-mappings, {where}: {rule.source!r} replaces an earlier rule for that name")
                    accepted.remove(self._exact[key])
                self._exact[key] = rule
            accepted.append(rule)
        self.rules = tuple(accepted)
        self.warnings = tuple(warnings)

    def map(self, requested: str, lookup: Lookup, trace: list[Step] | None = None) -> Mapping | None:
        """The mapping of a requested name, or None when no rule matches or the first that does leads nowhere.

        One hop: the result is never looked up here again (SPEC R-MP-5, R-MP-7). A result that equals the requested
        name is none (R-MP-10).
        """
        if not requested.strip():
            return None
        rule = self._choose(requested, parse(requested).base)
        if trace is not None:
            trace.extend(self._explain(requested, rule))
        if rule is None:
            return None
        targets = _served(rule, requested, lookup, trace)
        outcome = None
        if not targets:
            outcome = "no mapping: nobody serves a target, and no later rule is tried"
        elif targets[0].model == requested:
            outcome = "no mapping: the result is the requested name"
        if outcome is None:
            return Mapping(rule, targets)
        if trace is not None:
            trace.append(Step("mapping", describe(rule), outcome))
        return None

    def _choose(self, requested: str, base: str) -> MappingRule | None:
        """The first matching rule by the order of SPEC R-MP-4."""
        rule = self._exact.get(requested.lower()) or self._exact.get(base.lower())
        if rule is not None or not self._patterns or len(base) > LONGEST_SEARCHED:
            return rule
        try:
            return self._found[base]
        except KeyError:
            rule = next((rule for pattern, rule in self._patterns if pattern.search(base)), None)
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[base] = rule
            return rule

    def _explain(self, requested: str, chosen: MappingRule | None) -> Iterable[Step]:
        base = parse(requested).base
        patterns = {id(rule): pattern for pattern, rule in self._patterns}
        for rule in self.rules:
            if rule is chosen:
                outcome = "matches"
            elif rule.regex and len(base) > LONGEST_SEARCHED:
                outcome = f"not tried: the name has more than {LONGEST_SEARCHED} characters"
            elif (
                patterns[id(rule)].search(base)
                if rule.regex
                else rule.source.lower() in (requested.lower(), base.lower())
            ):
                outcome = "would match, but another rule comes first"
            else:
                outcome = "does not match"
            yield Step("mapping", describe(rule), outcome)


def describe(rule: MappingRule) -> str:
    """A rule on one line for people, with its place in the file where known."""
    targets = ", ".join(f"{to.model} at {to.provider}" if to.provider else to.model for to in rule.targets)
    place = f"line {rule.line}: " if rule.line else ""
    return one_line(f"{place}{'/' + rule.source + '/' if rule.regex else rule.source} -> {targets}")


def _served(rule: MappingRule, requested: str, lookup: Lookup, trace: list[Step] | None) -> tuple[MappedTarget, ...]:
    """Targets with at least one candidate that no earlier target of that name has brought (SPEC R-MP-8)."""
    found: list[MappedTarget] = []
    for target in rule.targets:
        model = carry(requested, target.model)
        name = parse(model)
        offered = lookup(name.base, model, target.provider)
        earlier = [candidate for other in found if other.model == model for candidate in other.candidates]
        candidates = tuple([candidate for candidate in offered if candidate not in earlier]) if earlier else offered
        if candidates:
            found.append(MappedTarget(model, name.raw, candidates))
        if trace is not None:
            names = ", ".join(candidate.provider for candidate in candidates)
            outcome = f"served by {names}" if names else "repeated" if offered else "skipped: nobody serves it"
            trace.append(Step("target", one_line(model), outcome))
    return tuple(found)


def _clean(
    written: MappingRule, provider_names: Collection[str], where: str, warnings: list[str]
) -> MappingRule | None:
    """The rule trimmed and with its targets' pins resolved; None, with a warning, when it is not usable."""
    source = written.source.strip()
    targets = [_pinned(target, provider_names) for target in written.targets if target.model.strip()]
    if not source:
        warnings.append(f"model-mappings, {where}: dropped: `from` is blank")
        return None
    if not targets:
        warnings.append(f"model-mappings, {where}: {source!r} is dropped: `to` is blank")
        return None
    if len(targets) < len(written.targets):
        warnings.append(f"model-mappings, {where}: {source!r} has a blank entry in `to`, which is skipped")
    for target in targets:
        if target.provider and provider_names and target.provider not in provider_names:
            warnings.append(
                f"model-mappings, {where}: {source!r} leads to provider {target.provider!r}, which is not configured"
            )
    return replace(written, source=source, targets=tuple(targets))


def _pinned(target: Target, provider_names: Collection[str]) -> Target:
    """Take `model:provider` apart when the provider is configured (SPEC R-MP-9)."""
    model = target.model.strip()
    if target.provider is not None:
        return Target(model, target.provider.strip() or None)
    before, _, after = model.rpartition(":")
    if before.strip() and after.strip() in provider_names:
        return Target(before.strip(), after.strip())
    return Target(model)
