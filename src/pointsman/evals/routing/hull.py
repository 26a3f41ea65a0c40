"""The non-decreasing convex hull of cost and quality, and AIQ, as RouterBench defines them (arXiv 2403.12031)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def vertices(costs: Floats, qualities: Floats) -> NDArray[np.int64]:
    """Indices of the points on the upper hull from the cheapest to the best, in rising order of cost.

    Whatever lies on a straight line between two of them can be had by choosing between the two at random; a point that
    costs more and is no better is never on it.
    """
    order = np.lexsort((-qualities, costs))
    hull: list[int] = []
    for place in order:
        point = int(place)
        if hull and qualities[point] <= qualities[hull[-1]]:
            continue
        while len(hull) > 1 and _slope(costs, qualities, hull[-2], point) >= _slope(
            costs, qualities, hull[-2], hull[-1]
        ):
            hull.pop()
        if hull and costs[point] == costs[hull[-1]]:
            hull.pop()
        hull.append(point)
    return np.array(hull, dtype=np.int64)


def _slope(costs: Floats, qualities: Floats, one: int, other: int) -> float:
    rise, run = float(qualities[other] - qualities[one]), float(costs[other] - costs[one])
    return rise / run if run > 0 else float("inf")


def under(costs: Floats, qualities: Floats, low: float, high: float) -> float:
    """The area under straight lines through points sorted by cost, from `low` to `high`; level beyond their ends."""
    if high <= low:
        return 0.0
    inner = costs[(costs > low) & (costs < high)]
    at = np.concatenate(([low], inner, [high]))
    return float(np.trapezoid(np.interp(at, costs, qualities), at))


def aiq(costs: Floats, qualities: Floats, low: float, high: float) -> float:
    """Mean quality under the non-decreasing convex hull of these points over a range of costs; below the cheapest of
    them there is nothing to be had. NaN where the range is one cost: there is nothing to choose for less."""
    if high <= low:
        return float("nan")
    hull = vertices(costs, qualities)
    start = max(low, float(costs[hull[0]]))
    return under(costs[hull], qualities[hull], start, high) / (high - low)


def gain_over(hull_costs: Floats, hull_qualities: Floats, costs: Floats, qualities: Floats) -> float:
    """The area between a curve and a hull, over the costs that both span, as a share of the hull's range of costs.

    The curve is taken as it is, through its points in order of cost, not through the best of them: what a sweep gains
    by chance at one setting it loses at the next. Where only one of the two reaches, nothing is counted.
    """
    order = np.argsort(costs, kind="stable")
    costs, qualities = costs[order], qualities[order]
    low, high = max(hull_costs[0], costs[0]), min(hull_costs[-1], costs[-1])
    whole = float(hull_costs[-1] - hull_costs[0])
    if high <= low or whole <= 0:
        return 0.0
    return (under(costs, qualities, low, high) - under(hull_costs, hull_qualities, low, high)) / whole
