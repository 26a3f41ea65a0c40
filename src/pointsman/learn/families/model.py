"""A learner of several targets as a family: reads prompts, makes targets of scores, and turns predictions back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from pointsman.core.errors import InvalidRequest

from .base import Floats, Prompts
from .folds import grouped_folds
from .inputs import InputReader
from .regressors import Regressor
from .targets import Targets

MANY = 3_000
"""Prompts from which three inner folds do: what a fold leaves out no longer matters much."""


class Model:
    """A family around a learner.

    Args:
        make: a learner that was not fitted.
    """

    def __init__(self, make: Callable[[], Regressor]) -> None:
        self._make = make

    def fit(self, prompts: Prompts, scores: Floats, *, groups: Sequence[str], rng: np.random.Generator) -> Self:
        """
        Raises:
            InvalidRequest: features or scores that make no sense, or of other lengths; says which.
        """
        if not len(prompts) == len(scores) == len(groups):
            raise InvalidRequest(f"{len(prompts)} prompts, {len(scores)} rows of scores and {len(groups)} groups.")
        self.reader_ = InputReader().fit(prompts)
        self.targets_ = Targets().fit(scores)
        folds = grouped_folds(groups, 3 if len(prompts) > MANY else 5, rng)
        self.regressor_ = self._make().fit(self.reader_(prompts), self.targets_.values_, folds=folds, rng=rng)
        return self

    def predict(self, prompts: Prompts) -> Floats:
        """
        Raises:
            InvalidRequest: features that make no sense.
        """
        return self.targets_.back(self.regressor_.predict(self.reader_(prompts)))
