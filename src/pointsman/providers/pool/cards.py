"""A pool's models: what holds on whichever server a request lands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import msgspec

from pointsman.core.catalog import ModelCard

from .instance import Instance


def pooled_cards(instances: Sequence[Instance]) -> list[ModelCard]:
    """A card for each model that any server has, those of servers that are away too: they were asked before, and a
    request for one is told that it is away, not that there is no such model."""
    names = dict.fromkeys(name for instance in instances for name in instance.cards)
    return [_card(name, instances) for name in names]


def _card(name: str, instances: Sequence[Instance]) -> ModelCard:
    described = [instance for instance in instances if name in instance.cards]
    having = [instance for instance in described if instance.has(name)] or described
    return reduce(common, (instance.cards[name] for instance in having))


def common(one: ModelCard, other: ModelCard) -> ModelCard:
    """What holds of both. A model is local only where every server says so."""
    if one == other:
        return one
    return msgspec.structs.replace(
        one,
        local=one.local and other.local,
        routable=one.routable and other.routable,
        capabilities=one.capabilities & other.capabilities,
        simulated=one.simulated | other.simulated,
        context_window=_least(one.context_window, other.context_window),
        max_output=_least(one.max_output, other.max_output),
        price_input=_most(one.price_input, other.price_input),
        price_cached_input=_most(one.price_cached_input, other.price_cached_input),
        price_output=_most(one.price_output, other.price_output),
    )


def _least(one: int | None, other: int | None) -> int | None:
    return min((size for size in (one, other) if size is not None), default=None)


def _most(one: int | None, other: int | None) -> int | None:
    """Of prices: what is unknown of one is unknown of both."""
    return None if one is None or other is None else max(one, other)
