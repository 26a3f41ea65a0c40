"""The mean of a model over the prompts of the same category, as the data labels them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from pointsman.learn.families.base import Floats, Prompts

from .constant import means

STRENGTH = 10.0
"""Prompts that a model's overall mean counts for in each category."""


class Category:
    """P(success) = (Σ outcomes in the category + STRENGTH · overall mean) / (count + STRENGTH): what a person would
    write into a table of tasks and models."""

    def fit(self, prompts: Prompts, scores: Floats, *, groups: Sequence[str], rng: np.random.Generator) -> Self:
        self.overall_ = means(scores)
        self.means_: dict[str, Floats] = {}
        labels = np.asarray(prompts.categories or ("",) * len(prompts), dtype=np.str_)
        for label in np.unique(labels):
            inside = scores[labels == label]
            known = np.isfinite(inside)
            total = np.where(known, inside, 0.0).sum(axis=0) + STRENGTH * self.overall_
            self.means_[str(label)] = total / (known.sum(axis=0) + STRENGTH)
        return self

    def predict(self, prompts: Prompts) -> Floats:
        labels = prompts.categories or ("",) * len(prompts)
        return np.array([self.means_.get(label, self.overall_) for label in labels]).reshape(len(prompts), -1)
