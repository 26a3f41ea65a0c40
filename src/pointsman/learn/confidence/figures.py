"""How well probabilities tell right from wrong, and how true they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

BINS = 10
DRAWS = 500


def auc(said: Floats, right: Bools, fold: Ints | None = None) -> float:
    """The share of pairs of a right and a wrong answer in which the right one has more; ties count half.

    Args:
        fold: pairs across folds do not count: what is said in one is by a model of its own, whose level lies the higher
            the fewer right answers the fold itself has.
    """
    fold = np.zeros(len(said), dtype=np.int64) if fold is None else fold
    won = pairs = 0.0
    for number in np.unique(fold):
        here = fold == number
        order = np.unique(said[here], return_inverse=True)[1]
        count = np.bincount(order)
        rank = (np.cumsum(count) - (count - 1) / 2)[order]
        good = int(right[here].sum())
        won += float(rank[right[here]].sum() - good * (good + 1) / 2)
        pairs += good * (int(here.sum()) - good)
    return won / pairs if pairs else float("nan")


def ece(said: Floats, right: Bools) -> float:
    """Mean distance between what is said and what is so, over bins of equal numbers (Naeini et al. 2015)."""
    order = np.argsort(said, kind="stable")
    parts = [part for part in np.array_split(order, BINS) if len(part)]
    return sum(abs(float(said[part].mean() - right[part].mean())) * len(part) for part in parts) / len(said)


def interval(
    said: Floats, right: Bools, fold: Ints, families: Sequence[str], seed: int
) -> tuple[float | None, float | None]:
    """95 % of the area, by drawing families with replacement."""
    names = sorted(set(families))
    members = [np.flatnonzero(np.array(families) == name) for name in names]
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[place] for place in rng.integers(0, len(names), len(names))])
        drawn.append(auc(said[rows], right[rows], fold[rows]))
    known = [one for one in drawn if np.isfinite(one)]
    if not known:
        return None, None
    low, high = np.quantile(known, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)
