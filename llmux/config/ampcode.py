"""Readers for `ampcode`: the upstream, its keys, the mapping rules and the credits policy (SPEC 1, 5, 13)."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import Any

from llmux.config.credential import secret, secrets
from llmux.config.document import Mapping, Scalar, Sequence
from llmux.config.model import ClientUpstreamKey, CreditsPolicy, MappingRule, Target
from llmux.config.reader import (
    Reader,
    Value,
    boolean,
    each,
    fields,
    filled,
    integer,
    list_of,
    one_of,
    text,
)
from llmux.config.secret import Secret
from llmux.config.url import url_or_blank

_ALLOW_OR_DENY = one_of(("allow", "deny"))
_MAX_PATTERN = 1000


def target(value: Value) -> Target | None:
    """A model as text or `{model, provider}`; None when it is blank."""
    if value.null:
        return None
    if not isinstance(value.node, Mapping):
        written = text(value)
        return Target(written) if written else None
    found = fields(value, {"model": text, "provider": filled})
    return Target(found["model"], found.get("provider")) if found.get("model") else None


def targets(value: Value) -> tuple[Target, ...]:
    """One target or a list of them, without blanks."""
    found = [entry for _, entry in each(value, target)] if isinstance(value.node, Sequence) else [target(value)]
    return tuple(entry for entry in found if entry is not None)


def rule(value: Value) -> MappingRule | None:
    """One mapping rule, or None with a warning when it can never apply (SPEC R-MP-1)."""
    found = fields(value, {"from": text, "to": targets, "regex": boolean})
    source, regex = found.get("from", ""), found.get("regex", False)
    if not source:
        value.warn("the rule has no `from`; left out")
        return None
    if not found.get("to"):
        value.warn("the rule has no `to`; left out")
        return None
    if regex and not _compiles(source):
        written = value.entry("from")
        pattern = ascii(written.node.text if isinstance(written.node, Scalar) else "")[:80]
        written.warn(f"the regular expression {pattern} does not compile; the rule is left out")
        return None
    return MappingRule(source, found["to"], regex, value.node.line)


def rules(value: Value) -> tuple[MappingRule, ...]:
    """The usable rules in file order."""
    return tuple(entry for _, entry in each(value, rule) if entry is not None)


def _compiles(pattern: str) -> bool:
    if len(pattern) > _MAX_PATTERN:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def client_upstream_keys(value: Value) -> tuple[ClientUpstreamKey, ...]:
    """Upstream keys by client key; a client key belongs to the first entry that names it (SPEC R-SC-4)."""
    taken: set[Secret] = set()
    found = []
    for item, entry in each(value, lambda inner: fields(inner, {"upstream-api-key": secret, "api-keys": secrets})):
        upstream, keys = entry.get("upstream-api-key"), entry.get("api-keys", ())
        own = tuple(key for key in keys if key not in taken)
        if upstream is None or not keys:
            item.warn("needs an upstream-api-key and api-keys; left out")
            continue
        if len(own) < len(keys):
            item.warn("a client key is in an earlier entry as well, which holds for it")
        taken.update(own)
        if own:
            found.append(ClientUpstreamKey(upstream, own))
    return tuple(found)


def credits(value: Value) -> CreditsPolicy:
    """`allow`, `deny`, or `{allow: [patterns], daily-requests: N, passthrough: bool}` (DESIGN D-46)."""
    if not isinstance(value.node, Mapping):
        return CreditsPolicy() if _ALLOW_OR_DENY(value) == "allow" else CreditsPolicy(allow=())
    found = fields(
        value, {"allow": list_of(filled), "daily-requests": integer(0, 1_000_000_000), "passthrough": boolean}
    )
    passthrough = found.get("passthrough", True)
    denial = ("", 0) if passthrough else ("ampcode.credits.passthrough", value.entry("passthrough").node.line)
    return CreditsPolicy(found.get("allow"), found.get("daily-requests"), passthrough, denial=denial)


SCHEMA: dict[str, Reader[Any]] = {
    "upstream-url": url_or_blank,
    "upstream-api-key": secret,
    "upstream-api-keys": client_upstream_keys,
    "restrict-management-to-localhost": boolean,
    "force-model-mappings": boolean,
    "model-mappings": rules,
    "credits": credits,
    "credits-passthrough": _ALLOW_OR_DENY,
    "strip-features": list_of(filled),
}


def ampcode(value: Value) -> dict[str, Any]:
    """The fields of `AmpcodeConfig` that the section gives."""
    found = fields(value, SCHEMA)
    if "credits" in found and isinstance(value.node, Mapping):
        found["credits"] = replace(found["credits"], line=value.node.entries["credits"][0].line)
    agents = found.pop("credits-passthrough", None)
    if agents == "deny":
        # The other spelling of `credits: {passthrough: BOOLEAN}`; the stricter of the two holds.
        denial = "ampcode.credits-passthrough", value.entry("credits-passthrough").node.line
        found["credits"] = replace(found.get("credits", CreditsPolicy()), passthrough=False, denial=denial)
    return {key.replace("-", "_"): entry for key, entry in found.items()}


OLDER: dict[str, Reader[Any]] = {
    f"amp-{key}": SCHEMA[key]
    for key in (
        "upstream-url",
        "upstream-api-key",
        "upstream-api-keys",
        "restrict-management-to-localhost",
        "force-model-mappings",
        "model-mappings",
    )
}
"""The flat keys that came before the section; they hold where the section is silent."""
