"""LinUCB (Li et al. 2010), each arm shown every outcome of the training part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pointsman.learn.families.base import Floats, Prompts

ALPHA = 0.5
RIDGE = 1.0


class LinUCB:
    """Score = x·θ_a + α √(x·A_a⁻¹x) with A_a = I + Σ x xᵀ and θ_a = A_a⁻¹ Σ x y, over the disjoint arms of the paper.

    Where every arm saw every prompt the bonus is the same for all and the choice is that of ridge regression.
    """

    def fit(self, prompts: Prompts, scores: Floats, *, groups: Sequence[str], rng: np.random.Generator) -> Self:
        inputs = _inputs(prompts)
        self.inverses_, self.thetas_ = [], []
        previous: NDArray[np.bool_] | None = None
        for column in scores.T:
            known = np.isfinite(column)
            if previous is None or not np.array_equal(known, previous):
                seen, previous = inputs[known], known
                inverse = np.linalg.inv(RIDGE * np.eye(inputs.shape[1]) + seen.T @ seen)
            self.inverses_.append(inverse)
            self.thetas_.append(inverse @ (seen.T @ column[known]))
        return self

    def predict(self, prompts: Prompts) -> Floats:
        inputs = _inputs(prompts)
        found = np.empty((len(inputs), len(self.thetas_)))
        for arm, (inverse, theta) in enumerate(zip(self.inverses_, self.thetas_, strict=True)):
            if not arm or inverse is not self.inverses_[arm - 1]:
                width = np.sqrt(np.maximum(np.einsum("ij,ij->i", inputs @ inverse, inputs), 0.0))
            found[:, arm] = inputs @ theta + ALPHA * width
        return np.clip(found, 0.0, 1.0)


def _inputs(prompts: Prompts) -> Floats:
    """Features in about the same scale, with a bias; what an attempt took as its logarithm."""
    parts = [prompts.features.astype(np.float64), np.ones((len(prompts), 1))]
    if prompts.attempt is not None:
        parts.append(np.log1p(prompts.attempt) / 3)
    return np.concatenate(parts, axis=1)
