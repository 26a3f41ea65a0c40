"""Weights of a stack: how much each of several predictions of one target counts.

Ridge towards equal weights, none below 0 (stacked regressions, Breiman 1996, who found that they must not be). A
negative weight says that a prediction is wrong more often than chance; out of fold the useless ones look like that, as
the mean that each prompt is compared with was made without it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .base import Floats
from .regressors import best_of

STRENGTHS = (np.inf, 2_000.0, 500.0, 120.0, 30.0)
"""Prompts that equal weights count for, from those that nothing moves."""
DOUBT = 1.0
"""Standard errors of the least error, within which the most nearly equal weights are taken."""
SWEEPS = 200
ENOUGH = 1e-9


def even(size: int) -> Floats:
    """(size,)."""
    return np.full(size, 1 / size)


def weigh(columns: Floats, right: Floats, folds: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """
    Args:
        columns: (n, k): predictions out of fold, about a mean of 0.
        right: (n,): what was to be predicted, likewise.
        folds: those that the columns are out of.

    Returns:
        (k,): the weights; (n,): what they make of each prompt when learned without its fold.
    """
    made = np.zeros((len(STRENGTHS), *right.shape))
    for fold in range(int(folds.max()) + 1):
        out = folds == fold
        for at, strength in enumerate(STRENGTHS):
            made[at, out] = columns[out] @ pulled(columns[~out], right[~out], strength)
    best = int(best_of(made[:, :, None], right[:, None], DOUBT)[0])
    return pulled(columns, right, STRENGTHS[best]), made[best]


def pulled(columns: Floats, right: Floats, strength: float) -> Floats:
    """(k,): the weights w ≥ 0 with the least ‖right − columns·w‖² + strength · Σ (size of column j) · (w_j − 1/k)², by
    coordinate descent."""
    prior = even(columns.shape[1])
    if np.isinf(strength):
        return prior
    size = strength * ((columns**2).mean(axis=0) + 1e-12)
    left = columns.T @ columns + np.diag(size)
    aim = columns.T @ right + size * prior
    weights = prior.copy()
    for _ in range(SWEEPS):
        before = weights.copy()
        for at in range(len(weights)):
            rest = aim[at] - left[at] @ weights + left[at, at] * weights[at]
            weights[at] = max(rest / left[at, at], 0.0)
        if float(np.abs(weights - before).max()) < ENOUGH:
            break
    return weights
