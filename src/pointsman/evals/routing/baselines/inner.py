"""Inner splits: how a baseline chooses its one setting from the training part alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pointsman.evals.routing.resampling import folds_of

Floats = NDArray[np.float64]

SPLITS = 3
FEWEST = 30
"""Below this many prompts the middle setting is taken unseen."""


def best_setting(
    settings: Sequence[float],
    scores: Floats,
    groups: Sequence[str],
    rng: np.random.Generator,
    predicted: Callable[[NDArray[np.int64], NDArray[np.int64]], Iterator[Floats]],
) -> float:
    """The setting with the least squared error on prompts that were held out, by group.

    Args:
        predicted: what each setting, in their order, predicts for the second rows when fitted on the first.
    """
    if len(scores) < FEWEST:
        return settings[len(settings) // 2]
    folds = folds_of(groups, SPLITS, int(rng.integers(2**31)))
    losses = np.zeros(len(settings))
    for fold in np.unique(folds):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        if not len(train):
            continue
        for place, chances in enumerate(predicted(train, test)):
            losses[place] += float(np.nansum((chances - scores[test]) ** 2))
    return settings[int(np.argmin(losses))]
