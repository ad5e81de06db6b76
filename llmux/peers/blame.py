"""What a provider's failure says about the credential that was used; pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from llmux.headers import RawHeaders
from llmux.peers.delays import wait_of

_SEARCHED = 64 * 1024
_REASONS = {408: "timeout", 429: "rate-limit", 503: "overloaded", 504: "timeout", 529: "overloaded"}
_NOT_PERMITTED = (b'"flagged_input"', b"input was flagged")
_NO_MONEY = (b"insufficient_quota", b"billing_error", b"credit balance is too low", b"billing_hard_limit_reached")


@dataclass(frozen=True, slots=True)
class Blame:
    """Why a credential is left alone for a while.

    `whole` concerns every model, not just the one asked for; `wait` is what the provider asked for, in seconds.
    `lasting` marks what does not pass by itself: a bad key, an empty account.
    """

    reason: str
    whole: bool = False
    lasting: bool = False
    wait: float | None = None

    @property
    def of_key(self) -> bool:
        """Whether the key itself is of no use, so that another one is asked whatever the status was."""
        return self.reason in ("unauthorized", "quota")


def blame(status: int, headers: RawHeaders, body: bytes, now: float) -> Blame | None:
    """Judge an answer with an error status; None when it is the request's own fault.

    `body` is the beginning of the error body, `now` in epoch seconds. A 403 for what a prompt says (OpenRouter's
    `flagged_input`) is the request's own. The reasons are `unauthorized`, `forbidden`,
    `quota`, `rate-limit`, `overloaded`, `timeout` and `server-error`.
    """
    body = body[:_SEARCHED]
    if status == 401 or (status == 400 and b"API_KEY_INVALID" in body):
        found = Blame("unauthorized", whole=True, lasting=True)
    # OpenAI says 429, Anthropic 400 or 402, when what is missing is money.
    elif status == 402 or (status in (400, 403, 429) and any(words in body for words in _NO_MONEY)):
        found = Blame("quota", whole=True, lasting=True)
    elif status == 403 and not any(words in body for words in _NOT_PERMITTED):
        found = Blame("forbidden", whole=b"model" not in body.lower(), lasting=True)
    elif status in _REASONS or status >= 500:
        found = Blame(_REASONS.get(status, "server-error"))
    else:
        return None
    return replace(found, wait=wait_of(headers, body, now, rate_limited=found.reason == "rate-limit"))
