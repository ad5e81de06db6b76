"""Readers for credentials: blank ones and those whose variable is not set are left out, not fatal."""

from __future__ import annotations

import re

from llmux.config.environment import Unset
from llmux.config.reader import Fault, Value, each, raw_text
from llmux.config.secret import Secret

_SENDABLE = re.compile(r"[ -~]+")


def secret(value: Value) -> Secret | None:
    """A credential; None when it is blank, and with a warning when its variable is not set."""
    try:
        found = raw_text(value)
    except Unset as unset:
        value.warn(f"{unset}; left out")
        return None
    if not found:
        return None
    if not _SENDABLE.fullmatch(found):
        raise Fault(value, "has a character that a header cannot carry")
    return Secret(found)


def secrets(value: Value) -> tuple[Secret, ...]:
    """A list of credentials without blanks and repetitions."""
    return tuple(dict.fromkeys(key for _, key in each(value, _listed) if key is not None))


def client_keys(value: Value) -> tuple[Secret, ...]:
    """The keys of clients. A list that was meant to protect the daemon and protects nothing is refused."""
    entries = each(value, _listed)
    found = tuple(dict.fromkeys(key for _, key in entries if key is not None))
    if entries and not found:
        raise Fault(
            value,
            "every key is blank or its variable is not set, so the daemon would be open to everyone; "
            "set the variable, or write [] to leave it open",
        )
    return found


def _listed(value: Value) -> Secret | None:
    if value.blank:
        value.warn("is blank; left out")
        return None
    return secret(value)
