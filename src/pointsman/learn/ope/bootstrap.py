"""Intervals by resampling decisions, or clusters of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from .student import stretch
from .terms import Terms

Floats = NDArray[np.float64]

RESAMPLES = 599
CELLS = 4_000_000
"""Numbers that are drawn at a time."""
TINY = 1e-12
"""A standard error below it is rounding: all rows say the same."""

Statistic = Callable[[Floats], Floats]
"""Sums of columns, (resamples, columns), to a figure for each, (resamples,)."""


class Resamples:
    """Which rows are drawn with replacement in each of many resamples: the same for every estimate that asks, so that
    estimates are compared over the same draws.

    Args:
        rng: gives the seed of the draws.
    """

    def __init__(self, rng: np.random.Generator, resamples: int = RESAMPLES) -> None:
        self.resamples = resamples
        self._seed = int(rng.integers(2**63))
        self._kept: Floats | None = None

    def sums(self, columns: Floats) -> Floats:
        """(resamples, columns): sums of each column over as many rows as there are."""
        n = len(columns)
        if self._kept is not None and self._kept.shape[1] == n:
            return self._kept @ columns
        rng = np.random.default_rng([self._seed, n])
        step = max(1, CELLS // n)
        parts = []
        for start in range(0, self.resamples, step):
            size = min(step, self.resamples - start)
            drawn = rng.integers(0, n, (size, n), dtype=np.int32)
            drawn += np.arange(size, dtype=np.int32)[:, None] * np.int32(n)
            counts = np.bincount(drawn.ravel(), minlength=size * n).reshape(size, n).astype(np.float64)
            if size == self.resamples:
                self._kept = counts
            parts.append(counts @ columns)
        return np.vstack(parts)


def studentised(
    terms: Terms, drawn: Resamples, *, freedom: float = math.inf, level: float = 0.95
) -> tuple[float, float]:
    """The bootstrap-t interval (Efron 1982; Hall 1988): the quantiles of (θ* − θ) / s*, where s* is the standard
    error of each resample by linearisation, laid on θ and its own s.

    Its coverage errs by O(1/n) and, unlike that of percentiles, holds with the skewed weights of importance sampling.
    `Terms.imagined` is among the rows that are drawn from, and `Terms.widening` widens the whole. Infinite where the
    rows do not tell. Drawn out by as much as Student's t is beyond the normal, for few rows vary too little when they
    are resampled.

    Args:
        freedom: degrees of it, at least 4.
    """
    drawn_out = stretch(len(terms), freedom, level)
    widening, terms = terms.widening, terms.wary
    if not math.isfinite(terms.value):
        return -math.inf, math.inf
    j = len(terms.signs)
    columns = np.hstack([terms.over, terms.under])
    first, second = np.triu_indices(2 * j)
    sums = drawn.sums(np.hstack([columns, columns[:, first] * columns[:, second]]))
    n = len(terms)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = sums[:, :j] / sums[:, j : 2 * j]
        values = ratios @ terms.signs
        # influence = Σ_j s_j (over_j − ratio_j under_j) / mean under_j: a linear form in the columns
        scale = terms.signs * n / sums[:, j : 2 * j]
        forms = np.hstack([scale, -scale * ratios])
        double = np.where(first == second, 1.0, 2.0)
        squares = (sums[:, 2 * j :] * forms[:, first] * forms[:, second]) @ double
        errors = np.sqrt(np.maximum(squares, 0.0)) / n
        scores = (values - terms.value) / errors
    influence = terms.influence
    error = widening * math.sqrt(float(influence @ influence)) / n
    if error <= TINY * max(1.0, abs(terms.value)):
        return terms.value, terms.value
    scores = scores[np.isfinite(scores)]
    if len(scores) < drawn.resamples / 2:
        return -math.inf, math.inf
    tail = (1 - level) / 2
    low, high = np.quantile(scores, [1 - tail, tail], method="weibull")
    error *= drawn_out
    return terms.value - float(low) * error, terms.value - float(high) * error


def bias_corrected(
    columns: Floats, statistic: Statistic, drawn: Resamples, *, freedom: float, level: float = 0.95
) -> tuple[float, float]:
    """The BCa interval (Efron 1987) of any smooth function of sums over rows; its acceleration comes from the
    jackknife, which for sums is a subtraction. Its tails are cut farther out, where Student's t and the n / (n − 1) of
    a variance would have them (Hesterberg 2015): with few rows resamples vary too little.

    Args:
        columns: (rows, columns).
        freedom: degrees of it, at least 4.
    """
    total = columns.sum(axis=0)
    value = float(statistic(total[None])[0])
    values = np.sort(statistic(drawn.sums(columns)))
    left_out = statistic(total[None] - columns)
    apart = left_out.mean() - left_out
    squares = float((apart**2).sum())
    if squares == 0:
        return value, value
    acceleration = float((apart**3).sum()) / (6 * squares**1.5)
    normal = NormalDist()
    below = (np.searchsorted(values, value) + np.searchsorted(values, value, "right")) / 2
    bias = normal.inv_cdf(float(np.clip(below, 1, len(values) - 1)) / len(values))
    ends = []
    reach = stretch(len(columns), freedom, level) * normal.inv_cdf((1 + level) / 2)
    for deviation in (-reach, reach):
        moved = bias + deviation
        ends.append(normal.cdf(bias + moved / (1 - acceleration * moved)))
    low, high = np.quantile(values, ends, method="weibull")
    return float(low), float(high)
