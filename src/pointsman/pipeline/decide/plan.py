"""Who follows when the chosen model fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter

from pointsman.core.catalog import Catalog, ModelCard
from pointsman.core.decision import Candidate


def chain(
    primary: ModelCard,
    ranked: Sequence[Candidate],
    *,
    catalog: Catalog,
    max_attempts: int,
    equivalents: Sequence[ModelCard],
) -> tuple[str, ...]:
    """The primary, its equivalents, then the others by utility, and the strongest as the last resort.

    Draws on `ranked` alone, so that nothing a constraint dropped can follow. A model of a provider that does not stand
    in the plan yet goes before one of a provider that does, because most outages take a whole provider; but for that
    reason alone no remote model goes before a local one when the primary is local.

    Args:
        equivalents: models that stand in for the primary in an outage, best first.
    """
    if max_attempts <= 1 or len(ranked) == 1:
        return (primary.id,)
    allowed = {candidate.model: catalog[candidate.model] for candidate in ranked}
    plan = unique([primary.id, *[card.id for card in equivalents if card.id in allowed]], max_attempts)
    if len(plan) == len(allowed):
        return tuple(plan)
    rest = [card for model, card in allowed.items() if model not in plan]
    providers = {allowed[model].provider for model in plan}
    while rest and len(plan) < max_attempts:
        following = rest[0]
        for found in rest:
            if found.provider not in providers and (found.local or not primary.local):
                following = found
                break
        rest.remove(following)
        plan.append(following.id)
        providers.add(following.provider)
    strongest = max(ranked, key=quality_of).model
    if strongest not in plan:
        plan[-1] = strongest
    return tuple(plan)


quality_of = attrgetter("quality")


def unique(models: Iterable[str], limit: int) -> list[str]:
    """The models without repetition, at most `limit`."""
    return list(dict.fromkeys(models))[: max(limit, 1)]
