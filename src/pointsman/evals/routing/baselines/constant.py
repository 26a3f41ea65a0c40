"""Each model's mean, whatever the prompt: a router that mixes single models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from pointsman.learn.families.base import Floats, Prompts


class Constant:
    """P(success) = the model's mean over the training prompts. With two models it can only choose at random, with
    more it traces the hull of the single models."""

    def fit(self, prompts: Prompts, scores: Floats, *, groups: Sequence[str], rng: np.random.Generator) -> Self:
        self.means_ = means(scores)
        return self

    def predict(self, prompts: Prompts) -> Floats:
        return np.tile(self.means_, (len(prompts), 1))


def means(scores: Floats) -> Floats:
    """(m,): of the outcomes that are known; one half for a model without any."""
    known = np.isfinite(scores)
    counts = known.sum(axis=0)
    found: Floats = np.where(counts > 0, np.where(known, scores, 0.0).sum(axis=0) / np.maximum(counts, 1), 0.5)
    return found
