"""One model of LiteLLM's table in our words: integer prices, windows, what it can do.

The same fields stand in its published file and in what a running proxy tells of its models.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pointsman.core.catalog import PriceStep

MODES = frozenset({"chat", "completion", "embedding", "responses"})
"""Kinds of models that the gateway can ask, or will; images, sound and the like are left out."""

_STEP = re.compile(r"(input_cost|output_cost|cache_read_input)_(?:per_token|token_cost)_above_(\d+)k_tokens")
_FIELD = {"input_cost": "price_input", "output_cost": "price_output", "cache_read_input": "price_cached_input"}
_CAN = {
    "supports_function_calling": {"tools"},
    "supports_vision": {"vision"},
    "supports_response_schema": {"json_object", "json_schema"},
}


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What is known of one model at one provider. Prices are micro-dollars per million tokens."""

    mode: str = "chat"
    price_input: int | None = None
    price_cached_input: int | None = None
    price_output: int | None = None
    cache_write_percent: tuple[int, int] | None = None
    """As in `ModelCard`; None: writing costs no more than reading."""
    writes_unasked: bool = False
    """As in `ModelCard`."""
    steps: tuple[PriceStep, ...] = ()
    context_window: int | None = None
    """The most tokens of prompt that the vendor takes."""
    max_output: int | None = None
    can: tuple[str, ...] = ()
    """Capabilities as `ModelCard` names them, beside those that the mode stands for, and `reasoning`."""

    @property
    def capabilities(self) -> frozenset[str]:
        found = frozenset(self.can) - {"reasoning"}
        if self.mode == "chat":
            return found | {"chat"}
        return frozenset({"embedding": {"embeddings"}, "completion": {"completion"}}.get(self.mode, ()))

    def price_fields(self) -> dict[str, Any]:
        """A `ModelCard`'s fields, those that are known: all that a price consists of, or nothing."""
        if self.price_input is None or self.price_output is None:
            return {}
        return {
            "price_input": self.price_input,
            "price_cached_input": self.price_cached_input,
            "price_output": self.price_output,
            "price_steps": self.steps,
            "writes_unasked": self.writes_unasked,
            **({"cache_write_percent": self.cache_write_percent} if self.cache_write_percent else {}),
        }

    def size_fields(self) -> dict[str, Any]:
        """The window and the longest answer, where they are known."""
        told = {"context_window": self.context_window, "max_output": self.max_output}
        return {field: value for field, value in told.items() if value}


def row_of(entry: Mapping[str, Any]) -> Row | None:
    """An entry of LiteLLM's table; None where it is of a kind that is left out, or says nothing that is of use.

    Of prices that depend on the length of the prompt every step is kept. Batch, flexible and priority prices are left
    out: the gateway asks for none of them.
    """
    mode = entry.get("mode") or "chat"
    if not isinstance(mode, str) or mode not in MODES:
        return None
    price_input, price_output = _price(entry.get("input_cost_per_token")), _price(entry.get("output_cost_per_token"))
    if mode == "embedding" and price_output is None:
        price_output = 0  # vectors cost nothing beside the text that is read
    can = [word for key, words in _CAN.items() if entry.get(key) is True for word in sorted(words)]
    if entry.get("supports_reasoning") is True:
        can.append("reasoning")
    writes = _writes(entry, price_input)
    row = Row(
        mode=mode,
        price_input=price_input,
        price_cached_input=_price(entry.get("cache_read_input_token_cost")),
        price_output=price_output,
        cache_write_percent=writes,
        # Who sells caches for an hour (Anthropic, wherever it is served) writes only where a request asks for it.
        writes_unasked=writes is not None and "cache_creation_input_token_cost_above_1hr" not in entry,
        steps=_steps(entry, price_input, price_output),
        context_window=_count(entry.get("max_input_tokens")) or _count(entry.get("max_tokens")),
        max_output=None if mode == "embedding" else _count(entry.get("max_output_tokens")),
        can=tuple(can) if mode in ("chat", "responses") else (),
    )
    return row if row.price_fields() or row.context_window else None


def _price(dollars_per_token: object) -> int | None:
    """Micro-dollars per million tokens; None for what is no price."""
    if isinstance(dollars_per_token, bool) or not isinstance(dollars_per_token, int | float):
        return None
    return round(dollars_per_token * 1e12) if 0 <= dollars_per_token < 1 else None


def _count(tokens: object) -> int | None:
    if isinstance(tokens, bool) or not isinstance(tokens, int | float) or not 1 <= tokens < 1e9:
        return None
    return int(tokens)


def _writes(entry: Mapping[str, Any], price_input: int | None) -> tuple[int, int] | None:
    """What writing to a cache costs for minutes and for an hour, in hundredths of the input's price, rounded up."""
    short = _price(entry.get("cache_creation_input_token_cost"))
    long = _price(entry.get("cache_creation_input_token_cost_above_1hr"))
    dearest = max(short or 0, long or 0)
    if not price_input or dearest <= price_input:
        return None
    return -(-(short or price_input) * 100 // price_input), -(-dearest * 100 // price_input)


def _steps(entry: Mapping[str, Any], price_input: int | None, price_output: int | None) -> tuple[PriceStep, ...]:
    found: dict[int, dict[str, int]] = {}
    for key, value in entry.items():
        named, price = _STEP.fullmatch(key), _price(value)
        if named is not None and price is not None:
            found.setdefault(int(named[2]) * 1000, {})[_FIELD[named[1]]] = price
    if price_input is None or price_output is None:
        return ()
    standard = {"price_input": price_input, "price_output": price_output}
    return tuple(PriceStep(above=above, **{**standard, **found[above]}) for above in sorted(found))
