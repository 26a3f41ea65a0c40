"""Who follows when the chosen model fails."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pointsman.core.catalog import Catalog
from pointsman.core.decision import Candidate


def chain(primary: str, ranked: Sequence[Candidate], *, catalog: Catalog, max_attempts: int) -> tuple[str, ...]:
    """The primary, its equivalents, then the others by utility, and the strongest as the last resort.

    Draws on `ranked` alone, so that nothing a constraint dropped can follow. A model of a provider that does not stand
    in the plan yet goes before one of a provider that does: most outages take a whole provider.
    """
    if max_attempts <= 1 or len(ranked) == 1:
        return (primary,)
    card = catalog.get(primary)
    allowed = {candidate.model: candidate for candidate in ranked}
    plan = [primary]
    for name in card.equivalents if card is not None else ():
        stand_in = catalog.find(name)
        if stand_in is not None and stand_in.id in allowed:
            plan.append(stand_in.id)
    plan = unique(plan, max_attempts)
    rest = [candidate.model for candidate in ranked if candidate.model not in plan]
    providers = {_provider(model, catalog) for model in plan}
    while rest and len(plan) < max_attempts:
        following = next((model for model in rest if _provider(model, catalog) not in providers), rest[0])
        rest.remove(following)
        plan.append(following)
        providers.add(_provider(following, catalog))
    strongest = max(ranked, key=lambda candidate: candidate.quality).model
    if strongest not in plan:
        plan[-1] = strongest
    return tuple(plan)


def unique(models: Iterable[str], limit: int) -> list[str]:
    """The models without repetition, at most `limit`."""
    return list(dict.fromkeys(models))[: max(limit, 1)]


def _provider(model: str, catalog: Catalog) -> str:
    card = catalog.get(model)
    return card.provider if card is not None else ""
