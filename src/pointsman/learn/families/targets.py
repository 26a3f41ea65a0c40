"""Scores as targets: how hard the prompt is for all, and what sets the models apart.

With Y the scores, each model's mean taken off, a prompt's *level* is its mean over the models, and what is left are
*deviations*, of which only the leading directions are kept (principal components): outcomes of
models share their causes, so that every model's labels help to predict every other's. Choosing a model depends on
deviations alone; each target is predicted with a shrinkage of its own.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from pointsman.core.errors import InvalidRequest

from .base import Floats

DIRECTIONS = 5
"""At most so many deviations are predicted."""


class Targets:
    """(n, m) scores to (n, q) targets and back; the first is the level."""

    def fit(self, scores: Floats) -> Self:
        """
        Raises:
            InvalidRequest: no scores, or one outside of [0, 1].
        """
        if scores.ndim != 2 or 0 in scores.shape:
            raise InvalidRequest(f"Scores must be prompts by models, not {scores.shape}.")
        known = np.logical_not(np.isnan(scores))
        if not ((scores[known] >= 0) & (scores[known] <= 1)).all():
            raise InvalidRequest("Scores must lie in [0, 1].")
        count = known.sum(axis=0)
        # a model without any outcome is taken for the average one
        whole = float(scores[known].mean()) if known.any() else 0.5
        self.mean_ = np.where(count > 0, np.where(known, scores, 0.0).sum(axis=0) / np.maximum(count, 1), whole)
        self.scores_: Floats = np.where(count > 0, scores, self.mean_)
        level, deviations = self._parts(scores)
        _, directions = np.linalg.eigh(deviations.T @ deviations)
        self.directions_ = directions.T[::-1][: min(DIRECTIONS, max(scores.shape[1] - 1, 0))]
        self.values_: Floats = np.hstack([level[:, None], deviations @ self.directions_.T])
        return self

    def _parts(self, scores: Floats) -> tuple[Floats, Floats]:
        known = np.logical_not(np.isnan(scores))
        centred = np.where(known, scores - self.mean_, 0.0)
        level = centred.sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        # where an outcome is missing the model is taken to deviate by nothing
        return level, np.where(known, centred - level[:, None], 0.0)

    def of(self, chances: Floats) -> Floats:
        """(n, m) probabilities to (n, q) targets."""
        level, deviations = self._parts(chances)
        values: Floats = np.hstack([level[:, None], deviations @ self.directions_.T])
        return values

    def back(self, values: Floats) -> Floats:
        """(n, q) predicted targets to (n, m) probabilities."""
        made = self.mean_ + values[:, :1] + values[:, 1:] @ self.directions_
        # a row that leaves [0, 1] is moved whole as far as it can be: clipping one model would change the gaps
        made = made - np.maximum(made.max(axis=1, keepdims=True) - 1.0, 0.0)
        made = made + np.maximum(-made.min(axis=1, keepdims=True), 0.0)
        inside: Floats = np.clip(made, 0.0, 1.0)
        return inside
