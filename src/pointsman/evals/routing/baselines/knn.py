"""The mean over the nearest prompts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pointsman.core.features import EMBEDDED
from pointsman.learn.families.base import Floats, Prompts

from .constant import means
from .inner import best_setting

NEIGHBOURS = (5.0, 10.0, 20.0, 40.0, 80.0)
AT_ONCE = 512


class Nearest:
    """P(success) = the mean outcome of the k training prompts with the greatest cosine of embeddings; k by inner
    cross-validation. RouterBench's KNN router (arXiv 2403.12031), and the strongest simple one of several studies."""

    def fit(self, prompts: Prompts, scores: Floats, *, groups: Sequence[str], rng: np.random.Generator) -> Self:
        self.vectors_ = _units(prompts)
        self.scores_ = scores

        def predicted(train: NDArray[np.int64], test: NDArray[np.int64]) -> Iterator[Floats]:
            return iter(_averaged(self.vectors_[train], scores[train], self.vectors_[test], NEIGHBOURS))

        self.k_ = best_setting(NEIGHBOURS, scores, groups, rng, predicted)
        return self

    def predict(self, prompts: Prompts) -> Floats:
        return _averaged(self.vectors_, self.scores_, _units(prompts), (self.k_,))[0]


def _units(prompts: Prompts) -> NDArray[np.float32]:
    vectors = prompts.features[:, :EMBEDDED]
    units: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return units


def _averaged(
    seen: NDArray[np.float32], scores: Floats, asked: NDArray[np.float32], counts: Sequence[float]
) -> list[Floats]:
    most = min(int(max(counts)), len(seen))
    overall = means(scores)
    found = [np.empty((len(asked), scores.shape[1])) for _ in counts]
    for start in range(0, len(asked), AT_ONCE):
        here = slice(start, start + AT_ONCE)
        close = asked[here] @ seen.T
        top = np.argpartition(-close, most - 1, axis=1)[:, :most]
        order = np.argsort(-np.take_along_axis(close, top, axis=1), axis=1, kind="stable")
        outcomes = scores[np.take_along_axis(top, order, axis=1)]
        known = np.isfinite(outcomes)
        sums, seen_of = np.cumsum(np.where(known, outcomes, 0.0), axis=1), np.cumsum(known, axis=1)
        for place, count in enumerate(counts):
            last = min(int(count), most) - 1
            some = seen_of[:, last]
            found[place][here] = np.where(some > 0, sums[:, last] / np.maximum(some, 1), overall)
    return found
