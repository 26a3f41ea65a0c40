"""What reward was to be expected of each arm for each request: the model inside the doubly robust estimate."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from .bandit import Bandit, Floats, Integers

SHRINKAGE = 3.0
"""Observations' worth of belief in what was expected beforehand, for each coefficient: the variance of a reward over
that of a coefficient, about 0.25 over 0.3²."""
FOLDS = 5


class CrossFitted:
    """A ridge regression an arm on what the reward departs by from what was expected of it, each decision predicted by
    models that never saw it or its cluster (Chernozhukov et al. 2018).

        q(x, a) = expected(x, a) + φ(x)·θ_a,   θ_a = (λI + Σ b φφᵀ)⁻¹ Σ b φ (r − expected)

    over the decisions in which `a` was pulled, `b` their belief. An arm that was hardly pulled keeps what was expected.

    Args:
        shrinkage: λ.
        folds: parts that the decisions are dealt into.
    """

    predicted_: Floats
    """(n, k): the reward expected of each arm for each decision that was fitted on."""
    fold_: Integers
    """(n,): the part that each is in."""
    theta_: Floats
    """(folds, k, d): the coefficients that the decisions of a part are predicted with."""

    def __init__(self, *, shrinkage: float = SHRINKAGE, folds: int = FOLDS) -> None:
        self.shrinkage = shrinkage
        self.folds = folds

    def fit(self, log: Bandit, rng: np.random.Generator) -> Self:
        k, phi = log.logging.shape[1], log.contexts
        d = phi.shape[1]
        belief = log.judged * (1.0 if log.belief is None else log.belief)
        rewards = log.known_rewards
        usual = float(belief @ rewards / belief.sum()) if belief.any() else 0.0
        expected = np.where(np.isfinite(log.expected), log.expected, usual)
        self._departs = belief * (rewards - log.taken(expected))
        self._belief = belief
        self.fold_ = self._deal(log, rng)
        grams, moments = np.zeros((self.folds, k, d, d)), np.zeros((self.folds, k, d))
        for part in range(self.folds):
            for arm in range(k):
                rows = np.flatnonzero((self.fold_ == part) & (log.actions == arm) & log.judged)
                if rows.size:
                    mine = phi[rows]
                    grams[part, arm] = mine.T @ (mine * belief[rows, None])
                    moments[part, arm] = mine.T @ self._departs[rows]
        self._others = grams.sum(axis=0) - grams + self.shrinkage * np.eye(d)
        self.theta_ = np.linalg.solve(self._others, (moments.sum(axis=0) - moments)[..., None])[..., 0]
        predicted = expected.copy()
        for part in range(self.folds):
            rows = np.flatnonzero(self.fold_ == part)
            predicted[rows] += phi[rows] @ self.theta_[part].T
        self.predicted_ = np.clip(predicted, *log.possible)
        return self

    def echo(self, log: Bandit, pull: Floats) -> Floats:
        """How much each decision moves an estimate through the coefficients that it helped to fit, times n.

        Args:
            log: the one that was fitted on.
            pull: (n, k), the derivative of the estimate in `predicted_`.
        """
        phi, moved = log.contexts, np.zeros(len(log))
        for part in range(self.folds):
            mine = self.fold_ == part
            pulls = np.linalg.solve(self._others[part], (pull[mine].T @ phi[mine])[..., None])[..., 0]
            rows = np.flatnonzero(~mine & log.judged)
            arms = log.actions[rows]
            left = self._departs[rows] - self._belief[rows] * np.einsum("nd,nd->n", phi[rows], self.theta_[part][arms])
            moved[rows] += np.einsum("nd,nd->n", phi[rows], pulls[arms]) * left
        return moved * len(log)

    def _deal(self, log: Bandit, rng: np.random.Generator) -> NDArray[np.intp]:
        """(n,): which part each decision is in; those of one cluster are in the same."""
        places = np.arange(len(log)) if log.clusters is None else np.unique(log.clusters, return_inverse=True)[1]
        dealt = rng.permutation(int(places.max()) + 1) % self.folds
        parts: NDArray[np.intp] = dealt[places]
        return parts
