"""Ridge on TF-IDF rows, solved by conjugate gradients: nothing larger than the sparse rows is ever made."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from .base import Floats
from .inputs import Inputs
from .lexicon import Lexicon, Sparse
from .regressors import best_of
from .targets import Targets

PENALTIES = (100.0, 40.0, 20.0, 10.0, 5.0)
DENSE = 1_500
"""Prompts up to which the kernel is made whole, and solved exactly for all targets at once."""
STEPS = 12
"""Of conjugate gradients. Stopping early shrinks too, in the same direction as the penalty."""


class LexicalRegressor:
    """Args:
    pieces: as `Lexicon` takes them.
    """

    def __init__(self, *, pieces: tuple[int, int] = (0, 0)) -> None:
        self._pieces = pieces

    def fit(self, inputs: Inputs, targets: Targets, *, folds: NDArray[np.int64], rng: np.random.Generator) -> Self:
        values = targets.values_
        self.lexicon_ = Lexicon(pieces=self._pieces)
        rows = self.lexicon_.fit(inputs.texts)
        whole = rows.kernel() if len(values) <= DENSE else None
        made = np.zeros((len(PENALTIES), *values.shape))
        for fold in range(int(folds.max()) + 1):
            out = np.flatnonzero(folds == fold)
            rest = np.flatnonzero(folds != fold)
            mean = values[rest].mean(axis=0) if len(rest) else values.mean(axis=0)
            if whole is not None:
                inside, across = whole[np.ix_(rest, rest)], whole[np.ix_(out, rest)]
                for at, penalty in enumerate(PENALTIES):
                    made[at, out] = mean + across @ _dual(inside, values[rest] - mean, penalty)
            else:
                part, outside = rows.pick(rest), rows.pick(out)
                for at, penalty in enumerate(PENALTIES):
                    made[at, out] = mean + outside @ conjugate_gradients(part, values[rest] - mean, penalty)
        chosen = best_of(made, values)
        self.penalty_ = np.array(PENALTIES)[chosen]
        self.out_of_fold_: Floats = np.stack([made[at, :, q] for q, at in enumerate(chosen)], axis=1)
        self.mean_ = values.mean(axis=0)
        self.weights_ = np.zeros((rows.shape[1], values.shape[1]))
        for penalty in set(self.penalty_.tolist()):
            these = self.penalty_ == penalty
            right = values[:, these] - self.mean_[these]
            self.weights_[:, these] = (
                conjugate_gradients(rows, right, penalty)
                if whole is None
                else rows.transposed_times(_dual(whole, right, penalty))
            )
        return self

    def predict(self, inputs: Inputs) -> Floats:
        found: Floats = self.mean_ + self.lexicon_(inputs.texts) @ self.weights_
        return found


def _dual(kernel: Floats, targets: Floats, penalty: float) -> Floats:
    # single precision: with a penalty of at least 5 and rows of length √2 the condition is that of a few hundred
    shifted = kernel.astype(np.float32)
    shifted[np.diag_indices_from(shifted)] += np.float32(penalty)
    found: Floats = np.linalg.solve(shifted, targets.astype(np.float32)).astype(np.float64)
    return found


def conjugate_gradients(rows: Sparse, targets: Floats, penalty: float, steps: int = STEPS) -> Floats:
    """(d, q) minimising ‖Zw − y‖² + λ‖w‖², by conjugate gradients on the dual (ZZᵀ + λI)a = y, w = Zᵀa
    (Hestenes and Stiefel 1952)."""
    weights = np.zeros_like(targets)
    residual = targets.copy()
    direction = residual.copy()
    square = (residual**2).sum(axis=0)
    for _ in range(steps):
        image = rows @ rows.transposed_times(direction) + penalty * direction
        length = square / np.maximum((direction * image).sum(axis=0), 1e-300)
        weights += length * direction
        residual -= length * image
        after = (residual**2).sum(axis=0)
        if float(after.max(initial=0.0)) < 1e-10:
            break
        direction = residual + after / np.maximum(square, 1e-300) * direction
        square = after
    return rows.transposed_times(weights)
