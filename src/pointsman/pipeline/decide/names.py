"""What the `model` field of a request asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from pointsman.core.caller import DEFAULT_TAG, Caller
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.errors import ModelNotFound

from .refuse import refuse_model, usable_by

AUTO = "auto"

Mode = Literal["auto", "forced", "hint"]


class Requested(msgspec.Struct, frozen=True, kw_only=True):
    """How the model field was read.

    `cards` are the models that answer to it: none for `auto`, one for `provider:model`, one for each provider that
    serves a bare name (local ones first, then the default provider's, then in the catalog's order).
    """

    mode: Mode
    cards: tuple[ModelCard, ...] = ()
    ids: frozenset[str] = frozenset()
    """Of the cards."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "ids", frozenset([card.id for card in self.cards]))


def is_auto(name: str, catalog: Catalog) -> bool:
    """Whether a model is to be chosen for this name, whatever the settings say of bare names."""
    return name in catalog.autos


def interpret(
    name: str,
    *,
    catalog: Catalog,
    model_names: Literal["override", "hint"] = "override",
    default_provider: str | None = None,
) -> Requested:
    """Read the model field.

    `auto` and the empty string route. An alias stands for its target. `provider:model` forces that model. A bare name
    forces it or is a hint, as `model_names` says. A tag of `:latest` may be left out.

    Raises:
        ModelNotFound: with the closest names, when no model answers to it.
    """
    if is_auto(name, catalog):
        return Requested(mode="auto")
    target = catalog.aliases.get(name, name)
    card = catalog.get(target) or catalog.get(target + DEFAULT_TAG)
    if card is not None:
        return Requested(mode="forced", cards=(card,))
    tagged = target + DEFAULT_TAG
    named = [card for card in catalog if card.name == target or card.name == tagged]
    if not named:
        _not_found(name, target, catalog)
    named.sort(key=lambda card: (not card.local, card.provider != default_provider))
    return Requested(mode="forced" if model_names == "override" else "hint", cards=tuple(named))


def within(name: str, catalog: Catalog, caller: Caller, read: Callable[[], Requested]) -> Requested:
    """What a request asks for, of a key that is confined to some models; `read` is `interpret`.

    A model that the key may not use and one that does not exist get one answer, and neither is told by name.

    Raises:
        Forbidden: the name is none that the key may use.
        ModelNotFound: it is, and no model answers to it.
    """
    try:
        requested = read()
    except ModelNotFound as error:
        if not caller.may_use(name, name):
            raise refuse_model(name, caller, catalog) from None
        plain = ModelNotFound(f"The model {name[:200]!r} does not exist. GET /v1/models lists what there is.")
        ours = {AUTO, *(known for card in usable_by(caller, catalog) for known in (card.id, card.name))}
        plain.alternatives = tuple(known for known in error.alternatives if known in ours)
        raise plain from None
    if requested.mode == "auto":
        return requested
    cards = tuple(card for card in requested.cards if caller.may_use(card.id, card.name))
    if not cards:
        raise refuse_model(name, caller, catalog)
    return msgspec.structs.replace(requested, cards=cards)


def _not_found(name: str, target: str, catalog: Catalog) -> None:
    if target == name:
        catalog.resolve(name)
    error = ModelNotFound(
        f"The alias {name[:200]!r} stands for {target[:200]!r}, and no model answers to that."
        " Mend `routing.aliases`, or start the provider that serves it."
    )
    error.alternatives = tuple(catalog.close_matches(target))
    raise error
