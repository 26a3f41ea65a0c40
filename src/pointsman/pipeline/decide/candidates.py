"""The models that no constraint excludes, and those that one does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Dropped

from .constraints import Demand, active

UNTOLD = frozenset({"key", "chat"})
"""Constraints whose models are not told of: who is confined to some is not told of others, and nobody asks why a model
of vectors did not chat."""


class Pool(NamedTuple):
    """The catalog, parted; both in the catalog's order."""

    kept: Sequence[ModelCard]
    dropped: Sequence[Dropped]


def part(cards: Iterable[ModelCard], demand: Demand) -> Pool:
    """Part the models into those that may be chosen and those that may not, each of these with its first reason.

    Models that the caller's key may not use and those of another kind stand in neither.
    """
    constraints = active(demand)
    kept: list[ModelCard] = []
    dropped: list[Dropped] = []
    for card in cards:
        for constraint in constraints:
            detail = constraint.violation(card, demand)
            if detail is not None:
                if constraint.name not in UNTOLD:
                    dropped.append(Dropped(model=card.id, constraint=constraint.name, detail=detail))
                break
        else:
            kept.append(card)
    return Pool(kept, dropped)
