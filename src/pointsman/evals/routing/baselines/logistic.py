"""Logistic regression on the feature vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pointsman.learn.families.base import Floats, Prompts

from .descent import sigmoid
from .penalised import fit_penalised

PENALTIES = (3.0, 0.3, 0.03, 0.003)
"""From strong to weak: a fit starts where the last one ended."""


class Logistic:
    """P(success) = σ(x·w + b) for each model, on standardised features and, after an attempt, the logarithms of what it
    took; the ridge penalty by inner cross-validation."""

    def fit(self, prompts: Prompts, scores: Floats, *, groups: Sequence[str], rng: np.random.Generator) -> Self:
        raw = _inputs(prompts)
        self.centre_ = raw.mean(axis=0)
        self.scale_ = np.maximum(raw.std(axis=0), 1e-3)
        self.penalty_, self.weights_ = fit_penalised(
            self._standard(raw), scores, PENALTIES, _chances, groups=groups, rng=rng
        )
        return self

    def predict(self, prompts: Prompts) -> Floats:
        return _chances(self._standard(_inputs(prompts)), self.weights_)

    def _standard(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        scaled: NDArray[np.float32] = np.clip((raw - self.centre_) / self.scale_, -6, 6).astype(np.float32)
        return scaled


def _inputs(prompts: Prompts) -> NDArray[np.float32]:
    if prompts.attempt is None:
        return prompts.features
    return np.concatenate([prompts.features, np.log1p(prompts.attempt)], axis=1).astype(np.float32)


def _chances(inputs: NDArray[np.float32], weights: Floats) -> Floats:
    return sigmoid(inputs.astype(np.float64) @ weights[:-1] + weights[-1])
