"""What a prompt's level alone says of each model, by an item response curve.

Where a prompt is easy all models succeed and where it is hard all fail, so that the gap between two is widest somewhere
in between. With θ the predicted level, P(success) of a model is σ(a + b·θ) with a and b of its own (the two-parameter
logistic model, Birnbaum 1968): the gaps that such curves imply are bounded, and rise and fall at most once, which no
polynomial in θ promises.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from .base import Floats
from .logistic import fit_lines
from .targets import Targets

PENALTY = 1.0
"""On b, θ being standardised: as much as a handful of prompts."""
CLIP = 3.0
"""Standard deviations of the level, beyond which a curve is flat."""


class Link:
    """Args of `fit`:
    level: (n,), predicted out of fold, about a mean of 0.
    """

    def fit(self, level: Floats, targets: Targets, *, folds: NDArray[np.int64]) -> Self:
        self.scale_ = float(level.std()) or 1.0
        self.targets_ = targets
        rows, scores = self._rows(level), targets.scores_
        self.out_of_fold_: Floats = np.zeros_like(targets.values_)
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            lines = fit_lines(rows[~out], scores[~out], PENALTY)
            self.out_of_fold_[out] = targets.of(np.stack([line(rows[out]) for line in lines], axis=1))
        self.lines_ = fit_lines(rows, scores, PENALTY)
        return self

    def predict(self, level: Floats) -> Floats:
        """(n, q) targets."""
        rows = self._rows(level)
        return self.targets_.of(np.stack([line(rows) for line in self.lines_], axis=1))

    def _rows(self, level: Floats) -> Floats:
        return np.clip(level / self.scale_, -CLIP, CLIP)[:, None]
