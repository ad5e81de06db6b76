"""Claude Code Router's `config.json`: `Providers` and `Router`."""

from __future__ import annotations

import re
from typing import Any

from llmux.daemon.importing.imported import Imported, Json, NotThatFormat, items, mapping, text, unique

_ENDPOINT = re.compile(r"/(?:chat/completions|responses|v1/messages|models/?)$")
_NO_USE = {"LOG", "LOG_LEVEL", "NON_INTERACTIVE_MODE", "CLAUDE_PATH", "PROXY_URL", "transformers", "Transformers"}
# What Claude Code asks for -> the role whose target answers it.
_ROLES = {
    "default": ("^claude-(?:opus|sonnet)", True),
    "background": ("^claude-(?:3-5-)?haiku", True),
}


def convert(document: Json) -> Imported:
    """Carry a Claude Code Router configuration over; raises NotThatFormat for a document without `Providers`."""
    found = document.get("Providers", document.get("providers"))
    if not isinstance(found, list):
        raise NotThatFormat("it has no Providers")
    result = Imported()
    providers: list[dict[str, Any]] = []
    for number, entry in enumerate(found):
        _provider(result, providers, mapping(entry), f"Providers[{number}]")
    result.config["providers"] = providers
    _router(result, mapping(document.get("Router")), {provider["name"] for provider in providers})
    key = text(document.get("APIKEY"))
    if key is not None:
        result.config["api-keys"] = [_variable(key)]
    host, port = text(document.get("HOST")) or "127.0.0.1", document.get("PORT", 3456)
    if host not in ("127.0.0.1", "localhost") and key is None:
        result.lose("HOST", "without APIKEY the daemon listens on loopback only")
        host = "127.0.0.1"
    if isinstance(port, int) and 0 < port < 65536:
        result.config["listen"] = f"tcp:{port}:interface={'127.0.0.1' if host == 'localhost' else host}"
    milliseconds = document.get("API_TIMEOUT_MS")
    if str(milliseconds).isdigit() and int(str(milliseconds)):
        result.config["timeouts"] = {"first-byte": int(str(milliseconds)) / 1000}
    understood = ("Providers", "providers", "Router", "APIKEY", "HOST", "PORT", "API_TIMEOUT_MS")
    for name in document:
        if name in _NO_USE:
            result.lose(name, "llmux has no use for it")
        elif name not in understood:
            result.lose(name, "llmux has nothing like it")
    return result


def _variable(value: str) -> str:
    """`$NAME` and `${NAME}` in our spelling."""
    match = re.fullmatch(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", value)
    return f"${{{match[1]}}}" if match else value


def _provider(result: Imported, providers: list[dict[str, Any]], entry: dict[str, Any], place: str) -> None:
    name, url = text(entry.get("name")), text(entry.get("api_base_url"))
    if name is None or url is None:
        result.lose(place, "it has no name or no api_base_url")
        return
    kind = "openai"
    if url.rstrip("/").endswith("/v1/messages"):
        kind = "anthropic"
    elif "generativelanguage.googleapis.com" in url:
        kind = "gemini"
    elif url.rstrip("/").endswith("/responses"):
        kind = "openai-responses"
    base = _ENDPOINT.sub("", url.rstrip("/"))
    if kind == "gemini":
        base = base.removesuffix("/v1beta").removesuffix("/models")
    key = text(entry.get("api_key"))
    providers.append(
        {
            "name": unique(name, (provider["name"] for provider in providers)),
            "kind": kind,
            "base-url": base,
            **({"api-keys": [_variable(key)]} if key else {}),
            "models": [model for model in items(entry.get("models")) if text(model)],
        }
    )
    if entry.get("transformer"):
        result.lose(f"{place}.transformer", "llmux translates by itself; see `capabilities` for what a server lacks")
    result.lose_unknown(
        f"{place}.",
        entry,
        ("name", "api_base_url", "api_key", "models", "transformer"),
        "llmux has nothing like it",
    )


def _router(result: Imported, router: dict[str, Any], names: set[str]) -> None:
    rules = []
    for role, target in router.items():
        if role not in _ROLES:
            result.lose(f"Router.{role}", "llmux routes by the model's name, not by what a request is for")
            continue
        provider, comma, model = (text(target) or "").partition(",")
        if not comma or provider not in names:
            result.lose(f"Router.{role}", "it names no provider and model of this file")
            continue
        pattern, regex = _ROLES[role]
        rules.append({"from": pattern, "to": {"model": model.strip(), "provider": provider}, "regex": regex})
    if rules:
        result.config["ampcode"] = {"model-mappings": rules}
