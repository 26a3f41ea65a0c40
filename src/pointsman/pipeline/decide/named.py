"""What becomes of the models that a request names, and who follows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Dropped

from .constraints import SOFT_WHEN_NAMED, Demand, violations
from .plan import unique


class Named(NamedTuple):
    """The models that a request names, parted."""

    cards: tuple[ModelCard, ...]
    """Those that may be asked, the first to ask first; none where each is excluded by more than a doubt."""
    plan: tuple[str, ...]
    """Of these, then of those that follow."""
    dropped: tuple[Dropped, ...]
    forgiven: Mapping[str, str]
    """The doubts of the first that naming it sets aside."""


def part_named(
    cards: Iterable[ModelCard],
    demand: Demand,
    *,
    followers: Callable[[ModelCard], Sequence[ModelCard]],
    max_attempts: int,
) -> Named:
    """The named model, its twins at other providers where a bare name has several, then those that follow.

    Args:
        followers: of the first model, as the settings have them.
    """
    able: list[ModelCard] = []
    dropped: list[Dropped] = []
    forgiven: dict[str, Mapping[str, str]] = {}
    """Of each model, the doubts that naming it sets aside."""
    for card in cards:
        why = violations(card, demand)
        if why.keys() - SOFT_WHEN_NAMED:
            dropped.append(_dropped(card, why))
        else:
            able.append(card)
            forgiven[card.id] = why
    if not able:
        return Named((), (), tuple(dropped), {})
    able.sort(key=lambda card: len(forgiven[card.id].keys() - {"disabled"}))
    plan = [card.id for card in able]
    for card in followers(able[0]) if demand.needs.kind != "embeddings" else ():
        why = violations(card, demand)
        if not why.keys() - {"disabled"}:
            plan.append(card.id)
        elif card.id not in forgiven and "key" not in why:
            dropped.append(_dropped(card, why))
    return Named(tuple(able), tuple(unique(plan, max_attempts)), tuple(dropped), forgiven[able[0].id])


def _dropped(card: ModelCard, why: Mapping[str, str]) -> Dropped:
    constraint, detail = next((pair for pair in why.items() if pair[0] not in SOFT_WHEN_NAMED), next(iter(why.items())))
    return Dropped(model=card.id, constraint=constraint, detail=detail)
