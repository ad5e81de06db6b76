"""What a client is told of its request: the headers about the decision, and the problems that end it early."""

from __future__ import annotations

from typing import cast

from llmux.errors import HTTPProblem, provider_failed, timed_out
from llmux.formats.answer import error_answer
from llmux.formats.losses import RequestRefused
from llmux.formats.neutral import Format
from llmux.headers import RawHeaders
from llmux.routing.decision import RoutingDecision, one_line
from llmux.wire.outgoing import UpstreamFailure

_REASON = b"x-llmux-reason"


def said_of(decision: RoutingDecision, provider: str, model: str, story: str = "") -> RawHeaders:
    """The headers that tell the client what happened; `story` is what was tried in vain."""
    reason = f"{decision.reason}; {story}" if story else decision.reason
    said = [
        (b"x-llmux-route", decision.route_type.value.encode()),
        (b"x-llmux-provider", header_text(provider)),
        (b"x-llmux-model", header_text(model)),
        (_REASON, header_text(reason)),
    ]
    return said if model else [said[0], said[3]]


def refusal(protocol: str, problem: RequestRefused) -> HTTPProblem:
    """The 400 in the client's own shape for a request that cannot be carried over (TRANSLATION 2.4)."""
    answer = error_answer(problem.error, cast(Format, protocol))
    return HTTPProblem(answer.status, answer.body, answer.headers, problem.error.message)


def unanswered(protocol: str, provider: str, failure: UpstreamFailure, seconds: float) -> HTTPProblem:
    """What the client reads when a provider gave no answer: 504 for a clock that ran out, else 502 (SPEC R-ER-13)."""
    if failure.kind.endswith("-timeout"):
        return timed_out(protocol, failure.kind, seconds)
    return provider_failed(protocol, provider)


def told(problem: HTTPProblem, said: RawHeaders) -> HTTPProblem:
    """The same problem with the headers that tell what was decided."""
    return HTTPProblem(problem.status, problem.body, [*problem.headers, *said], str(problem))


def with_reason(problem: HTTPProblem) -> HTTPProblem:
    """The same problem, with itself as the reason if it came before there was anything to decide."""
    if any(name == _REASON for name, _ in problem.headers):
        return problem
    return told(problem, [(_REASON, header_text(str(problem)))])


def header_text(text: str) -> bytes:
    """Text as a header value: one line of ASCII."""
    return one_line(text).encode("ascii", "backslashreplace")
