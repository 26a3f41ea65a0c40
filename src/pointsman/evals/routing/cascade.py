"""A cascade over a pool: one model runs first, and what its attempt took says whether another should.

The model that goes first is chosen by the training part alone, for each cost weight: the attempts of each candidate
are cut into five parts by their number of calls; in each part the best that can be done next is known from the means of
the training outcomes, shrunk towards the models' overall means. Reckoned on prompts that were held out of this, the
candidate that is worth most goes first, or none unless that is worth more than a direct choice by one standard error.
Whether to go on, and with which model, the judged router says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pointsman.core.errors import InvalidRequest
from pointsman.learn.families.base import Floats
from pointsman.learn.table import Table

from .costs import expected_after
from .frontier import WEIGHTS, Sweep, chosen
from .hull import vertices
from .material import Ints, Material, Plan, Sources, Split, attempt_of
from .resampling import folds_of
from .routers import Factory
from .shortlist import shortlist

FOLDS = 5
PARTS = 5
SEEN_OF_AN_ATTEMPT = ("calls", "cost_usd")
STRENGTH = 20.0
"""Prompts that a model's overall mean counts for in each part."""


def cascades(
    sources: Sources,
    plan: Plan,
    table: Table,
    factory: Factory,
    chances: Floats,
    expected: Floats,
    *,
    listed: bool = False,
) -> Sweep:
    """Args:
    plan: that of all models, without an attempt.
    table: every prompt of the judged table, the pool's models.
    chances: (rows of the plan, m): by what the router chooses before any attempt.
    expected: likewise, expected costs.
    listed: whether the models of the training part's shortlist alone are learned and chosen after an attempt.
    """
    place = {int(row): position for position, row in enumerate(plan.rows)}
    costs = np.empty((len(WEIGHTS), len(plan.rows)))
    scores = np.empty_like(costs)
    dear = float(expected.max()) or 1.0
    for number, split in enumerate(plan.splits):
        here = np.array([place[int(row)] for row in split.test])
        seen = _seen(split, table.models)
        firsts = [_first(seen.part, float(weight), dear) for weight in WEIGHTS]
        means = seen.part.scores.mean(axis=0), seen.part.costs.mean(axis=0)
        offered = shortlist(*means) if listed else np.arange(len(table.models))
        later = {
            first: _after(sources, seen, table, split.test, first, offered, factory, number)
            for first in sorted({first for first in firsts if first is not None})
        }
        for step, (weight, first) in enumerate(zip(WEIGHTS, firsts, strict=True)):
            if first is None:
                picks = chosen(chances[here], expected[here], float(weight), dear)
                costs[step, here] = table.costs[split.test, picks]
                scores[step, here] = table.scores[split.test, picks]
                continue
            picks = chosen(*later[first], float(weight), dear)
            more = np.where(picks == first, 0.0, table.costs[split.test, picks])
            costs[step, here] = table.costs[split.test, first] + more
            scores[step, here] = table.scores[split.test, picks]
    return Sweep(costs, scores)


class _Seen(NamedTuple):
    """The training prompts of a split of which everything is known of every model."""

    source: Material
    rows: Ints
    part: Table


def _seen(split: Split, models: tuple[str, ...]) -> _Seen:
    if split.source is None or split.rows is None:
        raise InvalidRequest("a cascade is learned from one table")
    part = split.source.table.of(models).rows(split.rows)
    whole = part.complete & np.isfinite(part.costs).all(axis=1) & np.isfinite(part.calls).all(axis=1)
    if not whole.any():
        raise InvalidRequest(f"{part.name}: no training prompt has outcomes, costs and calls of every model.")
    return _Seen(split.source, split.rows[whole], part.rows(whole))


def _after(
    sources: Sources, seen: _Seen, table: Table, test: Ints, first: int, offered: Ints, factory: Factory, number: int
) -> tuple[Floats, Floats]:
    """(test, m) twice: what the router predicts once it has seen the first model's attempt, −∞ for models that are not
    offered, and what each is then expected to cost."""
    model = [table.models[first]]
    learned = attempt_of(seen.source.table.of(model), SEEN_OF_AN_ATTEMPT)
    asked = attempt_of(table.of(model), SEEN_OF_AN_ATTEMPT)
    rng = np.random.default_rng([sources.spec.seed & 0xFFFFFFFF, number, first])
    prompts = seen.source.prompts(seen.rows, learned)
    fitted = factory().fit(prompts, seen.part.scores[:, offered], groups=seen.part.groups, rng=rng)
    chances = np.full((len(test), len(table.models)), -np.inf)
    chances[:, offered] = fitted.predict(sources.own.prompts(test, asked))
    costs = expected_after(learned[seen.rows], seen.part.costs, asked[test])
    costs[:, first] = 0.0  # what was spent is spent
    return chances, costs


def _first(seen: Table, weight: float, dear: float) -> int | None:
    """The model that goes first at this cost weight; None for a direct choice.

    What a cascade comes to is reckoned on groups that it was not planned on: among many candidates, some look good on
    the prompts that chose what comes next.
    """
    if np.isinf(weight):
        return None
    price = weight / dear
    cost, score = seen.costs.mean(axis=0), seen.scores.mean(axis=0)
    worth = seen.scores - price * seen.costs
    direct = worth[:, int(np.argmax(score - price * cost))]
    folds = folds_of(seen.groups, FOLDS, 0)
    best, first = 0.0, None
    for candidate in vertices(cost, score):
        more = np.zeros(len(seen))
        for fold in np.unique(folds):
            out = folds == fold
            more[out] = _ran(seen.rows(~out), seen.rows(out), int(candidate), price) - direct[out]
        surely = float(more.mean() - more.std() / np.sqrt(len(more)))
        if surely > best:
            best, first = surely, int(candidate)
    return first


def _ran(known: Table, asked: Table, candidate: int, price: float) -> Floats:
    """(asked,): score less price times cost of the cascade that is best on the known prompts."""
    cost, score = known.costs.mean(axis=0), known.scores.mean(axis=0)
    edges = np.quantile(known.calls[:, candidate], np.linspace(0, 1, PARTS + 1)[1:-1])
    parts, here = (np.searchsorted(edges, part.calls[:, candidate]) for part in (known, asked))
    found = asked.scores[:, candidate] - price * asked.costs[:, candidate]
    for part in range(PARTS):
        inside, at = parts == part, here == part
        counted = inside.sum()
        there = (known.scores[inside].sum(axis=0) + STRENGTH * score) / (counted + STRENGTH)
        spent = (known.costs[inside].sum(axis=0) + STRENGTH * cost) / (counted + STRENGTH)
        on = there - price * spent
        on[candidate] = there[candidate]
        following = int(on.argmax())
        if following != candidate:
            last = asked.scores[at, following] - price * asked.costs[at, following]
            found[at] = last - price * asked.costs[at, candidate]
    return found
