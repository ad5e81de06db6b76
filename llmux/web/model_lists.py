"""Model lists and single models in the shape of each family (SPEC R-RT-2, TRANSLATION 7.1 and 7.2).

Providers' own dates and limits are not known here; the types of the SDKs require some, so fixed ones are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

CREATED = 1760000000
CREATED_AT = "2025-10-09T08:53:20Z"
INPUT_LIMIT = 200000
OUTPUT_LIMIT = 64000
LARGEST_PAGE = 1000
Served = Sequence[tuple[str, str]]
"""(model name, provider name) pairs, in the order they are listed."""


def openai_model(name: str, provider: str) -> dict[str, Any]:
    """One model as OpenAI's `/v1/models/M` gives it."""
    return {"id": name, "object": "model", "created": CREATED, "owned_by": provider}


def openai_list(served: Served, query: Mapping[str, str]) -> dict[str, Any]:
    """The list of `/v1/models` for OpenAI's SDKs, which know no pages."""
    return {"object": "list", "data": [openai_model(name, provider) for name, provider in served]}


def anthropic_model(name: str, provider: str) -> dict[str, Any]:
    """One model as Anthropic's `/v1/models/M` gives it."""
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": CREATED_AT,
        "lifecycle": "active",
        "max_input_tokens": INPUT_LIMIT,
        "max_tokens": OUTPUT_LIMIT,
    }


def anthropic_list(served: Served, query: Mapping[str, str]) -> dict[str, Any]:
    """One page of Anthropic's list: `limit`, `after_id` and `before_id` as its API takes them."""
    limit = _count(query.get("limit"), LARGEST_PAGE)
    names = [name for name, _ in served]
    start, end = 0, len(served)
    if query.get("after_id") in names:
        start = names.index(query["after_id"]) + 1
    if query.get("before_id") in names:
        end = names.index(query["before_id"])
        page = served[max(start, end - limit) : end]
        more = end - limit > start
    else:
        page = served[start : start + limit]
        more = start + limit < end
    data = [anthropic_model(name, provider) for name, provider in page]
    return {
        "data": data,
        "has_more": more,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
    }


def gemini_model(name: str, provider: str) -> dict[str, Any]:
    """One model as Gemini's `/v1beta/models/M` gives it."""
    return {
        "name": f"models/{name}",
        "version": "001",
        "displayName": name,
        "inputTokenLimit": INPUT_LIMIT,
        "outputTokenLimit": OUTPUT_LIMIT,
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    }


def gemini_list(served: Served, query: Mapping[str, str]) -> dict[str, Any]:
    """One page of Gemini's list: `pageSize` and `pageToken`, which is the position to go on from."""
    size = _count(query.get("pageSize"), LARGEST_PAGE)
    token = query.get("pageToken", "")
    start = int(token) if token.isascii() and token.isdigit() and len(token) < 10 else 0
    page: dict[str, Any] = {"models": [gemini_model(name, provider) for name, provider in served[start : start + size]]}
    if start + size < len(served):
        page["nextPageToken"] = str(start + size)
    return page


def family(headers: Mapping[bytes, bytes], query: Mapping[str, str]) -> str:
    """Whose SDK asks for the shared `/v1/models` (TRANSLATION 7.1): gemini, anthropic or openai."""
    if b"x-goog-api-key" in headers or "key" in query:
        return "gemini"
    return "anthropic" if b"anthropic-version" in headers else "openai"


LISTS = {"openai": openai_list, "anthropic": anthropic_list, "gemini": gemini_list}
MODELS = {"openai": openai_model, "anthropic": anthropic_model, "gemini": gemini_model}


def _count(text: str | None, default: int) -> int:
    if text and text.isascii() and text.isdigit() and len(text) < 10:
        return max(1, min(int(text), LARGEST_PAGE))
    return default
