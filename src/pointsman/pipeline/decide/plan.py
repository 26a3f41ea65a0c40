"""Who follows when the chosen model fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pointsman.core.catalog import Catalog
from pointsman.core.decision import Candidate


def chain(
    primary: str,
    ranked: Sequence[Candidate],
    *,
    catalog: Catalog,
    max_attempts: int,
    equivalents: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """The primary, its equivalents, then the others by utility, and the strongest as the last resort.

    Draws on `ranked` alone, so that nothing a constraint dropped can follow. A model of a provider that does not stand
    in the plan yet goes before one of a provider that does, because most outages take a whole provider; but for that
    reason alone no remote model goes before a local one when the primary is local.

    Args:
        equivalents: names of models that stand in for the primary in an outage, best first; None: those of its card.
    """
    if max_attempts <= 1 or len(ranked) == 1:
        return (primary,)
    card = catalog.get(primary)
    allowed = {candidate.model: catalog.get(candidate.model) for candidate in ranked}
    plan = [primary]
    if equivalents is None:
        equivalents = card.equivalents if card is not None else ()
    for name in equivalents:
        stand_in = catalog.find(name)
        if stand_in is not None and stand_in.id in allowed:
            plan.append(stand_in.id)
    plan = unique(plan, max_attempts)
    rest = [found for model, found in allowed.items() if found is not None and model not in plan]
    providers = {found.provider for model in plan if (found := catalog.get(model)) is not None}
    stay = card is not None and card.local
    while rest and len(plan) < max_attempts:
        following = rest[0]
        for found in rest:
            if found.provider not in providers and (found.local or not stay):
                following = found
                break
        rest.remove(following)
        plan.append(following.id)
        providers.add(following.provider)
    strongest = max(ranked, key=lambda candidate: candidate.quality).model
    if strongest not in plan:
        plan[-1] = strongest
    return tuple(plan)


def unique(models: Iterable[str], limit: int) -> list[str]:
    """The models without repetition, at most `limit`."""
    return list(dict.fromkeys(models))[: max(limit, 1)]
