"""LiteLLM's proxy configuration: `model_list`, `router_settings`, `litellm_settings`, `general_settings`."""

from __future__ import annotations

from typing import Any

from llmux.daemon.importing.imported import Imported, Json, NotThatFormat, items, mapping, text, unique
from llmux.routing.directory import DEFAULT_MODELS

# LiteLLM's provider prefix -> our kind, default base URL, and where LiteLLM looks for a key that is not given.
_PREFIXES: dict[str, tuple[str, str, str]] = {
    "openai": ("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": ("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
    "gemini": ("gemini", "https://generativelanguage.googleapis.com", "GEMINI_API_KEY"),
    "openrouter": ("openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "groq": ("openai", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "deepseek": ("openai", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "mistral": ("openai", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "xai": ("openai", "https://api.x.ai/v1", "XAI_API_KEY"),
    "together_ai": ("openai", "https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
    "fireworks_ai": ("openai", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "ollama": ("openai", "http://127.0.0.1:11434/v1", ""),
    "ollama_chat": ("openai", "http://127.0.0.1:11434/v1", ""),
    "hosted_vllm": ("openai", "", "HOSTED_VLLM_API_KEY"),
    "lm_studio": ("openai", "http://127.0.0.1:1234/v1", ""),
}
# Those that have an address of their own and still no API that we speak.
_OTHER_APIS = {"azure", "azure_text", "bedrock", "vertex_ai", "sagemaker", "watsonx", "cohere", "replicate", "triton"}
_UNDERSTOOD = ("model", "api_key", "api_base", "base_url", "litellm_credential_name")
_STRATEGIES = {"simple-shuffle": "round-robin", "usage-based-routing": "round-robin"}


def convert(document: Json) -> Imported:
    """Carry a LiteLLM configuration over; raises NotThatFormat for a document without `model_list`."""
    if not isinstance(document.get("model_list"), list):
        raise NotThatFormat("it has no model_list")
    result = Imported()
    providers: dict[tuple[str, str, str], dict[str, Any]] = {}
    credentials = {
        str(mapping(entry).get("credential_name")): mapping(mapping(entry).get("credential_values"))
        for entry in items(document.get("credential_list"))
    }
    for number, entry in enumerate(items(document["model_list"])):
        _entry(result, providers, credentials, mapping(entry), f"model_list[{number}]")
    result.config["providers"] = list(providers.values())
    _settings(result, document)
    result.lose_unknown(
        "",
        document,
        ("model_list", "credential_list", "router_settings", "litellm_settings", "general_settings"),
        "llmux has nothing like it",
    )
    return result


def _entry(
    result: Imported,
    providers: dict[tuple[str, str, str], dict[str, Any]],
    credentials: dict[str, dict[str, Any]],
    entry: dict[str, Any],
    place: str,
) -> None:
    asked = text(entry.get("model_name"))
    params = mapping(entry.get("litellm_params"))
    credential = text(params.get("litellm_credential_name"))
    if credential is not None and credential not in credentials:
        result.lose(f"{place} ({asked})", f"credential_list has no {credential}")
        return
    params = {**credentials.get(credential or "", {}), **params}
    model = text(params.get("model"))
    if asked is None or model is None:
        result.lose(place, "it names no model")
        return
    prefix, slash, name = model.partition("/")
    if not slash:
        prefix, name = _family(model), model
    known = _PREFIXES.get(prefix)
    base = text(params.get("api_base")) or text(params.get("base_url"))
    if known is None and (base is None or prefix in _OTHER_APIS):
        result.lose(f"{place} ({asked})", f"provider {prefix} has no API that llmux speaks")
        return
    kind, default_base, variable = known or ("openai", "", "")
    if known is None:
        name = model
    if prefix in ("ollama", "ollama_chat") and base and not base.rstrip("/").endswith("/v1"):
        base = f"{base.rstrip('/')}/v1"
    own_address = base is not None
    base = base or default_base
    if not base:
        result.lose(f"{place} ({asked})", "it needs an api_base")
        return
    listed: list[Any] = [name if name == asked else {"name": name, "alias": asked}]
    if "*" in name:
        listed = [] if own_address or not slash or prefix != kind else [*DEFAULT_MODELS[kind]]
        what = f"the prefix is not taken off, so ask for {', '.join(map(str, listed))}" if listed else "list its models"
        result.lose(f"{place} ({asked})", f"a pattern cannot stand for models of another name: {what}")
    if listed:
        key = text(params.get("api_key")) or (f"${{{variable}}}" if variable else "")
        _add(providers, prefix, kind, base, key, listed)
    result.lose_unknown(f"{place}.litellm_params.", params, _UNDERSTOOD, "per-model parameters are left to the client")
    result.lose_unknown(f"{place}.", entry, ("model_name", "litellm_params"), "llmux keeps no facts about models")


def _add(
    providers: dict[tuple[str, str, str], dict[str, Any]],
    prefix: str,
    kind: str,
    base: str,
    key: str,
    listed: list[Any],
) -> None:
    """Add models to the provider with this address and key, or make one."""
    provider = providers.get((kind, base, key))
    if provider is None:
        provider = {
            "name": unique(prefix.replace("_", "-"), (each["name"] for each in providers.values())),
            "kind": kind,
            "base-url": base,
            **({"api-keys": [key]} if key else {}),
            "models": [],
        }
        providers[kind, base, key] = provider
    provider["models"] += [entry for entry in listed if entry not in provider["models"]]


def _family(model: str) -> str:
    if model.startswith("claude"):
        return "anthropic"
    return "gemini" if model.startswith(("gemini", "gemma")) else "openai"


def _settings(result: Imported, document: Json) -> None:
    general = mapping(document.get("general_settings"))
    key = text(general.get("master_key"))
    if key is not None:
        result.config["api-keys"] = [key]
    result.lose_unknown("general_settings.", general, ("master_key",), "llmux has nothing like it")
    router = mapping(document.get("router_settings"))
    library = mapping(document.get("litellm_settings"))
    rules = []
    for alias, target in mapping(router.get("model_group_alias")).items():
        name = target if isinstance(target, str) else mapping(target).get("model")
        if text(name):
            rules.append({"from": alias, "to": name})
    for place, fallbacks in (("router_settings", router), ("litellm_settings", library)):
        for entry in items(fallbacks.get("fallbacks")):
            for model in mapping(entry):
                result.lose(
                    f"{place}.fallbacks ({model})", "give a mapping a list of targets instead: {from, to: [...]}"
                )
    if rules:
        result.config["ampcode"] = {"model-mappings": rules}
    strategy = text(router.get("routing_strategy"))
    if strategy in _STRATEGIES:
        result.config["routing"] = {"strategy": _STRATEGIES[strategy]}
    elif strategy is not None:
        result.lose("router_settings.routing_strategy", f"{strategy} has no counterpart; round-robin is used")
    retries = router.get("num_retries", library.get("num_retries"))
    if isinstance(retries, int) and not isinstance(retries, bool) and 0 <= retries <= 100:
        result.config["request-retry"] = retries
    seconds = library.get("request_timeout", router.get("timeout"))
    if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0:
        result.config["timeouts"] = {"first-byte": seconds}
    cooldown = router.get("cooldown_time")
    if isinstance(cooldown, int | float) and not isinstance(cooldown, bool) and cooldown >= 0:
        result.config["cooldown"] = {"max": cooldown}
    carried = ("model_group_alias", "routing_strategy", "num_retries", "timeout", "cooldown_time", "fallbacks")
    result.lose_unknown("router_settings.", router, carried, "llmux has nothing like it")
    for name, option in (("set_verbose", "--log-level debug"), ("json_logs", "--log-format json")):
        if library.get(name):
            result.lose(f"litellm_settings.{name}", f"start twistd llmux with {option}")
    carried = ("num_retries", "request_timeout", "fallbacks", "drop_params", "set_verbose", "json_logs")
    result.lose_unknown("litellm_settings.", library, carried, "llmux has nothing like it")
