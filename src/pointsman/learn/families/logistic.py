"""Logistic regression with a Gaussian prior, by minorisation.

The weights minimise Σ c · ℓ(y, σ(z·w + b)) + λ/2 ‖w‖² with ℓ the log loss, y in [0, 1] (a grade counts as that share
of a success) and c a weight. The curvature of ℓ is at most 1/4, so that w ← w − (ZᵀCZ/4 + Λ)⁻¹ · gradient never rises
(Böhning 1992): one matrix is inverted for all models, and no step needs a search. The intercept has a tiny penalty of
its own, so that outcomes of one class have a solution too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .base import Floats
from .inputs import Inputs
from .ridge import linear_space
from .targets import Targets

PENALTIES = (10_000.0, 3_000.0, 1_000.0, 300.0, 100.0, 30.0, 10.0)
"""For rows whose columns have a mean square of 1: with a thousand prompts the third is usual."""
INTERCEPT = 0.1
STEPS = 60
ENOUGH = 1e-5


class Line(NamedTuple):
    """logit P = z·weights + bias."""

    weights: Floats
    bias: float

    def __call__(self, rows: Floats) -> Floats:
        """(n,) probabilities."""
        return sigmoid(rows @ self.weights + self.bias)


def sigmoid(logits: Floats) -> Floats:
    """Without overflow."""
    found: Floats = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return found


def log_loss(made: Floats, outcomes: Floats, counts: Floats | None = None) -> float:
    """Mean log loss of probabilities, which are kept a millionth from 0 and 1."""
    inside = np.clip(made, 1e-6, 1 - 1e-6)
    losses = -(outcomes * np.log(inside) + (1 - outcomes) * np.log(1 - inside))
    return float(np.average(losses, weights=counts))


def fit_lines(
    rows: Floats, outcomes: Floats, penalty: float, *, counts: Floats | None = None, offset: Floats | None = None
) -> list[Line]:
    """
    Args:
        rows: (n, d).
        outcomes: (n, m), in [0, 1]; NaN does not count.
        counts: (n,), how much each counts; None: 1.
        offset: (n,), of the logits; None: 0.

    Returns:
        a line for each column of the outcomes.
    """
    design = np.hstack([rows, np.ones((len(rows), 1))])
    known = np.logical_not(np.isnan(outcomes))
    weights = known * (np.ones(len(rows)) if counts is None else counts)[:, None]
    outcomes = np.where(known, outcomes, 0.0)
    start = np.zeros(len(rows)) if offset is None else offset
    bound = (design * (0.25 * weights.max(axis=1, initial=0.0))[:, None]).T @ design
    penalties = np.full(design.shape[1], penalty)
    penalties[-1] = INTERCEPT
    bound[np.diag_indices_from(bound)] += penalties
    inverse = np.linalg.inv(bound)
    found = np.zeros((design.shape[1], outcomes.shape[1]))
    for _ in range(STEPS):
        made = sigmoid(design @ found + start[:, None])
        step = inverse @ (design.T @ (weights * (made - outcomes)) + penalties[:, None] * found)
        found -= step
        if float(np.abs(step).max(initial=0.0)) < ENOUGH:
            break
    return [Line(column[:-1], float(column[-1])) for column in found.T]


class LogisticRegressor:
    """A logistic regression for each model, on the embedding, the structure and the attempt.

    Args:
        penalties: from which one is chosen for all models, by log loss on the folds.
    """

    def __init__(self, penalties: Sequence[float] = PENALTIES) -> None:
        self._penalties = tuple(penalties)

    def fit(self, inputs: Inputs, targets: Targets, *, folds: NDArray[np.int64], rng: np.random.Generator) -> Self:
        self.targets_ = targets
        scores = targets.scores_
        raw = linear_space(inputs)
        self.centre_ = raw.mean(axis=0)
        self.scale_ = float(np.sqrt(((raw - self.centre_) ** 2).mean())) or 1.0
        rows = (raw - self.centre_) / self.scale_
        made = np.zeros((len(self._penalties), *scores.shape))
        for at, penalty in enumerate(self._penalties):
            for fold in range(int(folds.max()) + 1):
                out = folds == fold
                made[at, out] = _chances(fit_lines(rows[~out], scores[~out], penalty), rows[out])
        known = np.logical_not(np.isnan(scores))
        best = int(np.argmin([log_loss(chances[known], scores[known]) for chances in made]))
        self.penalty_ = self._penalties[best]
        self.out_of_fold_: Floats = targets.of(made[best])
        self.lines_ = fit_lines(rows, scores, self.penalty_)
        return self

    def predict(self, inputs: Inputs) -> Floats:
        return self.targets_.of(_chances(self.lines_, (linear_space(inputs) - self.centre_) / self.scale_))


def _chances(lines: Sequence[Line], rows: Floats) -> Floats:
    return np.stack([line(rows) for line in lines], axis=1)
