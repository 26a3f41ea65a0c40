"""Logistic regression on the prompt's words, weighted by TF-IDF."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pointsman.learn.families.base import Floats, Prompts

from .descent import sigmoid
from .penalised import fit_penalised

PENALTIES = (0.01, 0.003, 0.001, 0.0003)
VOCABULARY = 1500
LEAST_PROMPTS = 3
READ = 4_000
"""Characters of a prompt that are read."""
_WORD = re.compile(r"[a-z_]{2,}|[0-9]+|[^\sa-z0-9]")


class Words:
    """P(success) = σ(x·w + b), x = log(1 + tf) · log(n / df) of the `VOCABULARY` most widely used words and pairs of
    neighbours, scaled to length one (Salton & Buckley 1988); the penalty by inner cross-validation."""

    def fit(self, prompts: Prompts, scores: Floats, *, groups: Sequence[str], rng: np.random.Generator) -> Self:
        counted = [_counted(text) for text in prompts.texts]
        spread: Counter[str] = Counter()
        for terms in counted:
            spread.update(terms.keys())
        most = 0.9 * len(counted)
        usual = sorted(
            (term for term, held in spread.items() if LEAST_PROMPTS <= held <= most),
            key=lambda term: (-spread[term], term),
        )[:VOCABULARY]
        self.place_ = {term: place for place, term in enumerate(usual)}
        self.rarity_ = np.log(len(counted) / np.array([spread[term] for term in usual], dtype=np.float64))
        inputs = self._vectors(counted)
        self.penalty_, self.weights_ = fit_penalised(inputs, scores, PENALTIES, _chances, groups=groups, rng=rng)
        return self

    def predict(self, prompts: Prompts) -> Floats:
        return _chances(self._vectors([_counted(text) for text in prompts.texts]), self.weights_)

    def _vectors(self, counted: list[Counter[str]]) -> NDArray[np.float32]:
        vectors = np.zeros((len(counted), len(self.place_)), np.float32)
        for row, terms in enumerate(counted):
            for term, count in terms.items():
                place = self.place_.get(term)
                if place is not None:
                    vectors[row, place] = count
        np.log1p(vectors, out=vectors)
        vectors *= self.rarity_.astype(np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        scaled: NDArray[np.float32] = vectors / np.maximum(lengths, 1e-6)
        return scaled


def _counted(text: str) -> Counter[str]:
    words = _WORD.findall(text[:READ].lower())
    found = Counter(words)
    found.update(f"{one} {other}" for one, other in pairwise(words))
    return found


def _chances(inputs: NDArray[np.float32], weights: Floats) -> Floats:
    return sigmoid((inputs @ weights[:-1].astype(np.float32)).astype(np.float64) + weights[-1])
