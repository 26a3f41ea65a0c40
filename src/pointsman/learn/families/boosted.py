"""Gradient boosting with symmetric trees (Friedman 2001; the trees are those of CatBoost, Prokhorenkova et al. 2018).

A tree asks the same question at every node of a level, so that a leaf is a number of `DEPTH` bits and a tree for all
targets is grown with one histogram a level. Columns are cut into `BINS` by quantiles once.
"""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from .base import Floats
from .inputs import Inputs
from .targets import Targets

BINS = 16
DEPTH = 3
ROUNDS = 160
RATE = 0.06
LEAF_PENALTY = 20.0
"""Prompts of value 0 that each leaf is thought to hold."""
SHARE = 0.7
"""Of the prompts that each tree sees."""
COLUMNS = 0.5
"""Of the columns that each tree may ask about."""
COMPONENTS = 24
"""Principal components of the embedding that trees see: rotated, one of them says more than a coordinate does."""
STOPS = (10, 20, 40, 70, 110, 160)
"""Rounds among which is chosen."""


class _Tree(NamedTuple):
    columns: NDArray[np.int64]
    cuts: NDArray[np.int64]
    values: Floats
    """(2^depth, q)."""


class BoostedRegressor:
    """Boosted symmetric trees for several targets; how many is chosen for each target by grouped folds."""

    def fit(self, inputs: Inputs, targets: Targets, *, folds: NDArray[np.int64], rng: np.random.Generator) -> Self:
        values = targets.values_
        self.centre_ = inputs.embedding.mean(axis=0)
        centred = inputs.embedding - self.centre_
        _, vectors = np.linalg.eigh(centred.T @ centred)
        self.components_ = vectors[:, ::-1][:, :COMPONENTS]
        columns = self._columns(inputs)
        quantiles = np.linspace(0, 1, BINS + 1)[1:-1]
        self.edges_ = [np.unique(np.quantile(column, quantiles)) for column in columns.T]
        binned = self._binned(columns)
        made = np.zeros((len(STOPS), *values.shape))
        for fold in range(int(folds.max()) + 1):
            out = folds == fold
            mean = values[~out].mean(axis=0) if (~out).any() else values.mean(axis=0)
            trees = _grown(binned[~out], values[~out] - mean, rng)
            for at, value in enumerate(_staged(trees, binned[out], values.shape[1])):
                made[at, out] = mean + value
        best = ((made - values) ** 2).mean(axis=1).argmin(axis=0)
        self.rounds_ = np.array(STOPS)[best]
        self.out_of_fold_: Floats = np.stack([made[at, :, q] for q, at in enumerate(best)], axis=1)
        self.mean_ = values.mean(axis=0)
        self.best_ = best
        self.trees_ = _grown(binned, values - self.mean_, rng)[: int(self.rounds_.max())]
        return self

    def predict(self, inputs: Inputs) -> Floats:
        binned = self._binned(self._columns(inputs))
        staged = list(_staged(self.trees_, binned, len(self.mean_)))
        found: Floats = self.mean_ + np.stack([staged[at][:, q] for q, at in enumerate(self.best_)], axis=1)
        return found

    def _columns(self, inputs: Inputs) -> Floats:
        return np.hstack([inputs.structure, inputs.attempt, (inputs.embedding - self.centre_) @ self.components_])

    def _binned(self, columns: Floats) -> NDArray[np.int64]:
        return np.stack(
            [
                np.searchsorted(edges, column, side="right")
                for edges, column in zip(self.edges_, columns.T, strict=True)
            ],
            axis=1,
        )


def _grown(binned: NDArray[np.int64], targets: Floats, rng: np.random.Generator) -> list[_Tree]:
    trees: list[_Tree] = []
    residual = targets.copy()
    rows, width = binned.shape
    sample, looked = max(int(rows * SHARE), 1), max(int(width * COLUMNS), 1)
    for _ in range(ROUNDS):
        some = rng.permutation(rows)[:sample]
        columns = rng.permutation(width)[:looked]
        tree = _tree(binned[some], residual[some], columns)
        trees.append(tree)
        residual -= tree.values[_leaves(tree, binned)]
    return trees


def _tree(binned: NDArray[np.int64], residual: Floats, columns: NDArray[np.int64]) -> _Tree:
    rows, outputs = residual.shape
    leaf = np.zeros(rows, dtype=np.int64)
    asked, cuts = [], []
    offsets = np.arange(len(columns)) * BINS
    cells = binned[:, columns] + offsets
    for level in range(DEPTH):
        leaves, size = 1 << level, len(columns) * BINS
        flat = (leaf[:, None] * size + cells).ravel()
        count = np.bincount(flat, minlength=leaves * size).reshape(leaves, len(columns), BINS)
        left_count = np.cumsum(count, axis=2)[:, :, :-1]
        right_count = count.sum(axis=2, keepdims=True) - left_count
        gain = np.zeros((len(columns), BINS - 1))
        for output in range(outputs):
            weight = np.repeat(residual[:, output], len(columns))
            sums = np.bincount(flat, weight, minlength=leaves * size).reshape(leaves, len(columns), BINS)
            left = np.cumsum(sums, axis=2)[:, :, :-1]
            right = sums.sum(axis=2, keepdims=True) - left
            gain += (left**2 / (left_count + LEAF_PENALTY) + right**2 / (right_count + LEAF_PENALTY)).sum(axis=0)
        column, cut = np.unravel_index(int(gain.argmax()), gain.shape)
        asked.append(int(columns[column]))
        cuts.append(int(cut))
        leaf = leaf + ((binned[:, columns[column]] > cut).astype(np.int64) << level)
    count = np.bincount(leaf, minlength=1 << DEPTH)
    values = np.stack(
        [np.bincount(leaf, residual[:, output], minlength=1 << DEPTH) for output in range(outputs)], axis=1
    )
    return _Tree(np.array(asked), np.array(cuts), RATE * values / (count + LEAF_PENALTY)[:, None])


def _leaves(tree: _Tree, binned: NDArray[np.int64]) -> NDArray[np.int64]:
    bits = binned[:, tree.columns] > tree.cuts
    found: NDArray[np.int64] = bits @ (1 << np.arange(len(tree.columns)))
    return found


def _staged(trees: list[_Tree], binned: NDArray[np.int64], outputs: int) -> list[Floats]:
    """The sums after each of `STOPS`."""
    total = np.zeros((len(binned), outputs))
    found = []
    for number, tree in enumerate(trees, 1):
        total = total + tree.values[_leaves(tree, binned)]
        if number in STOPS:
            found.append(total)
    return found + [total] * (len(STOPS) - len(found))
