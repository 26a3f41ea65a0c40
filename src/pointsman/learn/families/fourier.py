"""A Gaussian kernel by random Fourier features.

cos(wᵀz + b) with w ~ N(0, 2γI), b ~ U(0, 2π) has inner products that tend to exp(−γ‖z − z'‖²) (Rahimi and Recht 2007);
ridge on them is Gaussian process regression in the limit.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from .base import Floats
from .inputs import Inputs
from .ridge import RidgeRegressor
from .targets import Targets

COMPONENTS = 1_200
PENALTIES = (120.0, 50.0, 25.0, 12.0, 5.0, 2.0)


class FourierRegressor:
    """Ridge on random Fourier features of embedding, structure and attempt.

    Args:
        width: γ.
        structure: what a standard deviation of a structural column counts, where the embedding has length 1.
        attempt: the same for a signal of the attempt.
    """

    def __init__(
        self, *, width: float = 0.5, structure: float = 0.15, attempt: float = 0.7, components: int = COMPONENTS
    ) -> None:
        self._width, self._structure, self._attempt, self._components = width, structure, attempt, components

    def fit(self, inputs: Inputs, targets: Targets, *, folds: NDArray[np.int64], rng: np.random.Generator) -> Self:
        size = self._joined(inputs).shape[1]
        self.frequencies_ = rng.normal(size=(size, self._components)) * np.sqrt(2 * self._width)
        self.phases_ = rng.uniform(0, 2 * np.pi, self._components)
        self.ridge_ = RidgeRegressor(self._space, PENALTIES).fit(inputs, targets, folds=folds, rng=rng)
        self.out_of_fold_ = self.ridge_.out_of_fold_
        return self

    def predict(self, inputs: Inputs) -> Floats:
        return self.ridge_.predict(inputs)

    def _joined(self, inputs: Inputs) -> Floats:
        return np.hstack([inputs.embedding, inputs.structure * self._structure, inputs.attempt * self._attempt])

    def _space(self, inputs: Inputs) -> Floats:
        found: Floats = np.cos(self._joined(inputs) @ self.frequencies_ + self.phases_)
        return found
