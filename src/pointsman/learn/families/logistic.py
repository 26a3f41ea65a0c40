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

from pointsman.core.errors import InvalidRequest

from .base import Floats, Prompts
from .folds import grouped_folds
from .inputs import InputReader
from .ridge import linear_space

PENALTIES = (300.0, 100.0, 30.0, 10.0, 3.0)
"""For rows whose columns have a mean square of 1."""
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


class Logistic:
    """A logistic regression for each model, on the embedding, the structure and the attempt.

    Args:
        penalties: from which one is chosen by log loss on grouped folds.
    """

    def __init__(self, penalties: Sequence[float] = PENALTIES) -> None:
        self._penalties = tuple(penalties)

    def fit(self, prompts: Prompts, scores: Floats, *, groups: Sequence[str], rng: np.random.Generator) -> Self:
        """
        Raises:
            InvalidRequest: features or scores that make no sense, or of other lengths; says which.
        """
        if not len(prompts) == len(scores) == len(groups):
            raise InvalidRequest(f"{len(prompts)} prompts, {len(scores)} rows of scores and {len(groups)} groups.")
        self.reader_ = InputReader().fit(prompts)
        raw = linear_space(self.reader_(prompts))
        self.centre_ = raw.mean(axis=0)
        self.scale_ = float(np.sqrt(((raw - self.centre_) ** 2).mean())) or 1.0
        rows = (raw - self.centre_) / self.scale_
        folds = grouped_folds(groups, 3, rng)
        losses = np.zeros(len(self._penalties))
        for at, penalty in enumerate(self._penalties):
            for fold in range(int(folds.max()) + 1):
                out = folds == fold
                lines = fit_lines(rows[~out], scores[~out], penalty)
                losses[at] += sum(map(_lost, (line(rows[out]) for line in lines), scores[out].T))
        self.penalty_ = self._penalties[int(losses.argmin())]
        # a model without any outcome is taken for the average one
        average = float(np.nanmean(scores)) if np.isfinite(scores).any() else 0.5
        without = np.isnan(scores).all(axis=0)
        self.lines_ = fit_lines(rows, np.where(without, average, scores), self.penalty_)
        return self

    def predict(self, prompts: Prompts) -> Floats:
        """
        Raises:
            InvalidRequest: features that make no sense.
        """
        rows = (linear_space(self.reader_(prompts)) - self.centre_) / self.scale_
        return np.stack([line(rows) for line in self.lines_], axis=1)


def _lost(made: Floats, outcomes: Floats) -> float:
    known = np.logical_not(np.isnan(outcomes))
    return float(known.sum()) * log_loss(made[known], outcomes[known]) if known.any() else 0.0
