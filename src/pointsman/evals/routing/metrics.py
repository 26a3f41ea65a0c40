"""PGR, APGR and CPT(x) as RouteLLM defines them (arXiv 2406.18665), for every threshold at once.

A router of two models ranks the prompts by how much the strong model is worth on each. With the first share s of that
ranking sent to the strong model and the rest to the weak one,

    PGR(s) = (quality of the mixture − quality of weak) / (quality of strong − quality of weak)
    APGR = ∫₀¹ PGR(s) ds        CPT(x) = the least s with PGR(s) ≥ x

RouteLLM's own program reads the curve at eleven shares (`grid_apgr`); here it is exact. Prompts of equal rank are in
random order and the curve is its expectation: a straight line, so that a router that cannot tell prompts apart has an
APGR of exactly 0.5.

In a cascade the weak model has run before the router chooses. Where costs are known the abscissa is then the mean
cost, 0 being the weak model alone and 1 the strong one alone; it passes 1 where nearly everything is escalated, and
the area counts up to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CHUNK = 2_000_000
"""Numbers that one step over the replicates of a bootstrap may hold."""
CPTS = (0.5, 0.8)


class Curves(NamedTuple):
    """PGR over the share of strong calls (or normalised cost), a row for each weighting of the prompts."""

    shares: Floats
    """(w, k), rising from 0."""
    pgr: Floats
    """(w, k), from 0 to 1; NaN where the strong model is no better."""


class Figures(NamedTuple):
    """One number for each weighting of the prompts; NaN where it has no meaning."""

    apgr: Floats
    cpt50: Floats
    """Per cent of calls, as RouteLLM prints it."""
    cpt80: Floats


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What a weak and a strong model made of the same `n` prompts."""

    weak: Floats
    strong: Floats
    weak_cost: Floats | None = None
    strong_cost: Floats | None = None
    """With costs the abscissa is that of a cascade."""


def curves(rank: Floats, pair: Pair, weights: Floats) -> Curves:
    """The curve of a router.

    Args:
        rank: (n,): the greater, the sooner is a prompt sent to the strong model.
        weights: (w, n): how often each prompt counts; a row of ones is the sample itself.
    """
    order = np.argsort(-rank, kind="stable")
    ranked = rank[order]
    starts = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    ordered = weights[:, order]
    gains = np.add.reduceat(ordered * (pair.strong - pair.weak)[order], starts, axis=1)
    if pair.weak_cost is None or pair.strong_cost is None:
        steps = np.add.reduceat(ordered, starts, axis=1)
        whole = ordered.sum(axis=1, keepdims=True)
    else:
        steps = np.add.reduceat(ordered * pair.strong_cost[order], starts, axis=1)
        whole = (ordered * (pair.strong_cost - pair.weak_cost)[order]).sum(axis=1, keepdims=True)
    total = gains.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        pgr = np.where(total > 1e-9, np.cumsum(gains, axis=1) / total, np.nan)
        shares = np.where(whole > 0, np.cumsum(steps, axis=1) / whole, np.nan)
    return Curves(np.pad(shares, ((0, 0), (1, 0))), np.pad(pgr, ((0, 0), (1, 0))))


def area(found: Curves) -> Floats:
    """(w,): the area under each curve over the abscissae up to 1."""
    left, right = found.shares[:, :-1], found.shares[:, 1:]
    low, high = found.pgr[:, :-1], found.pgr[:, 1:]
    until = np.minimum(right, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(right > left, (until - left) / (right - left), 0.0)
    reached = low + (high - low) * part
    pieces = np.where(left < 1.0, (until - left) * (low + reached) / 2, 0.0)
    areas: Floats = pieces.sum(axis=1)
    return areas


def least(found: Curves, target: float) -> Floats:
    """(w,): the least abscissa at which each curve reaches this PGR, in per cent; NaN for one that never does."""
    reached = found.pgr >= target - 1e-12
    first = np.argmax(reached, axis=1)
    row = np.arange(len(first))
    before = np.maximum(first - 1, 0)
    y0, y1 = found.pgr[row, before], found.pgr[row, first]
    x0, x1 = found.shares[row, before], found.shares[row, first]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(y1 > y0, (target - y0) / (y1 - y0), 1.0)
    at: Floats = np.where(reached.any(axis=1), 100 * (x0 + (x1 - x0) * np.clip(part, 0, 1)), np.nan)
    return at


def figures(rank: Floats, pair: Pair, weights: Floats) -> Figures:
    """APGR, CPT(50 %) and CPT(80 %) for each weighting of the prompts. Arguments as for `curves`."""
    size = max(1, CHUNK // max(len(rank), 1))
    parts = []
    for start in range(0, len(weights), size):
        found = curves(rank, pair, weights[start : start + size])
        parts.append((area(found), *(least(found, target) for target in CPTS)))
    return Figures(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def grid_apgr(rank: Floats, pair: Pair, points: int = 11) -> float:
    """APGR as RouteLLM's program reads it: the trapezoidal rule over shares of 0, 10, …, 100 % of strong calls."""
    found = curves(rank, pair, np.ones((1, len(rank))))
    shares = np.linspace(0, 1, points)
    return float(np.trapezoid(np.interp(shares, found.shares[0], found.pgr[0]), shares))


def brier(predicted: Floats, scores: Floats) -> float:
    """The mean squared error of P(success); outcomes that are missing do not count."""
    known = np.isfinite(scores)
    return float(np.mean((predicted[known] - scores[known]) ** 2))


def calibration_error(predicted: Floats, scores: Floats, bins: int = 10) -> float:
    """ECE: how far the mean prediction of a tenth of [0, 1] is from the mean outcome there, weighted by the cases
    (Naeini et al. 2015)."""
    known = np.isfinite(scores)
    chances, outcomes = predicted[known], scores[known]
    if not len(chances):
        return float("nan")
    place = np.minimum((chances * bins).astype(np.int64), bins - 1)
    apart = np.bincount(place, chances - outcomes, minlength=bins)
    return float(np.abs(apart).sum() / len(chances))
