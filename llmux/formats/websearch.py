"""The one server tool that every vendor has: web search, and what its settings are called (TRANSLATION 2.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmux.formats.neutral import Json

KIND = "web_search"
_PLACE = ("city", "country", "region", "timezone")
_SIZES = ("low", "medium", "high")


def config(size: object = None, location: object = None, allowed: object = None, blocked: object = None) -> Json:
    """The settings that travel: context size, place, and domains; what is malformed is left out."""
    found: dict[str, Any] = {}
    if isinstance(size, str) and size in _SIZES:
        found["size"] = size
    place = location.get("approximate", location) if isinstance(location, Mapping) else None
    if isinstance(place, Mapping):
        known = {key: place[key] for key in _PLACE if isinstance(place.get(key), str)}
        if known:
            found["place"] = known
    for key, domains in (("allowed", allowed), ("blocked", blocked)):
        if isinstance(domains, list) and domains and all(isinstance(domain, str) for domain in domains):
            found[key] = domains
    return found


def for_chat(settings: Json) -> dict[str, Any]:
    """`web_search_options`."""
    options: dict[str, Any] = {}
    if "size" in settings:
        options["search_context_size"] = settings["size"]
    if "place" in settings:
        options["user_location"] = {"type": "approximate", "approximate": settings["place"]}
    return options


def for_responses(settings: Json) -> dict[str, Any]:
    """The `web_search` tool."""
    tool: dict[str, Any] = {"type": "web_search"}
    if "size" in settings:
        tool["search_context_size"] = settings["size"]
    if "place" in settings:
        tool["user_location"] = {"type": "approximate", **settings["place"]}
    if "allowed" in settings:
        tool["filters"] = {"allowed_domains": settings["allowed"]}
    return tool


def for_anthropic(settings: Json) -> dict[str, Any]:
    """The `web_search_20250305` tool; it takes allowed or blocked domains, not both."""
    tool: dict[str, Any] = {"type": "web_search_20250305", "name": KIND}
    if "allowed" in settings:
        tool["allowed_domains"] = settings["allowed"]
    elif "blocked" in settings:
        tool["blocked_domains"] = settings["blocked"]
    if "place" in settings:
        tool["user_location"] = {"type": "approximate", **settings["place"]}
    return tool
