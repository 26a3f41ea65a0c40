"""Splits in which prompts of one group stay together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def grouped_folds(groups: Sequence[str], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold of each prompt, in [0, count): whole groups, dealt in random order to the fold that has fewest prompts.

    With fewer groups than folds there are as many folds as groups.
    """
    names, member = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sizes = np.bincount(member)
    folds = min(count, len(names))
    fold_of = np.empty(len(names), dtype=np.int64)
    filled = np.zeros(folds)
    for group in rng.permutation(len(names)):
        fold_of[group] = int(np.argmin(filled))
        filled[fold_of[group]] += sizes[group]
    found: NDArray[np.int64] = fold_of[member]
    return found
