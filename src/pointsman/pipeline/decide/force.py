"""The provider that a caller forces: whether there is such a one, and whether it may be forced."""

from __future__ import annotations

from collections.abc import Iterable

from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.errors import Forbidden, InvalidRequest, NoHealthyModel

PARAM = "routing_preferences.force_provider"


def check_provider(name: str, catalog: Catalog, caller: Caller | None, *, only: str | None) -> None:
    """
    Args:
        caller: who asks, of a key that is confined to some models: it is told of their providers alone.
        only: the provider that the settings force.

    Raises:
        InvalidRequest: there is no such provider; names those there are.
        Forbidden: the settings force another one.
        NoHealthyModel: it is set up, and its models are not known because it is away.
    """
    serving = {card.provider for card in catalog if caller is None or caller.may_use(card.id, card.name)}
    absent = catalog.absent if caller is None else {}
    if name not in serving and name not in absent:
        known = ", ".join(sorted(serving)) or "none"
        raise InvalidRequest(
            f"Invalid `{PARAM}`: there is no such provider here that may be used; there are: {known}.",
            param=PARAM,
        )
    if only is not None and name != only:
        raise Forbidden(
            f"The provider {name} cannot be forced: routing.force_provider in the settings allows only {only}."
            " Leave force_provider out, or have the setting changed.",
            code="provider_not_allowed",
            param=PARAM,
        )
    if name not in serving:
        away = NoHealthyModel(f"The provider {name} is away: {absent[name]}")
        away.plain = f"The provider {name} is away."
        raise away


def check_named(name: str, cards: Iterable[ModelCard], requested: str) -> None:
    """
    Raises:
        InvalidRequest: the caller names a model and forces a provider that does not serve it.
    """
    if all(card.provider != name for card in cards):
        raise InvalidRequest(
            f"Invalid `{PARAM}`: the request names the model {requested[:100]!r}, which {name} does not serve. Ask for"
            " `auto` or a model of that provider, or leave force_provider out.",
            param=PARAM,
        )
