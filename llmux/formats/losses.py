"""What a translation cannot carry: warnings as codes, and refusals (TRANSLATION 2.4)."""

from __future__ import annotations

import re
from typing import Literal

from llmux.formats.events import Error
from llmux.formats.neutral import Format, Request

_NAMES: dict[str, dict[Format, str]] = {
    "n": {"gemini": "candidateCount"},
    "top_p": {"gemini": "topP"},
    "top_k": {"gemini": "topK"},
    "presence_penalty": {"gemini": "presencePenalty"},
    "frequency_penalty": {"gemini": "frequencyPenalty"},
    "logprobs": {"gemini": "responseLogprobs", "responses": "include"},
    "top_logprobs": {"gemini": "logprobs"},
    "stop": {"anthropic": "stop_sequences", "gemini": "stopSequences"},
    "max_tokens": {"chat": "max_completion_tokens", "responses": "max_output_tokens", "gemini": "maxOutputTokens"},
    "output": {
        "chat": "response_format",
        "responses": "text.format",
        "anthropic": "output_config.format",
        "gemini": "responseMimeType",
    },
    "modalities": {"gemini": "responseModalities"},
    "parallel_tool_calls": {"anthropic": "disable_parallel_tool_use"},
    "service_tier": {"gemini": "serviceTier"},
    "tool_choice": {"gemini": "toolConfig"},
    "turns": {"chat": "messages", "responses": "input", "anthropic": "messages", "gemini": "contents"},
}
_IN_GENERATION_CONFIG = ("n", "modalities")
_NO_WORD = re.compile(r"[^A-Za-z0-9_.:$/-]")
_LONGEST_CODE = 80


class RequestRefused(Exception):
    """The client gets `error` in its own shape, and no provider is asked. The text never quotes the request."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error


def malformed(path: str, wanted: str) -> RequestRefused:
    """A member that is not what its format says; `wanted` completes "must be"."""
    return RequestRefused(Error("invalid", f"{path or 'the request body'} must be {wanted}", 400, None, path or None))


def unsupported(
    code: Literal["unsupported_parameter", "unsupported_content"], param: str | None, message: str
) -> RequestRefused:
    """Something that the chosen model's own API has no way to express."""
    return RequestRefused(Error("invalid", message, 400, code, param))


def inexact(code: str, turns: str) -> RequestRefused:
    """What a warning becomes under `translate.strict`; `turns` is the client's word for the conversation."""
    kind, _, what = code.partition(":")
    param = what if kind in ("dropped", "clamped") else turns
    return unsupported("unsupported_parameter", param, f"the chosen model cannot honour this exactly: {code}")


def too_deep() -> RequestRefused:
    """A body nested deeper than anybody means; Python's own limit decides."""
    return RequestRefused(Error("invalid", "the request body is nested too deeply", 400))


def member(request: Request, field: str) -> str:
    """The client's own word for a field of the neutral request."""
    return request.names.get(field) or _NAMES.get(field, {}).get(request.format, field)


class Losses:
    """Collects the warning codes of one translation, each once, in order; `strict` turns the first into a refusal."""

    def __init__(self, request: Request, strict: bool = False) -> None:
        self._request = request
        self._strict = strict
        self._codes: dict[str, None] = {}
        for code in request.lost:
            self.warn(code)

    @property
    def codes(self) -> tuple[str, ...]:
        """Everything that was warned of so far."""
        return tuple(self._codes)

    def warn(self, code: str) -> None:
        """Note that the answer may differ. Raises RequestRefused if translation is strict.

        A code may name what the client wrote, and becomes part of a header: nothing but words is kept of it.
        """
        code = _NO_WORD.sub("_", code)[:_LONGEST_CODE]
        if self._strict:
            raise inexact(code, member(self._request, "turns"))
        self._codes[code] = None

    def drop(self, field: str) -> None:
        """Warn that a field of the neutral request does not travel."""
        self.warn("dropped:" + member(self._request, field))

    def clamp(self, field: str) -> None:
        """Warn that a field travels with another value."""
        self.warn("clamped:" + member(self._request, field))

    def refuse(self, field: str) -> RequestRefused:
        """The refusal for a field without which the client would get something else than it asked for."""
        name = member(self._request, field)
        if self._request.format == "gemini" and field in _IN_GENERATION_CONFIG:
            name = "generationConfig." + name
        return unsupported("unsupported_parameter", name, f"{name} is not supported by the chosen model")

    def refuse_empty(self) -> RequestRefused:
        """The refusal of a conversation in which nothing is said."""
        turns = member(self._request, "turns")
        return unsupported("unsupported_content", turns, f"{turns} must hold at least one message with content")

    def refuse_content(self, path: str, what: str) -> RequestRefused:
        """The refusal for a part of a message; `what` names its kind."""
        return unsupported("unsupported_content", path or None, f"{what} is not supported by the chosen model")

    def check_blockers(self) -> None:
        """Raise the first refusal that holds for every target, if there is one."""
        for blocker in self._request.blockers:
            message = f"{blocker.param} cannot be carried over to the API of the chosen model"
            raise unsupported(blocker.code, blocker.param, message)
