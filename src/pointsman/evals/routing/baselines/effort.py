"""How long the weak model's own attempt took: the longer, the likelier it failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from pointsman.learn.families.base import Floats, Prompts

from .constant import means


class Effort:
    """Ranks by the first signal of the attempt (its number of calls) and nothing else: what is predicted of the
    second model is its mean, of the first its mean less as the attempt was longer than others."""

    def fit(self, prompts: Prompts, scores: Floats, *, groups: Sequence[str], rng: np.random.Generator) -> Self:
        self.means_ = means(scores)
        self.seen_ = np.sort(_first(prompts))
        return self

    def predict(self, prompts: Prompts) -> Floats:
        longer = np.searchsorted(self.seen_, _first(prompts)) / max(len(self.seen_), 1)
        found = np.tile(self.means_, (len(prompts), 1))
        found[:, 0] = np.clip(self.means_[0] + (0.5 - longer) * min(self.means_[0], 1 - self.means_[0]), 0, 1)
        return found


def _first(prompts: Prompts) -> Floats:
    if prompts.attempt is None:
        raise ValueError("there was no attempt")
    return prompts.attempt[:, 0]
