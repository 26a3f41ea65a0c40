"""A logistic regression whose penalty is chosen by inner cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pointsman.learn.families.base import Floats

from .descent import fit_logistic
from .inner import best_setting

Inputs = NDArray[np.float32]


def fit_penalised(
    inputs: Inputs,
    scores: Floats,
    penalties: Sequence[float],
    chances: Callable[[Inputs, Floats], Floats],
    *,
    groups: Sequence[str],
    rng: np.random.Generator,
) -> tuple[float, Floats]:
    """The penalty with the least error on what was held out, and the weights (k + 1, m) under it.

    Args:
        penalties: from strong to weak: a fit starts where the last one ended.
        chances: P(success) for inputs (n, k) under weights.
    """

    def predicted(train: NDArray[np.int64], test: NDArray[np.int64]) -> Iterator[Floats]:
        weights = None
        for penalty in penalties:
            weights = fit_logistic(inputs[train], scores[train], penalty, weights)
            yield chances(inputs[test], weights)

    penalty = best_setting(penalties, scores, groups, rng, predicted)
    return penalty, fit_logistic(inputs, scores, penalty)
