"""What the settings say of models, laid over what the tables and the providers themselves tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.providers.cards import card_for, known_models
from pointsman.providers.openai_compatible import Cards
from pointsman.settings import Price, ProviderSettings

Amend = Callable[[ModelCard], ModelCard]


def amend(own: ProviderSettings) -> Amend:
    """Replaces the fields of a card that the settings of its provider name."""
    fields = {name: _price(price) for name, price in own.prices.items()}
    for name, model in own.described.items():
        found = fields.setdefault(name, {})
        if model.price is not None:
            found |= _price(model.price)
        told = {"context_window": model.context_window, "max_output": model.max_output, "quality": model.quality}
        found |= {field: value for field, value in told.items() if value is not None}
        if model.capabilities is not None:
            found["capabilities"] = frozenset(model.capabilities)

    def replaced(card: ModelCard) -> ModelCard:
        changes = fields.get(card.name)
        if not changes:
            return card
        if "quality" in changes:  # of every kind of task: the table's priors by intent would come before it
            changes = {**changes, "qualities": {}}
        card = msgspec.structs.replace(card, **changes)
        if card.capabilities == {"embeddings"} and card.price_output:
            # Vectors have no tokens: with a price for them, no call would ever be told in full.
            card = msgspec.structs.replace(card, price_output=0)
        routable = "chat" in card.capabilities and (card.routable or "quality" in changes)
        return msgspec.structs.replace(card, routable=routable)

    return replaced


def amended(own: ProviderSettings) -> Cards:
    """Cards of the table with what the settings say in its place."""
    replaced = amend(own)

    def card(provider: str, name: str, *, local: bool) -> ModelCard:
        return replaced(card_for(provider, name, local=local))

    return card


def known_names(provider: str) -> list[str]:
    """The models of the table that a provider makes: its list cannot be asked for without a key."""
    return [name for name, fact in known_models().items() if fact.profile.partition("-")[0] == provider]


def _price(price: Price) -> dict[str, Any]:
    cached = None if price.cached_input is None else _per_million(price.cached_input)
    return {
        "price_input": _per_million(price.input),
        "price_output": _per_million(price.output),
        "price_cached_input": cached,
        "price_steps": (),
    }


def _per_million(dollars: float) -> int:
    return round(dollars * 1_000_000)
