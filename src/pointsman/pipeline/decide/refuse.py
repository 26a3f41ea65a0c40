"""The error for a request that no model may answer: it tells the nearest miss and the mend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from pointsman.core.budget import dollars
from pointsman.core.caller import Caller
from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.errors import (
    BudgetExceeded,
    ContextTooLong,
    Forbidden,
    NoCapableModel,
    NoHealthyModel,
    PointsmanError,
    PrivacyWall,
)
from pointsman.core.periods import shown_time
from pointsman.core.signals import Privacy, PrivacyClass

from .constraints import CONSTRAINTS, SCOPE, Demand, excess_tokens, violations

Refusal = TypeVar("Refusal", bound=PointsmanError)

NEEDS = {constraint.name: constraint.need for constraint in CONSTRAINTS}
ALWAYS_LOCAL = frozenset({PrivacyClass.SECRET, PrivacyClass.IDENTITY})
"""Classes that stay on the machine at every privacy level: lowering it would not help."""

SOON = 5.0
"""Seconds after which models that are away are asked again."""
SHOWN = 3
"""How many models a message names."""


def why_local_only(privacy: Privacy) -> str:
    """Why a request must stay on the machine: the classes and detectors, never the text they matched."""
    if privacy.level == "max" or not privacy.classes:
        return f"privacy level {privacy.level} keeps it here"
    found = " and ".join(privacy.classes)
    detectors = ", ".join(privacy.detectors)
    return f"it holds content of class {found}" + (f" (found by: {detectors})" if detectors else "")


def named(models: Iterable[str]) -> str:
    """Some models by name, and how many more there are."""
    listed = list(models)
    more = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def refuse_named(card: ModelCard, demand: Demand, catalog: Catalog) -> PointsmanError:
    """Why the model that the caller named cannot take the request."""
    found = violations(card, demand)
    if "chat" in found:
        also = f", and {found['infill']}" if "infill" in found else ""
        return NoCapableModel(f"{card.id} {found['chat']}{also}.", param="model")
    if "infill" in found:
        return NoCapableModel(f"{card.id} {found['infill']}.", param="suffix")
    if "key" in found and demand.caller is not None:
        return refuse_model(card.id, demand.caller, catalog)
    if "credential" in found:
        return NoCapableModel(
            f"{card.id} cannot be asked: {found['credential']}. Bring one in auth_override, or have one stored with"
            f" `pointsman credentials set {card.provider}`.",
            param="model",
        )
    if "privacy" in found:
        local = _fitting(demand, catalog)
        return _with(
            PrivacyWall(
                f"This request must stay on this machine: {why_local_only(demand.privacy)}. {card.id} is not declared"
                f" local. {_stay(demand, local)}"
            ),
            local,
        )
    if "provider" in found:
        return Forbidden(
            f"{card.id} cannot be used: routing.force_provider allows only models of {demand.force_provider!r}."
            " Ask for `auto` or one of those.",
            code="provider_not_allowed",
            param="model",
        )
    if "development" in found:
        return Forbidden(
            f"{card.id} cannot be used: development mode keeps requests with local models, but for those that match"
            " routing.development.allow. Ask for `auto` or a local model.",
            code="development_mode",
            param="model",
        )
    if "budget" in found and "context" not in found:
        return _with(_broke(card, found["budget"], demand), _fitting(demand, catalog))
    return _too_long(card, demand, _fitting(demand, catalog))


def usable_by(caller: Caller, catalog: Catalog) -> list[ModelCard]:
    """The models that a key may use."""
    return [card for card in catalog if caller.may_use(card.id, card.name)]


def refuse_model(model: str, caller: Caller, catalog: Catalog) -> Forbidden:
    """What a key is told that asks for a model outside its scopes, or for one that is not there.

    Args:
        model: the name as it was asked for: what it stands for is not for every key.
    """
    usable = [card.id for card in usable_by(caller, catalog)]
    allowed = named(usable) if usable else f"{named(caller.scopes.models)}, of which none is known now"
    error = Forbidden(
        f"This API key may not use {model[:200]!r}, only: {allowed}.", code="model_not_allowed", param="model"
    )
    return _with(error, usable)


def refuse_all(catalog: Catalog, demand: Demand) -> PointsmanError:
    """Why nothing is left for `auto`.

    Models that are only down: 503, for the caller may try again, with what privacy left out. No room in any model that
    could answer otherwise: ContextTooLong, naming the largest window. All kept out by privacy: PrivacyWall. Else
    NoCapableModel.
    """
    if not len(catalog):
        return NoCapableModel(
            "No model is known. Enable the embedded models or give a provider; `pointsman doctor` says what is missing."
        )
    found = [(card, violations(card, demand)) for card in catalog]
    if demand.caller is not None:
        found = [(card, why) for card, why in found if "key" not in why]  # nobody is told of what is not for them
        if not found:
            allowed = named(demand.caller.scopes.models)
            return NoCapableModel(f"No model that this API key may use is known now: {allowed}.")
    broke = [(card, why["budget"]) for card, why in found if set(why) - {"unhealthy"} == {"budget"}]
    if broke:
        cheapest = min(broke, key=lambda pair: (pair[0].price_output is None, pair[0].price_output or 0, pair[0].id))
        return _broke(*cheapest, demand)
    down = {card.id: f"{card.id} ({why['unhealthy']})" for card, why in found if set(why) == {"unhealthy"}}
    if down:
        message = f"Every model that could answer is down: {named(down.values())}."
        kept_out = [card.id for card, why in found if set(why) == {"privacy"}]
        if kept_out:
            message += (
                f" Privacy leaves out {named(kept_out)}, for this request must stay on this machine:"
                f" {why_local_only(demand.privacy)}. Wait until one of the first is back, or: {_stay(demand, ())}"
            )
        nobody = NoHealthyModel(message, retry_after=SOON)
        nobody.models = tuple(down)
        return nobody
    full = [card for card, why in found if set(why) - {"unhealthy"} == {"context"}]
    if full:
        return _too_long(max(full, key=lambda card: card.context_window or 0), demand)
    if all(SCOPE & set(why) for _, why in found) and any(SCOPE & set(why) == {"privacy"} for _, why in found):
        remote = named(card.id for card, why in found if SCOPE & set(why) == {"privacy"})
        return PrivacyWall(
            f"This request must stay on this machine: {why_local_only(demand.privacy)}. No model that may be used is"
            f" declared local: {remote}. {_stay(demand, ())}"
        )
    return _incapable(found, demand)


def _broke(card: ModelCard, detail: str, demand: Demand) -> BudgetExceeded:
    """A refusal that says which budget stands in the way, how it stands, and when it starts anew."""
    if card.price_input is None or card.price_output is None:
        return BudgetExceeded(f"{card.id} {detail}.", code="price_unknown", param="model")
    budget = demand.means.binding(card)
    message = f"{card.id} {detail}."
    if budget is None:
        return BudgetExceeded(message, param="model")
    return BudgetExceeded(
        f"{message} Its cap is {dollars(budget.cap_micro_usd)}, and it starts anew at {shown_time(budget.resets_at)}."
        " Lower max_tokens, use a free local model, or have the budget raised.",
        retry_after=max(1.0, budget.resets_at - demand.now),
    )


def _incapable(found: list[tuple[ModelCard, dict[str, str]]], demand: Demand) -> NoCapableModel:
    admissible = [why for _, why in found if not SCOPE & set(why)]
    lacking = dict.fromkeys(name for why in admissible for name in why)
    if not lacking:
        card, why = min(found, key=lambda pair: len(pair[1]))
        return NoCapableModel(f"No model may be chosen for this request. The nearest: {card.id} {_told(why)}.")
    needs = ", ".join(NEEDS[name] for name in lacking)
    message = f"No model that may be used here has what this request needs ({needs})."
    capable = [(card, why) for card, why in found if not set(why) - SCOPE and "chat" not in why]
    if capable:
        card, why = min(capable, key=lambda pair: len(pair[1]))
        reason = f", as {why_local_only(demand.privacy)}" if "privacy" in why else ""
        return NoCapableModel(f"{message} {card.id} has, but {_told(why)}{reason}.")
    card, why = min(
        ((card, why) for card, why in found if not SCOPE & set(why)),
        key=lambda pair: len(pair[1]),
    )
    return NoCapableModel(f"{message} The nearest: {card.id} {_told(why)}.")


def _told(why: dict[str, str]) -> str:
    return "; ".join(why.values())


def _too_long(card: ModelCard, demand: Demand, roomier: Sequence[str] = ()) -> ContextTooLong:
    least = "" if demand.needs.prompt_tokens_low == demand.needs.prompt_tokens_high else "at least "
    kept = (
        f" Larger models elsewhere are not asked: {why_local_only(demand.privacy)}."
        if demand.privacy.local_only
        else ""
    )
    ways = f"Shorten the messages, or ask for {named(roomier)}." if roomier else "Shorten the messages."
    error = ContextTooLong(
        f"The prompt has {least}{demand.needs.prompt_tokens_low:,} tokens, and {demand.min_output} more are needed for"
        f" the answer. That exceeds the window of {card.id}, {card.context_window:,} tokens, by"
        f" {excess_tokens(card, demand):,}. {ways}{kept}"
    )
    return _with(error, roomier)


def _fitting(demand: Demand, catalog: Catalog) -> list[str]:
    """Ids of the models that could take the request instead."""
    return [card.id for card in catalog if not violations(card, demand)]


def _with(error: Refusal, alternatives: Iterable[str]) -> Refusal:
    error.alternatives = tuple(alternatives)
    return error


def _stay(demand: Demand, local: Sequence[str]) -> str:
    """What the caller can do to stay on the machine, or to leave it."""
    ways = [f"ask for `auto` or a local model ({named(local)})"] if local else ["start a local model that can do it"]
    if demand.privacy.classes:
        ways.append("remove the private content")
    if demand.privacy.level != "standard" and not ALWAYS_LOCAL.intersection(demand.privacy.classes):
        ways.append("lower privacy_level")
    sentence = ", or ".join(ways)
    return f"{sentence[0].upper()}{sentence[1:]}."
