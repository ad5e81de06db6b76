"""Token probabilities: Chat's shape is the neutral one, the others are converted (TRANSLATION 2.4, 5.2 R 7)."""

from __future__ import annotations

from typing import Any

from llmux.formats.lenient import mapping, mappings, string

Logprobs = list[dict[str, Any]]


def from_openai(raw: object) -> Logprobs | None:
    """A list of Chat or Responses with every member that Chat's type requires; None when there is none."""
    if not raw:
        return None
    return [
        {**_token(entry), "top_logprobs": [_token(other) for other in mappings(entry.get("top_logprobs"))]}
        for entry in mappings(raw)
    ] or None


def from_gemini(raw: object) -> Logprobs | None:
    """A `logprobsResult`; None when it holds nothing."""
    chosen = mappings(mapping(raw).get("chosenCandidates"))
    ranked = mappings(mapping(raw).get("topCandidates"))
    out: Logprobs = []
    for number, token in enumerate(chosen):
        top = mappings(ranked[number].get("candidates")) if number < len(ranked) else []
        out.append({**_token(token), "top_logprobs": [_token(other) for other in top]})
    return out or None


def to_gemini(logprobs: Logprobs) -> dict[str, Any]:
    """A `logprobsResult`."""
    return {
        "chosenCandidates": [_candidate(entry) for entry in logprobs],
        "topCandidates": [{"candidates": [_candidate(other) for other in entry["top_logprobs"]]} for entry in logprobs],
    }


def to_responses_event(logprobs: Logprobs) -> Logprobs:
    """The list in the events of a Responses stream, whose type has no `bytes`."""
    return [{**_bare(entry), "top_logprobs": [_bare(other) for other in entry["top_logprobs"]]} for entry in logprobs]


def _token(raw: dict[str, Any]) -> dict[str, Any]:
    token = string(raw.get("token"))
    value = raw.get("logprob", raw.get("logProbability"))
    given = raw.get("bytes")
    known = type(given) is list and all(type(byte) is int for byte in given)
    return {
        "token": token,
        "logprob": value if type(value) in (int, float) else 0.0,
        "bytes": given if known else list(token.encode("utf-8", "surrogatepass")),
    }


def _candidate(entry: dict[str, Any]) -> dict[str, Any]:
    return {"token": entry["token"], "logProbability": entry["logprob"]}


def _bare(entry: dict[str, Any]) -> dict[str, Any]:
    return {"token": entry["token"], "logprob": entry["logprob"]}
