"""How near a prompt is to those that were learned from: 1 for what is known, 0 for what nothing is known of.

Two things tell. The mean cosine distance to the `NEIGHBOURS` nearest training prompts: the gate falls from 1 to 0
between the quantiles `INNER` and `OUTER` of the same distance among training prompts themselves. And form: a trait that
(nearly) every training prompt has, such as options to choose from, and this one has not, closes the gate: short
questions lie near each other whatever is asked of them. Routers do not transfer between domains; a prompt beyond the
gate gets the models' means.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from .base import Floats

NEIGHBOURS = 5
INNER, OUTER = 0.95, 0.999
ENOUGH = 200
"""Training prompts below which their traits in common may be chance."""
COMMON = 0.995
"""Share of the training prompts that have a trait which all are thought to have: a few are always read wrongly."""
BLOCK = 1_000
"""Prompts whose similarities are held at a time."""


class Nearness:
    """The gate of each prompt.

    `fit` takes embeddings of unit length and structure as it was read, not standardised.
    """

    def fit(self, embedding: Floats, structure: Floats) -> Self:
        self.embedding_ = embedding
        distances = self._distances(embedding, skip=1)
        self.inner_ = float(np.quantile(distances, INNER))
        self.outer_ = max(float(np.quantile(distances, OUTER)), self.inner_ * 1.1 + 1e-6)
        common = (structure > 0).mean(axis=0) >= COMMON
        self.common_ = np.flatnonzero(common) if len(structure) >= ENOUGH else np.zeros(0, dtype=np.int64)
        return self

    def __call__(self, embedding: Floats, structure: Floats) -> Floats:
        """(n,), in [0, 1]."""
        gate = (self.outer_ - self._distances(embedding, skip=0)) / (self.outer_ - self.inner_)
        alike = (structure[:, self.common_] > 0).all(axis=1)
        found: Floats = np.clip(gate, 0.0, 1.0) * alike
        return found

    def _distances(self, embedding: Floats, skip: int) -> Floats:
        """Args:
        skip: of the nearest prompts, as many: a training prompt is its own nearest."""
        count = min(NEIGHBOURS + skip, len(self.embedding_))
        found = np.zeros(len(embedding))
        known = self.embedding_.astype(np.float32)
        for start in range(0, len(embedding), BLOCK):
            likeness = embedding[start : start + BLOCK].astype(np.float32) @ known.T
            top = np.sort(np.partition(likeness, len(known) - count, axis=1)[:, len(known) - count :], axis=1)
            near = top[:, : count - skip] if count > skip else top
            found[start : start + BLOCK] = 1 - near.mean(axis=1)
        return found
