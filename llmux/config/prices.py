"""The user's own price list: what a million tokens cost, by model. llmux knows no prices and fetches none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmux.config.document import compose
from llmux.config.problem import ConfigError, Ledger
from llmux.config.reader import Reader, Schema, Value, fields, filled, list_of, missing, number

_AMOUNT = number(0, 1_000_000, "units of currency")


@dataclass(frozen=True, slots=True)
class Price:
    """What a million tokens of each kind cost for the models of a `*` pattern, of one provider or of all.

    `cached` and `cache_write` are for input tokens that a cache had or took; None means that they cost what input does.
    """

    model: str
    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None
    provider: str | None = None


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices in the order of the file, the first that fits holds; `currency` is any text."""

    currency: str
    prices: tuple[Price, ...]


_PRICE: Schema = {
    "model": filled,
    "provider": filled,
    "input": _AMOUNT,
    "output": _AMOUNT,
    "cached": _AMOUNT,
    "cache-write": _AMOUNT,
}


def _price(value: Value) -> Price | None:
    found = fields(value, _PRICE)
    if missing(value, "model", "input", "output") or not {"model", "input", "output"} <= found.keys():
        return None
    return Price(**{name.replace("-", "_"): item for name, item in found.items()})


_LIST: Mapping[str, Reader[Any]] = {"currency": filled, "models": list_of(_price)}


def load_prices(data: bytes, path: str) -> PriceList:
    """Read a price list; raises ConfigError with the first of its problems (`all` has the others)."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(path, 1, 1, "file", "is not in UTF-8") from None
    ledger = Ledger(path)
    root = Value(compose(text, path, ledger), "", ledger, {})
    found = fields(root, _LIST)
    for key in _LIST:
        if not root.has(key):
            ledger.error(root.node, key, "is missing")
    ledger.settle()
    return PriceList(found["currency"], tuple(price for price in found["models"] if price is not None))
