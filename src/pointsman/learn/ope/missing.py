"""The chance that an answer is judged at all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .bandit import Floats

PENALTY = 1.0
"""Of each coefficient but the first, in observations: rare intents and arms are judged as often as others."""
STEPS = 25
LEAST = 0.01
"""No chance is taken to be less, or one judged answer would stand for hundreds."""


def seen_chance(judged: NDArray[np.bool_], *words: Sequence[str]) -> Floats:
    """(n,): P(judged | words), by a logistic regression on one indicator for each word, found by Newton's steps
    (iteratively reweighted least squares), with a ridge.

    Weighing by its inverse mends figures where some kinds of requests, or some arms, are judged more often than others
    (Horvitz and Thompson 1952), not where the judging hangs on how good the answer was.

    Args:
        judged: (n,).
        words: columns of n words each, such as intents and arms.
    """
    columns = [np.ones(len(judged))]
    for column in words:
        names, places = np.unique(np.asarray(column), return_inverse=True)
        columns += [(places == number).astype(np.float64) for number in range(len(names))]
    x = np.stack(columns, axis=1)
    ridge = np.diag([1e-6, *[PENALTY] * (x.shape[1] - 1)])
    beta = np.zeros(x.shape[1])
    chance = np.full(len(judged), 0.5)
    for _ in range(STEPS):
        chance = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        slope = x.T @ (judged - chance) - ridge @ beta
        step = np.linalg.solve((x * (chance * (1 - chance))[:, None]).T @ x + ridge, slope)
        beta += step
        if np.abs(step).max() < 1e-8:
            break
    found: Floats = np.clip(1 / (1 + np.exp(-np.clip(x @ beta, -30, 30))), LEAST, 1.0)
    return found
