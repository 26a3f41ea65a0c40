"""Several learners, stacked on their out-of-fold predictions, and as sure of themselves as these allow.

For each target the members' predictions are weighed by ridge towards equal weights (stacked regressions, Breiman 1996).
For what sets models apart the predicted level is offered too, with its square and cube: where a prompt is easy all
succeed and where it is hard all fail, so that gaps are largest in between, as in item response theory. Equal weights of
the members are kept unless all this, held out, errs less by more than `DOUBT` standard errors. Where there are signals
of an attempt, the members that look at nothing else are taken alone unless all together err less by more than
`DOUBT_OF_TEXT`: of what an agent will make of an issue the text says next to nothing.

The result is then scaled by what the training part, predicted out of fold, says it is worth: with b the slope of the
target on it and t its t-statistic, by b·max(0, 1 − (GATE / t)²), a positive-part James-Stein estimate. Where nothing
can be learned the factor is 0, and every prompt gets the models' means. For two models `LEAST` of it is kept: too
little to change what is expected of a prompt, but an order, which is more often right than not, among prompts that
would be equal. Among many models it would choose whoever looks best by chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .base import Floats
from .inputs import Inputs
from .regressors import Regressor

DOUBT = 0.5
DOUBT_OF_TEXT = 2.0
LEAST = 0.01
"""The least factor of what sets two models apart."""
STRENGTH = 150.0
"""Prompts that the members' equal weights count for."""
GATE = 1.0
"""For the level, and for what sets two models apart."""
GATE_OF_MANY = 2.0
"""For each direction in which more than two models deviate: among many, some look worth something by chance."""


class EnsembleRegressor:
    """Args:
    members: makers of the learners that are stacked.
    after: of those that join them where there are signals of an attempt.
    """

    def __init__(
        self, members: Sequence[Callable[[], Regressor]], after: Sequence[Callable[[], Regressor]] = ()
    ) -> None:
        self._members, self._after = tuple(members), tuple(after)

    def fit(self, inputs: Inputs, targets: Floats, *, folds: NDArray[np.int64], rng: np.random.Generator) -> Self:
        makers = self._members + (self._after if inputs.attempt.shape[1] else ())
        self.members_ = [make().fit(inputs, targets, folds=folds, rng=rng) for make in makers]
        self.mean_ = targets.mean(axis=0)
        made = np.stack([member.out_of_fold_ for member in self.members_])
        self.weights_: list[Floats] = []
        self.factors_ = np.zeros(targets.shape[1])
        self.out_of_fold_: Floats = np.zeros_like(targets)
        self.spreads_ = made.mean(axis=0).std(axis=0)
        level = made[:, :, 0].mean(axis=0) - self.mean_[0]
        self.level_scale_ = float(level.std()) or 1.0
        for target in range(targets.shape[1]):
            columns = self._columns(made, level, target)
            right = targets[:, target] - self.mean_[target]
            honest = np.zeros(len(targets))
            for fold in range(int(folds.max()) + 1):
                out = folds == fold
                honest[out] = columns[out] @ self._stacked(columns[~out], right[~out])
            weights = self._stacked(columns, right)
            even = self._even(columns.shape[1])
            if not surely_better(honest, columns @ even, right, DOUBT):
                honest, weights = columns @ even, even
            if len(self.members_) > len(self._members):
                alone = self._alone(columns.shape[1])
                if not surely_better(honest, columns @ alone, right, DOUBT_OF_TEXT):
                    honest, weights = columns @ alone, alone
            many = target > 0 and targets.shape[1] > 2
            factor = worth(honest, right, GATE_OF_MANY if many else GATE)
            self.factors_[target] = factor if many else max(factor, LEAST)
            self.weights_.append(weights)
            self.out_of_fold_[:, target] = self.mean_[target] + self.factors_[target] * honest
        return self

    def predict(self, inputs: Inputs) -> Floats:
        made = np.stack([member.predict(inputs) for member in self.members_])
        level = made[:, :, 0].mean(axis=0) - self.mean_[0]
        columns = [
            self._columns(made, level, target) @ weights * factor
            for target, (weights, factor) in enumerate(zip(self.weights_, self.factors_, strict=True))
        ]
        found: Floats = self.mean_ + np.stack(columns, axis=1)
        return found

    def _columns(self, made: Floats, level: Floats, target: int) -> Floats:
        own: Floats = made[:, :, target].T - self.mean_[target]
        if target == 0:
            return own
        scaled = np.clip(level / self.level_scale_, -3, 3)
        powers = np.stack([scaled, scaled**2 - 1, scaled**3 - 3 * scaled], axis=1)
        columns: Floats = np.hstack([own, powers * self.spreads_[target]])
        return columns

    def _stacked(self, columns: Floats, right: Floats) -> Floats:
        prior = np.zeros(columns.shape[1])
        prior[: len(self.members_)] = 1 / len(self.members_)
        size = (columns**2).mean(axis=0) + 1e-12
        left = columns.T @ columns + np.diag(STRENGTH * size)
        found: Floats = np.linalg.solve(left, columns.T @ right + STRENGTH * size * prior)
        return found

    def _even(self, size: int) -> Floats:
        weights = np.zeros(size)
        weights[: len(self.members_)] = 1 / len(self.members_)
        return weights

    def _alone(self, size: int) -> Floats:
        """Equal weights of the members that look at the attempt alone."""
        weights = np.zeros(size)
        weights[len(self._members) : len(self.members_)] = 1 / (len(self.members_) - len(self._members))
        return weights


def surely_better(made: Floats, simple: Floats, right: Floats, doubt: float) -> bool:
    """Whether out-of-fold predictions err less than simpler ones by more than so many standard errors."""
    difference = (right - simple) ** 2 - (right - made) ** 2
    return float(difference.mean()) > doubt * float(difference.std()) / math.sqrt(len(right))


def worth(made: Floats, right: Floats, gate: float = GATE) -> float:
    """The factor by which out-of-fold predictions are to be believed, in [0, 1.5].

    Args:
        made: (n,), about a mean of 0.
        right: (n,), likewise.
        gate: the t-statistic up to which they are worth nothing.
    """
    square = float(made @ made)
    if square < 1e-12 or len(made) < 3:
        return 0.0
    slope = float(made @ right) / square
    error = float(np.sqrt((((right - slope * made) * made) ** 2).sum())) / square
    if slope <= 0:
        return 0.0
    return min(slope, 1.5) * max(0.0, 1 - (gate * error / slope) ** 2)
