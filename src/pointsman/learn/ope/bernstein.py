"""Intervals that promise their coverage for every number of decisions, at the price of width."""

from __future__ import annotations

import math

from .terms import Terms


def empirical_bernstein(terms: Terms, spread: float, *, level: float = 0.95) -> tuple[float, float]:
    """Maurer and Pontil (2009), theorem 4: for n independent values within a range of width b, of sample variance V,
    with probability 1 − δ each way

        |mean − true mean| ≤ √(2 V ln(2/δ) / n) + 7 b ln(2/δ) / (3 (n − 1))

    Holds as proven for means; for ratios it is laid on the linearised estimate, which is stated, not proven.

    Args:
        spread: b, of the influence of one row. Must not come from the rewards that were drawn.
    """
    n = len(terms)
    if n < 2:
        return -math.inf, math.inf
    influence = terms.influence
    variance = float(influence @ influence) / (n - 1)
    risk = math.log(2 / ((1 - level) / 2))
    width = math.sqrt(2 * variance * risk / n) + 7 * spread * risk / (3 * (n - 1))
    return terms.value - width, terms.value + width
