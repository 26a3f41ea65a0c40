"""The shape that every family of success models has: fit on what models made of prompts, then predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """What may be known of `n` prompts before a model is chosen."""

    texts: tuple[str, ...]
    features: NDArray[np.float32]
    """(n, WIDTH), as `core.features.decode` gives them."""
    attempt: Floats | None = None
    """(n, k): signals of the weak model's own attempt (such as its number of calls), where a router may look at it
    before it escalates; None where it chooses beforehand."""
    categories: tuple[str, ...] = ()
    """The data's own labels, for baselines that are allowed to see them; no router of ours reads them."""

    def __len__(self) -> int:
        return len(self.texts)

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Prompts:
        """These prompts, in this order."""
        places = np.arange(len(self))[index]
        return Prompts(
            texts=tuple(self.texts[int(place)] for place in places),
            features=self.features[places],
            attempt=None if self.attempt is None else self.attempt[places],
            categories=tuple(self.categories[int(place)] for place in places) if self.categories else (),
        )


class Family(Protocol):
    """P(success) of each of `m` models on a prompt.

    `fit` sets attributes that end in `_`; nothing is computed in `__init__`.
    """

    def fit(self, prompts: Prompts, scores: Floats, *, groups: Sequence[str], rng: np.random.Generator) -> Self:
        """
        Args:
            scores: (n, m) in [0, 1]; NaN where an outcome is missing.
            groups: prompts of one group stay on one side of every inner split.
        """

    def predict(self, prompts: Prompts) -> Floats:
        """(n, m), each in [0, 1]."""
