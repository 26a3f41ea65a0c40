"""Least-squares learners of several targets at once: the parts that families are made of.

Each chooses how far it shrinks by its own error on grouped folds, for every target apart, and keeps those
out-of-fold predictions: whoever combines learners needs them.
"""

from __future__ import annotations

from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from .base import Floats
from .inputs import Inputs
from .targets import Targets


class Regressor(Protocol):
    """Predicts (n, q) targets. After `fit`, `out_of_fold_` holds (n, q) predictions for the training prompts, each
    made without its fold."""

    out_of_fold_: Floats

    def fit(self, inputs: Inputs, targets: Targets, *, folds: NDArray[np.int64], rng: np.random.Generator) -> Self: ...

    def predict(self, inputs: Inputs) -> Floats: ...


def best_of(made: Floats, targets: Floats, doubt: float = 0.1) -> NDArray[np.int64]:
    """Which of `k` settings is best for each target, by squared error out of fold; the most shrunken one that is within
    `doubt` standard errors of the best is taken (Breiman et al. 1984).

    Args:
        made: (k, n, q), from the most shrunken to the least.
    """
    losses = (made - targets) ** 2
    mean = losses.mean(axis=1)
    best: NDArray[np.int64] = mean.argmin(axis=0)
    chosen: NDArray[np.int64] = best.copy()
    for target in range(targets.shape[1]):
        difference = losses[:, :, target] - losses[best[target], :, target]
        error = difference.std(axis=1) / np.sqrt(len(targets))
        near = difference.mean(axis=1) <= doubt * error
        chosen[target] = int(np.flatnonzero(near)[0]) if near.any() else best[target]
    return chosen
