"""Sweeping the cost weight of a router over a pool of models, and the figures of the curve that it draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pointsman.learn.families.base import Floats
from pointsman.learn.table import Table

from .hull import aiq, gain_over, vertices
from .judged import Judged, number
from .material import Ints, Plan

WEIGHTS: Floats = np.concatenate(([np.inf], np.geomspace(1e4, 1e-4, 61), [0.0]))
"""Cost weights from one that takes the cheapest to one that looks at quality alone, in units of 1 / the dearest
model's expected cost."""


class Curve(NamedTuple):
    """What a router comes to at each cost weight, for each weighting of the prompts."""

    costs: Floats
    """(w, weights)."""
    scores: Floats
    """(w, weights)."""


class Sweep(NamedTuple):
    """What each prompt came to at each cost weight."""

    costs: Floats
    """(weights, n), US dollars."""
    scores: Floats
    """(weights, n)."""

    def means(self, counts: Floats) -> Curve:
        """Args:
        counts: (w, n): how often each prompt counts."""
        return Curve(means(counts, self.costs.T), means(counts, self.scores.T))


def chosen(chances: Floats, expected: Floats, weight: float, dear: float) -> Ints:
    """(n,): argmax of P(success) − weight · expected cost / dear; the cheaper of two that are as good."""
    if np.isinf(weight):
        least = expected <= expected.min(axis=1, keepdims=True)
        found: Ints = np.argmax(np.where(least, chances, -1.0), axis=1)
        return found
    worth = chances - (weight + 1e-9) * expected / dear
    best: Ints = np.argmax(worth, axis=1)
    return best


def sweep(chances: Floats, expected: Floats, costs: Floats, scores: Floats) -> Sweep:
    """Args:
    chances: (n, m): P(success); −∞ for a model that is not to be chosen.
    expected: (n, m): expected costs.
    costs: (n, m): what was paid.
    scores: (n, m).
    """
    row = np.arange(len(scores))
    dear = float(expected.max()) or 1.0
    picks = [chosen(chances, expected, float(weight), dear) for weight in WEIGHTS]
    return Sweep(np.array([costs[row, pick] for pick in picks]), np.array([scores[row, pick] for pick in picks]))


def over_singles(singles: Curve, curve: Curve) -> Floats:
    """(w,): the area of a curve over that of single models, which are joined in order of their cost."""
    found = np.empty(len(singles.costs))
    for draw, (costs, scores) in enumerate(zip(*singles, strict=True)):
        order = np.argsort(costs, kind="stable")
        found[draw] = gain_over(costs[order], scores[order], curve.costs[draw], curve.scores[draw])
    return found


def expected_costs(plan: Plan, table: Table) -> Floats:
    """(rows of the table, m): what each model costs on average in the part that the prompt's fit saw; where that knows
    no costs, in the judged part, for prices are published and outcomes are not."""
    known = np.tile(np.nanmean(table.costs[plan.rows], axis=0), (len(table), 1))
    for split in plan.splits:
        seen = np.isfinite(split.costs)
        average = np.where(seen, split.costs, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        known[split.test] = np.where(seen.any(axis=0), average, known[split.test])
    return known


def means(weights: Floats, values: Floats) -> Floats:
    """(w, k): weighted means of (n, k) values."""
    found: Floats = (weights @ values) / weights.sum(axis=1, keepdims=True)
    return found


def frontier(
    ours: Sequence[str], part: Table, weights: Floats, sweeps: Mapping[str, Sweep], trained: Sweep
) -> dict[str, Any]:
    """Figures of every router's curve against the hull of single models.

    Args:
        ours: the families that are judged, the first against all others.
        part: (n) prompts and (m) models.
        weights: (w, n): how often each prompt counts, the first row all ones.
        trained: the single models that the training part's means choose, before any attempt.
    """
    costs, scores = means(weights, part.costs), means(weights, part.scores)
    hull = vertices(costs[0], scores[0])
    oracle = means(weights, part.scores.max(axis=1)[:, None])[:, 0]
    known = trained.means(weights)
    judged = {
        name: Judged.of(_figures(Curve(costs[:, hull], scores[:, hull]), known, ran.means(weights), oracle))
        for name, ran in sweeps.items()
    }
    first = sweeps[ours[0]]
    return {
        **judged[ours[0]].told(),
        "aiq_of_hull": number(
            aiq(costs[0, hull], scores[0, hull], float(costs[0, hull[0]]), float(costs[0, hull[-1]]))
        ),
        "hull": {
            "models": [part.models[place] for place in hull],
            "cost_usd": [number(value) for value in costs[0, hull]],
            "score": [number(value) for value in scores[0, hull]],
        },
        "singles": {
            "cost_usd": [number(value) for value in costs[0]],
            "score": [number(value) for value in scores[0]],
        },
        "curve": {
            "cost_usd": [number(value) for value in first.costs.mean(axis=1)],
            "score": [number(value) for value in first.scores.mean(axis=1)],
        },
        **against(judged, ours),
    }


def against(judged: Mapping[str, Judged], ours: Sequence[str]) -> dict[str, Any]:
    """The other families and the baselines, each with what ours is ahead of it."""
    told = {
        name: {**figures.told(), "ours_less_this": judged[ours[0]].less(figures)} for name, figures in judged.items()
    }
    return {
        "families": {name: told[name] for name in ours[1:]},
        "baselines": {name: figures for name, figures in told.items() if name not in ours},
    }


def _figures(hull: Curve, known: Curve, curve: Curve, oracle: Floats) -> dict[str, Floats]:
    """For the sample (first) and every draw.

    The hull drawn in hindsight keeps its models from draw to draw, with the draw's costs and qualities: were they
    chosen anew, each draw would take the luckiest of many, which the sample has done once already.

    Args:
        hull: the single models that are best on the judged prompts, in place of cost weights.
        known: those that the training part chose, of which a hull is drawn that knew no outcome of the judged prompts.
        curve: of the router.
    """
    hull_costs, hull_scores = hull
    names = ("aiq", "hull_gain", "hull_gain_in_hindsight", "gain", "saving", "regret")
    found = {name: np.full(len(oracle), np.nan) for name in names}
    found["hull_gain"] = over_singles(known, curve)
    for draw, (curve_costs, curve_scores) in enumerate(zip(*curve, strict=True)):
        own = vertices(hull_costs[draw], hull_scores[draw])
        edge_costs, edge_scores = hull_costs[draw, own], hull_scores[draw, own]
        if edge_costs[-1] > edge_costs[0]:
            found["aiq"][draw] = aiq(curve_costs, curve_scores, float(edge_costs[0]), float(edge_costs[-1]))
            found["hull_gain_in_hindsight"][draw] = gain_over(edge_costs, edge_scores, curve_costs, curve_scores)
        best_cost, best_score = hull_costs[draw, -1], hull_scores[draw, -1]
        affordable = curve_scores[curve_costs <= best_cost * (1 + 1e-9)]
        found["gain"][draw] = affordable.max() - best_score if len(affordable) else np.nan
        enough = curve_costs[curve_scores >= best_score - 1e-12]
        found["saving"][draw] = max(0.0, 1 - enough.min() / best_cost) if len(enough) and best_cost > 0 else 0.0
        found["regret"][draw] = oracle[draw] - curve_scores[-1]
    return found
