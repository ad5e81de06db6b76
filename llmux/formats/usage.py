"""Token counts in the words of each format (TRANSLATION 3.5)."""

from __future__ import annotations

from typing import Any

from llmux.formats.events import Usage
from llmux.formats.lenient import count, mapping


def from_chat(raw: dict[str, Any]) -> Usage:
    """A Chat `usage` object."""
    read = mapping(raw.get("prompt_tokens_details"))
    written = mapping(raw.get("completion_tokens_details"))
    return Usage(
        input=count(raw.get("prompt_tokens")),
        cache_read=count(read.get("cached_tokens")),
        cache_write=count(read.get("cache_write_tokens")),
        output=count(raw.get("completion_tokens")),
        reasoning=count(written.get("reasoning_tokens")),
        audio_in=count(read.get("audio_tokens")),
        audio_out=count(written.get("audio_tokens")),
    )


def to_chat(usage: Usage) -> dict[str, Any]:
    """A Chat `usage` object; details only where known."""
    read = usage.input or 0
    written = usage.output or 0
    out: dict[str, Any] = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    details = _known(cached_tokens=usage.cache_read, cache_write_tokens=usage.cache_write, audio_tokens=usage.audio_in)
    if details:
        out["prompt_tokens_details"] = details
    details = _known(reasoning_tokens=usage.reasoning, audio_tokens=usage.audio_out)
    if details:
        out["completion_tokens_details"] = details
    return out


def from_responses(raw: dict[str, Any]) -> Usage:
    """A Responses `usage` object."""
    read = mapping(raw.get("input_tokens_details"))
    written = mapping(raw.get("output_tokens_details"))
    return Usage(
        input=count(raw.get("input_tokens")),
        cache_read=count(read.get("cached_tokens")),
        cache_write=count(read.get("cache_write_tokens")),
        output=count(raw.get("output_tokens")),
        reasoning=count(written.get("reasoning_tokens")),
    )


def to_responses(usage: Usage) -> dict[str, Any]:
    """A Responses `usage` object; its details are required by type, so unknown counts are 0."""
    read = usage.input or 0
    written = usage.output or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read or 0,
            "cache_write_tokens": usage.cache_write or 0,
        },
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": read + written,
    }


def merge_anthropic(known: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """The counts of a stream so far: those of `message_delta` are cumulative and overwrite."""
    return {**known, **{name: value for name, value in raw.items() if value is not None}}


def from_anthropic(raw: dict[str, Any]) -> Usage:
    """A Messages `usage` object: its `input_tokens` are those that no cache had."""
    fresh = count(raw.get("input_tokens"))
    read = count(raw.get("cache_read_input_tokens"))
    written = count(raw.get("cache_creation_input_tokens"))
    known = fresh is not None or read is not None or written is not None
    return Usage(
        input=(fresh or 0) + (read or 0) + (written or 0) if known else None,
        cache_read=read,
        cache_write=written,
        cache_write_1h=count(mapping(raw.get("cache_creation")).get("ephemeral_1h_input_tokens")),
        output=count(raw.get("output_tokens")),
        reasoning=count(mapping(raw.get("output_tokens_details")).get("thinking_tokens")),
        web_searches=count(mapping(raw.get("server_tool_use")).get("web_search_requests")),
    )


def to_anthropic(usage: Usage) -> dict[str, Any]:
    """A Messages `usage` object: 0 for unknown input and output, the others where known."""
    out: dict[str, Any] = {
        "input_tokens": max(0, (usage.input or 0) - (usage.cache_read or 0) - (usage.cache_write or 0))
    }
    out.update(_known(cache_read_input_tokens=usage.cache_read, cache_creation_input_tokens=usage.cache_write))
    if usage.reasoning is not None:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    out["output_tokens"] = usage.output or 0
    return out


def merge_gemini(known: dict[str, Any], raw: dict[str, Any]) -> dict[str, Any]:
    """The counts of a stream so far: each chunk repeats the totals, a member missing later keeps its value."""
    return {**known, **raw}


def from_gemini(raw: dict[str, Any]) -> Usage:
    """A Gemini `usageMetadata` object: thoughts and the tools' prompt stand beside the main counts."""
    prompt = count(raw.get("promptTokenCount"))
    tools = count(raw.get("toolUsePromptTokenCount"))
    answer = count(raw.get("candidatesTokenCount"))
    thoughts = count(raw.get("thoughtsTokenCount"))
    return Usage(
        input=None if prompt is None and tools is None else (prompt or 0) + (tools or 0),
        cache_read=count(raw.get("cachedContentTokenCount")),
        output=None if answer is None and thoughts is None else (answer or 0) + (thoughts or 0),
        reasoning=thoughts,
        tool_prompt=tools,
    )


def to_gemini(usage: Usage) -> dict[str, Any]:
    """A Gemini `usageMetadata` object; details only where known."""
    read = usage.input or 0
    written = usage.output or 0
    out: dict[str, Any] = {"promptTokenCount": read}
    if usage.cache_read is not None:
        out["cachedContentTokenCount"] = usage.cache_read
    out["candidatesTokenCount"] = max(0, written - (usage.reasoning or 0))
    if usage.reasoning is not None:
        out["thoughtsTokenCount"] = usage.reasoning
    out["totalTokenCount"] = read + written
    return out


def is_known(usage: Usage) -> bool:
    """Whether the provider said anything about tokens."""
    return usage.input is not None or usage.output is not None


def _known(**members: int | None) -> dict[str, int]:
    return {name: value for name, value in members.items() if value is not None}
