"""Where in a provider's API a request goes: the path of each format and verb below the provider's base URL."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

GENERATE, COUNT = "generate", "count"

_PATHS = {
    ("anthropic", GENERATE): "/v1/messages",
    ("anthropic", COUNT): "/v1/messages/count_tokens",
    ("chat", GENERATE): "/v1/chat/completions",
    ("completions", GENERATE): "/v1/completions",
    ("responses", GENERATE): "/v1/responses",
    ("responses", COUNT): "/v1/responses/input_tokens",
}
_VERSIONED = re.compile(rb"/v\d+[a-z0-9]*$")
_VERSION = re.compile(r"^/v\d+[a-z0-9]*")
GEMINI_METHODS = ("generateContent", "streamGenerateContent", "countTokens")


def provider_path(base_path: bytes, protocol: str, verb: str) -> bytes:
    """The path of a request in a format other than Gemini's; raises KeyError when the format has no such verb.

    A base URL that already ends in a version (`https://openrouter.ai/api/v1`) gets the path without one.
    """
    return placed(base_path, _PATHS[protocol, verb])


def gemini_path(base_path: bytes, model: str, method: str) -> bytes:
    """The path of a Gemini request: `models/MODEL:METHOD` below the version; slashes of the model stay."""
    return placed(base_path, f"/v1beta/models/{quote(model, safe='/-._~')}:{method}")


@lru_cache(maxsize=256)
def placed(base_path: bytes, path: str) -> bytes:
    """A path that begins with a version, below a base path that may bring its own."""
    if _VERSIONED.search(base_path):
        path = _VERSION.sub("", path)
    return base_path + path.encode("ascii")
