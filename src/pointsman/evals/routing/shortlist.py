"""Choosing among many models with care: which of them are worth choosing from, and whether the prompt says which.

Both are learned from the training part alone. The *shortlist* are the models on the hull of single models there and
those that lie least below it. The router is fitted on their outcomes only: what sets many models apart is mostly how
bad the bad ones are, which no choice depends on, and among many of like quality one looks best by chance.

What the router then says of the models' differences is *trusted* where it pays: on prompts held out of an inner fit,
the curve that it draws has to lie above the hull of single models by an area of more than `SURE` standard errors;
where no costs are known, the models that it picks have to be better than the best one by as much. Elsewhere every
prompt is given the models' means, and the router is that hull, or that model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pointsman.learn.families.base import Floats, Prompts
from pointsman.learn.families.folds import grouped_folds

from .baselines.constant import means
from .frontier import means as weighted
from .frontier import over_singles, sweep
from .hull import vertices
from .material import Ints, Plan, Sources, Split
from .resampling import resampled
from .routers import NO_PRIOR, Factory

MOST = 6
"""Models on the shortlist, if the hull has no more."""
FOLDS = 3
SURE = 1.0
DRAWS = 100
FEWEST = 30
"""Training prompts with outcomes of every model, below which single models are all that there is."""


class Believed(NamedTuple):
    """What a router makes of a pool."""

    predicted: Floats
    """(n, m): P(success) of every model."""
    playable: Floats
    """(n, m): that by which it chooses: P(success) on the shortlist, −∞ beside it; the models' means where it is not
    trusted."""


def shortlist(scores: Floats, costs: Floats | None) -> Ints:
    """The models nearest to the hull of single models, or the best ones, in their own order.

    Args:
        scores: (m,), means over the training prompts.
        costs: likewise; None: they are not known.
    """
    if costs is None:
        best: Ints = np.sort(np.argsort(-scores, kind="stable")[:MOST])
        return best
    edge = vertices(costs, scores)
    below = np.interp(costs, costs[edge], scores[edge]) - scores
    below[edge] = -np.inf
    found: Ints = np.sort(np.argsort(below, kind="stable")[: max(MOST, len(edge))])
    return found


def believe(sources: Sources, plan: Plan, factory: Factory, models: int, expected: Floats | None = None) -> Believed:
    """
    Args:
        models: how many.
        expected: (rows of the plan, models): expected costs; None: they are not known.
    """
    place = {int(row): position for position, row in enumerate(plan.rows)}
    predicted = np.full((len(plan.rows), models), NO_PRIOR)
    playable = np.full((len(plan.rows), models), NO_PRIOR)
    for number, split in enumerate(plan.splits):
        here = np.array([place[int(row)] for row in split.test])
        seed = [sources.spec.seed & 0xFFFFFFFF, number]
        asked = sources.own.prompts(split.test)
        priced = None if expected is None else expected[here]
        predicted[here], playable[here] = _one(split, asked, factory, priced, seed)
    return Believed(predicted, playable)


def _one(split: Split, asked: Prompts, factory: Factory, expected: Floats | None, seed: list[int]) -> Believed:
    """One fit, and what it says of its test prompts."""
    average = means(split.scores)
    whole = np.flatnonzero(np.isfinite(split.scores).all(axis=1))
    singles = np.tile(average, (len(asked), 1))
    if len(whole) < FEWEST:
        fitted = factory().fit(split.prompts, split.scores, groups=split.groups, rng=np.random.default_rng(seed))
        return Believed(fitted.predict(asked), singles)
    prompts, scores = split.prompts.rows(whole), split.scores[whole]
    groups = tuple(split.groups[int(row)] for row in whole)
    usual = None if expected is None else expected.mean(axis=0)
    listed = shortlist(average, usual)
    said = _deviations(prompts, scores[:, listed], groups, asked, factory, seed)
    level = said.mean(axis=1, keepdims=True)
    predicted = np.clip(singles + level, 0.0, 1.0)
    predicted[:, listed] = np.clip(average[listed] + said, 0.0, 1.0)
    costs = None if usual is None else np.where(np.isfinite(split.costs[whole]), split.costs[whole], usual)
    if not _pays(prompts, scores, costs, groups, listed, factory, seed):
        return Believed(predicted, singles)
    playable = np.full(predicted.shape, -np.inf)
    playable[:, listed] = average[listed] + said
    return Believed(predicted, playable)


def _deviations(
    prompts: Prompts, scores: Floats, groups: tuple[str, ...], asked: Prompts, factory: Factory, seed: list[int]
) -> Floats:
    """(asked, models): P(success) less the models' means over the prompts of the fit."""
    fitted = factory().fit(prompts, scores, groups=groups, rng=np.random.default_rng(seed))
    found: Floats = fitted.predict(asked) - scores.mean(axis=0)
    return found


def _pays(
    prompts: Prompts,
    scores: Floats,
    costs: Floats | None,
    groups: tuple[str, ...],
    listed: Ints,
    factory: Factory,
    seed: list[int],
) -> bool:
    """Whether inner fits, on prompts that they did not see, surely draw a better curve than single models do, or pick
    better models than the best one.

    The means are those of all prompts for both curves, so that the deviations alone are put to the test.
    """
    folds = grouped_folds(groups, FOLDS, np.random.default_rng(seed))
    if folds.max() == 0:
        return False
    average = scores.mean(axis=0)
    playable = np.full(scores.shape, -np.inf)
    for fold in range(int(folds.max()) + 1):
        rest, out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        inside = tuple(groups[int(row)] for row in rest)
        said = _deviations(
            prompts.rows(rest), scores[np.ix_(rest, listed)], inside, prompts.rows(out), factory, [*seed, fold]
        )
        playable[np.ix_(out, listed)] = average[listed] + said
    draws = np.concatenate([np.ones((1, len(scores))), resampled(groups, DRAWS, 0)])
    if costs is None:
        picked = scores[np.arange(len(scores)), np.argmax(playable, axis=1)]
        gains = weighted(draws, (picked - scores[:, np.argmax(average)])[:, None])[:, 0]
    else:
        expected = np.tile(costs.mean(axis=0), (len(scores), 1))
        own = sweep(playable, expected, costs, scores)
        single = sweep(np.tile(average, (len(scores), 1)), expected, costs, scores)
        gains = over_singles(single.means(draws), own.means(draws))
    return bool(gains[0] > SURE * gains[1:].std() and gains[0] > 0)
