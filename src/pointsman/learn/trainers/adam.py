"""Adam: steps sized by running means of the gradient and its square (Kingma and Ba, arXiv 1412.6980)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Adam:
    """Moves parameters in place, downhill."""

    def __init__(
        self,
        parameters: Sequence[Floats],
        *,
        rate: float,
        decay: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self._parameters = parameters
        self._rate = rate
        self._decay = decay
        self._epsilon = epsilon
        self._mean = [np.zeros_like(parameter) for parameter in parameters]
        self._square = [np.zeros_like(parameter) for parameter in parameters]
        self._steps = 0

    def step(self, gradients: Sequence[Floats]) -> None:
        """One step against the gradients, which have the parameters' shapes and order."""
        self._steps += 1
        first, second = self._decay
        for parameter, gradient, mean, square in zip(
            self._parameters, gradients, self._mean, self._square, strict=True
        ):
            mean += (1 - first) * (gradient - mean)
            square += (1 - second) * (gradient * gradient - square)
            corrected = mean / (1 - first**self._steps)
            spread = np.sqrt(square / (1 - second**self._steps)) + self._epsilon
            parameter -= self._rate * corrected / spread
