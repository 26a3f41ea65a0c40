"""Models by the names that Ollama's clients use."""

from __future__ import annotations

from pointsman.core.caller import DEFAULT_TAG, Caller
from pointsman.core.catalog import Catalog, ModelCard

AUTO = "auto"


def known_name(name: str, catalog: Catalog, caller: Caller) -> str:
    """A model's name without the `:latest` that clients put behind every name, where no model has it.

    `auto:latest` is `auto`, and `openai:gpt-4o:latest` is `openai:gpt-4o`; an Ollama's `llama3:latest` stays. A model
    that the caller may not use is none: errors repeat the name, and would tell that it is there.
    """
    if not name.endswith(DEFAULT_TAG):
        return name
    card = catalog.find(name)
    if card is not None and caller.may_use(card.id, card.name):
        return name
    return name.removesuffix(DEFAULT_TAG)


def find_card(name: str, catalog: Catalog, caller: Caller) -> ModelCard | None:
    """The model that a name or alias means, where this caller may use it."""
    name = known_name(name, catalog, caller)
    target = catalog.aliases.get(name, name)
    card = catalog.find(target) or catalog.find(target + DEFAULT_TAG)
    return card if card is not None and caller.may_use(card.id, card.name) else None


def usable(catalog: Catalog, caller: Caller) -> list[ModelCard]:
    """The models that a caller may use."""
    return [card for card in catalog if caller.may_use(card.id, card.name)]
