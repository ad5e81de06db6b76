"""The TypeScript llmux's `config.json`: `server`, `routing`, `amp`."""

from __future__ import annotations

from typing import Any

from llmux.daemon.importing.imported import Imported, Json, NotThatFormat, items, mapping, text

_KINDS = {
    "anthropic": ("anthropic", "ANTHROPIC_API_KEY"),
    "openai": ("openai", "OPENAI_API_KEY"),
    "gemini": ("gemini", "GEMINI_API_KEY"),
}
_AMP = ("enabled", "upstreamUrl", "upstreamApiKey", "restrictManagementToLocalhost")
_UPSTREAM = "https://ampcode.com"
_LOGIN = "its log-in belongs to a consumer subscription, which llmux does not reuse"
_NOT_CARRIED = {"opencode-zen": "write it as a provider of kind openai with its key"}


def convert(document: Json) -> Imported:
    """Carry a configuration over; raises NotThatFormat for a document without `routing` and `amp`."""
    if not isinstance(document.get("routing"), dict) and not isinstance(document.get("amp"), dict):
        raise NotThatFormat("it has neither routing nor amp")
    result = Imported()
    server, routing, amp = (mapping(document.get(name)) for name in ("server", "routing", "amp"))
    host = text(server.get("hostname")) or "127.0.0.1"
    if host not in ("localhost", "127.0.0.1", "::1"):
        result.lose("server.hostname", "without api-keys the daemon listens on loopback only")
    port = server.get("port", 8743)
    result.config["listen"] = f"tcp:{port if isinstance(port, int) else 8743}:interface=127.0.0.1"
    origins = server.get("cors")
    if origins is True:
        result.config["cors"] = {"origins": ["*"]}
    elif isinstance(origins, list):
        result.config["cors"] = {"origins": [origin for origin in origins if text(origin)]}
    result.config["providers"] = _providers(result, routing)
    rules = _rules(result, routing)
    ampcode: dict[str, Any] = {}
    if amp.get("enabled", True):
        ampcode["upstream-url"] = text(amp.get("upstreamUrl")) or _UPSTREAM
        ampcode["credits"] = "allow"
    if text(amp.get("upstreamApiKey")):
        ampcode["upstream-api-key"] = text(amp.get("upstreamApiKey"))
    if isinstance(amp.get("restrictManagementToLocalhost"), bool):
        ampcode["restrict-management-to-localhost"] = amp["restrictManagementToLocalhost"]
    if rules:
        # That llmux applied its mappings before it looked for a provider of the requested name.
        ampcode |= {"model-mappings": rules, "force-model-mappings": True}
    if ampcode:
        result.config["ampcode"] = ampcode
    retries = routing.get("maxRetryAttempts")
    if retries is not None:
        result.lose("routing.maxRetryAttempts", "candidates are tried once each; see request-retry for more rounds")
    result.lose_unknown(
        "routing.",
        routing,
        ("modelMapping", "modelMappings", "fallbackOrder", "rotateOn429", "maxRetryAttempts"),
        "llmux has nothing like it",
    )
    result.lose_unknown("server.", server, ("port", "hostname", "cors"), "llmux has nothing like it")
    result.lose_unknown("amp.", amp, _AMP, "llmux has nothing like it")
    result.lose_unknown("", document, ("server", "routing", "amp"), "llmux has nothing like it")
    return result


def _providers(result: Imported, routing: dict[str, Any]) -> list[dict[str, Any]]:
    """Its providers logged in by themselves; here each needs a key, from the variable that its vendor names."""
    order = [name for name in items(routing.get("fallbackOrder")) if text(name)]
    order += [
        name
        for target in mapping(routing.get("modelMapping")).values()
        if (name := text(mapping(target).get("provider"))) is not None
    ]
    found = []
    for priority, name in enumerate(dict.fromkeys(order or list(_KINDS))):
        if name not in _KINDS:
            result.lose(f"provider {name}", _NOT_CARRIED.get(name, _LOGIN))
            continue
        kind, variable = _KINDS[name]
        found.append({"name": name, "kind": kind, "api-keys": [f"${{{variable}}}"], "priority": priority})
        result.lose(f"credentials of {name}", f"set {variable}; log-ins are not carried over")
    return found


def _rules(result: Imported, routing: dict[str, Any]) -> list[dict[str, Any]]:
    rules = []
    for name, target in mapping(routing.get("modelMapping")).items():
        resolved = mapping(target)
        model = text(resolved.get("model"))
        if model is None:
            result.lose(f"routing.modelMapping.{name}", "it names no model")
            continue
        provider = text(resolved.get("provider"))
        if provider is not None and provider not in _KINDS:
            result.lose(f"routing.modelMapping.{name} ({provider})", "that provider is not carried over")
        first: Any = {"model": model, "provider": provider} if provider in _KINDS else model
        further = [other for other in items(resolved.get("fallbacks")) if text(other)]
        if model != name or further:
            rules.append({"from": name, "to": [first, *further] if further else first})
    for number, entry in enumerate(items(routing.get("modelMappings"))):
        rule = mapping(entry)
        source, found = text(rule.get("from")), rule.get("to")
        targets = [_target(result, each, number) for each in (found if isinstance(found, list) else [found])]
        kept = [target for target in targets if target is not None]
        if source is None or not kept:
            result.lose(f"routing.modelMappings[{number}]", "it has no from or no to")
            continue
        if rule.get("thinking") is not None:
            result.lose(f"routing.modelMappings[{number}].thinking", "write a level behind the model: NAME(high)")
        rules.append({"from": source, "to": kept if len(kept) > 1 else kept[0]})
    return rules


def _target(result: Imported, value: object, number: int) -> Any:
    if isinstance(value, str):
        return text(value)
    given = mapping(value)
    model = text(given.get("model"))
    if model is None:
        return None
    suffix = given.get("thinkingLevel") or given.get("thinkingBudget")
    if given.get("thinking") is False:
        suffix = "none"
    if suffix:
        model = f"{model}({suffix})"
    provider = text(given.get("provider"))
    if provider is not None and provider not in _KINDS:
        result.lose(f"routing.modelMappings[{number}] ({provider})", "that provider is not carried over")
        return model
    return {"model": model, "provider": provider} if provider else model
