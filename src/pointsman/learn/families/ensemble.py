"""Several learners, stacked on their out-of-fold predictions, and as sure of themselves as these allow.

For each target the members' predictions are weighed (`weights`). What sets models apart has one prediction more: what
the level, as the members predict it, says of each model by itself (`link`). Weights are equal unless others, held out,
are surely better. Where there are signals of an attempt, the members that look at nothing else are taken alone unless
all together err less by more than `DOUBT_OF_TEXT` standard errors: of what an agent will make of an issue the text says
next to nothing.

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
from .link import Link
from .regressors import Regressor
from .targets import Targets
from .weights import weigh

DOUBT_OF_TEXT = 2.0
LEAST = 0.01
"""The least factor of what sets two models apart."""
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

    def fit(self, inputs: Inputs, targets: Targets, *, folds: NDArray[np.int64], rng: np.random.Generator) -> Self:
        makers = self._members + (self._after if inputs.attempt.shape[1] else ())
        self.members_ = [make().fit(inputs, targets, folds=folds, rng=rng) for make in makers]
        values = targets.values_
        self.mean_ = values.mean(axis=0)
        made = np.stack([member.out_of_fold_ for member in self.members_])
        self.link_ = Link().fit(self._level(made), targets, folds=folds)
        self.weights_: list[Floats] = []
        self.factors_ = np.zeros(values.shape[1])
        self.out_of_fold_: Floats = np.zeros_like(values)
        for target in range(values.shape[1]):
            columns = self._columns(made, self.link_.out_of_fold_, target)
            right = values[:, target] - self.mean_[target]
            weights, honest = weigh(columns, right, folds)
            if len(self.members_) > len(self._members):
                alone = self._alone(columns.shape[1])
                if not surely_better(honest, columns @ alone, right, DOUBT_OF_TEXT):
                    honest, weights = columns @ alone, alone
            many = target > 0 and values.shape[1] > 2
            factor = worth(honest, right, GATE_OF_MANY if many else GATE)
            self.factors_[target] = factor if many else max(factor, LEAST)
            self.weights_.append(weights)
            self.out_of_fold_[:, target] = self.mean_[target] + self.factors_[target] * honest
        return self

    def predict(self, inputs: Inputs) -> Floats:
        made = np.stack([member.predict(inputs) for member in self.members_])
        linked = self.link_.predict(self._level(made))
        columns = [
            self._columns(made, linked, target) @ weights * factor
            for target, (weights, factor) in enumerate(zip(self.weights_, self.factors_, strict=True))
        ]
        found: Floats = self.mean_ + np.stack(columns, axis=1)
        return found

    def _level(self, made: Floats) -> Floats:
        """(n,): what the members say of it in the mean."""
        level: Floats = made[:, :, 0].mean(axis=0) - self.mean_[0]
        return level

    def _columns(self, made: Floats, linked: Floats, target: int) -> Floats:
        own: Floats = made[:, :, target].T - self.mean_[target]
        return own if target == 0 else np.hstack([own, linked[:, target, None]])

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
