"""Folds that hang on a key alone, and the paired bootstrap over groups."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_GROUPS = 10
"""Fewer groups are no sample to draw an interval from."""
LEAST_FINITE = 0.9
"""Share of replicates that must have a figure for it to have an interval."""


def folds_of(groups: Sequence[str], folds: int, seed: int) -> Ints:
    """(n,): the outer fold of each prompt, by a keyed hash of its group: the same wherever the prompt stands and
    whatever else is in the table. Few groups whose hashes all fall into one fold are dealt out in the hashes' order."""
    key = seed.to_bytes(8, "little", signed=True)
    hashes = {
        group: int.from_bytes(hashlib.blake2b(group.encode(), key=key, digest_size=8).digest(), "big")
        for group in set(groups)
    }
    found = {group: number % folds for group, number in hashes.items()}
    if len(set(found.values())) == 1:
        found = {group: rank % folds for rank, group in enumerate(sorted(hashes, key=hashes.__getitem__))}
    return np.array([found[group] for group in groups], dtype=np.int64)


def resampled(groups: Sequence[str], times: int, seed: int) -> Floats:
    """(times, n): how often each prompt is drawn when whole groups are, with replacement (Efron 1979).

    Every figure of a table is reckoned with the same draws, which is what makes differences paired.
    """
    names, place = np.unique(np.asarray(groups, dtype=np.str_), return_inverse=True)
    rng = np.random.default_rng([seed & 0xFFFFFFFF, len(names)])
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=times)
    counts: Floats = drawn[:, place].astype(np.float64)
    return counts


def interval(replicates: Floats) -> tuple[float, float] | None:
    """The 95 % percentile interval; None where too many replicates have no figure."""
    finite = replicates[np.isfinite(replicates)]
    if not len(replicates) or len(finite) < LEAST_FINITE * len(replicates):
        return None
    low, high = np.percentile(finite, (2.5, 97.5))
    return float(low), float(high)


def within(values: Floats, folds: Ints) -> Floats:
    """Each value's place among those of its fold, in (0, 1), ties in their middle.

    A figure over several folds puts rankings of several fits together. Their levels are not comparable: the fold that
    happens to hold the harder prompts was predicted by the fit that saw the easier ones.
    """
    places = np.empty(len(values))
    for fold in np.unique(folds):
        here = np.flatnonzero(folds == fold)
        _, inverse, counts = np.unique(values[here], return_inverse=True, return_counts=True)
        middle = np.cumsum(counts) - counts / 2
        places[here] = middle[inverse] / len(here)
    return places
