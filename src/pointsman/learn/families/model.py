"""A learner of several targets as a family: reads prompts, makes targets of scores, and turns predictions back.

Targets have a mean of 0, so that beyond the nearness gate every prompt is given the models' means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from pointsman.core.errors import InvalidRequest

from .base import Floats, Prompts
from .folds import grouped_folds
from .inputs import InputReader
from .nearness import Nearness
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
        inputs = self.reader_(prompts)
        self.nearness_ = Nearness().fit(inputs.embedding, inputs.traits)
        # with a single group nothing can be held out, and what cannot be checked is not believed
        self.regressor_: Regressor | None = None
        if folds.max() > 0:
            self.regressor_ = self._make().fit(inputs, self.targets_, folds=folds, rng=rng)
        return self

    def predict(self, prompts: Prompts) -> Floats:
        """
        Raises:
            InvalidRequest: features that make no sense.
        """
        inputs = self.reader_(prompts)
        if self.regressor_ is None:
            return self.targets_.back(np.zeros((len(prompts), self.targets_.values_.shape[1])))
        gate = self.nearness_(inputs.embedding, inputs.traits)
        return self.targets_.back(gate[:, None] * self.regressor_.predict(inputs))
