"""Nearest neighbours by the cosine of embeddings: the mean outcome of the k most similar prompts, weighted by
similarity (Cover and Hart 1967); k is chosen for each target by grouped folds."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from .base import Floats
from .inputs import Inputs
from .regressors import best_of
from .targets import Targets

COUNTS = (400, 200, 100, 50, 25, 12)
BLOCK = 1_000
"""Prompts whose similarities are held at a time."""


class NearestRegressor:
    """k nearest neighbours for several targets."""

    def fit(self, inputs: Inputs, targets: Targets, *, folds: NDArray[np.int64], rng: np.random.Generator) -> Self:
        values = targets.values_
        made = np.zeros((len(COUNTS), *values.shape))
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            made[:, out] = _means(inputs.embedding[out], inputs.embedding[~out], values[~out]) if (~out).any() else 0.0
        chosen = best_of(made, values)
        self.counts_ = np.array(COUNTS)[chosen]
        self.chosen_ = chosen
        self.out_of_fold_: Floats = np.stack([made[at, :, q] for q, at in enumerate(chosen)], axis=1)
        self.embedding_, self.values_ = inputs.embedding, values
        return self

    def predict(self, inputs: Inputs) -> Floats:
        made = _means(inputs.embedding, self.embedding_, self.values_)
        return np.stack([made[at, :, q] for q, at in enumerate(self.chosen_)], axis=1)


def _means(asked: Floats, known: Floats, targets: Floats) -> Floats:
    """(counts, asked, q)."""
    found = np.zeros((len(COUNTS), len(asked), targets.shape[1]))
    for start in range(0, len(asked), BLOCK):
        block = slice(start, start + BLOCK)
        likeness = asked[block] @ known.T
        most = min(COUNTS[0], len(known))
        near = np.argpartition(-likeness, most - 1, axis=1)[:, :most]
        values = np.take_along_axis(likeness, near, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        near, values = np.take_along_axis(near, order, axis=1), np.take_along_axis(values, order, axis=1)
        weights = np.maximum(values, 0.0) + 1e-6
        # the mean of every count at once, as running sums from the nearest on
        total = np.cumsum(weights, axis=1)
        for target in range(targets.shape[1]):
            running = np.cumsum(weights * targets[near, target], axis=1) / total
            for at, count in enumerate(COUNTS):
                found[at, block, target] = running[:, min(count, most) - 1]
    return found
