"""Ridge regression in closed form: the mean of a Bayesian linear model's posterior.

With rows z of length about 1, weights w ~ N(0, 1/λ) and unit noise, w = (ZᵀZ + λI)⁻¹Zᵀy, or Zᵀ(ZZᵀ + λI)⁻¹y where
there are fewer prompts than columns (Hoerl and Kennard 1970; Bishop 2006, section 3.3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .base import Floats
from .inputs import Inputs
from .regressors import best_of
from .targets import Targets

PENALTIES = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0)


def solve(rows: Floats, targets: Floats, penalty: float) -> Floats:
    """(d, q) weights."""
    if len(rows) < rows.shape[1]:
        kernel = rows @ rows.T
        kernel[np.diag_indices_from(kernel)] += penalty
        dual: Floats = rows.T @ _solved(kernel, targets)
        return dual
    gram = rows.T @ rows
    gram[np.diag_indices_from(gram)] += penalty
    return _solved(gram, rows.T @ targets)


def _solved(left: Floats, right: Floats) -> Floats:
    found: Floats = np.linalg.solve(left, right).astype(np.float64, copy=False)
    return found


class RidgeRegressor:
    """Ridge on a space of its own.

    Args:
        space: inputs to (n, d); rows are scaled together so that their mean square length is 1.
    """

    def __init__(self, space: Callable[[Inputs], Floats], penalties: Sequence[float] = PENALTIES) -> None:
        self._space, self._penalties = space, tuple(penalties)

    def fit(self, inputs: Inputs, targets: Targets, *, folds: NDArray[np.int64], rng: np.random.Generator) -> Self:
        values = targets.values_
        rows = self._space(inputs)
        self.centre_ = rows.mean(axis=0)
        rows = rows - self.centre_
        self.scale_ = float(np.sqrt((rows**2).sum(axis=1).mean())) or 1.0
        rows /= self.scale_
        made = np.zeros((len(self._penalties), *values.shape))
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            mean = values[~out].mean(axis=0) if (~out).any() else values.mean(axis=0)
            made[:, out] = mean + self._path(rows[~out], values[~out] - mean, rows[out])
        chosen = best_of(made, values)
        self.penalty_ = np.array(self._penalties)[chosen]
        self.out_of_fold_: Floats = np.stack([made[at, :, q] for q, at in enumerate(chosen)], axis=1)
        self.mean_ = values.mean(axis=0)
        self.weights_ = np.zeros((rows.shape[1], values.shape[1]))
        for penalty in set(self.penalty_):
            these = self.penalty_ == penalty
            self.weights_[:, these] = solve(rows, values[:, these] - self.mean_[these], float(penalty))
        return self

    def _path(self, rows: Floats, targets: Floats, outside: Floats) -> Floats:
        """(penalties, rows of outside, q)."""
        dual = len(rows) < rows.shape[1]
        kernel = rows @ rows.T if dual else rows.T @ rows
        right = targets if dual else rows.T @ targets
        across = outside @ rows.T if dual else outside
        # single precision does to choose among penalties, and takes half the time
        square, given, asked = kernel.astype(np.float32), right.astype(np.float32), across.astype(np.float32)
        found = []
        for penalty in self._penalties:
            shifted = square.copy()
            shifted[np.diag_indices_from(shifted)] += np.float32(penalty)
            found.append(asked @ np.linalg.solve(shifted, given))
        return np.stack(found).astype(np.float64)

    def predict(self, inputs: Inputs) -> Floats:
        found: Floats = self.mean_ + ((self._space(inputs) - self.centre_) / self.scale_) @ self.weights_
        return found


def linear_space(inputs: Inputs) -> Floats:
    """The embedding beside the structure, which weighs as much as it, and the attempt, which weighs the same."""
    parts = [inputs.embedding, inputs.structure / np.sqrt(max(inputs.structure.shape[1], 1))]
    if inputs.attempt.shape[1]:
        parts.append(inputs.attempt / np.sqrt(inputs.attempt.shape[1]))
    return np.hstack(parts)


def attempt_space(inputs: Inputs) -> Floats:
    """The attempt alone, with squares and cubes."""
    signals = inputs.attempt
    return np.hstack([signals, signals**2 / 2, signals**3 / 6])
