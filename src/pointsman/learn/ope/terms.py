"""Estimators as sums of ratios of sums, so that one bootstrap and one bound serve all of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """`Σ_j sign_j · Σ_i over_ij / Σ_i under_ij`, with a row a decision or a cluster of them."""

    over: Floats
    """(n, j)."""
    under: Floats
    """(n, j)."""
    signs: Floats
    """(j,)."""
    imagined: tuple[Floats, Floats] | None = None
    """`over` and `under` of rows, (2, j), that were not seen: one heavy decision that went as badly as it could, and
    one that went as well. Intervals count them in, as Agresti and Coull (1998) do for shares: a few heavy successes
    say little of the failures that did not happen to be drawn."""
    echo: Floats = field(default_factory=lambda: np.zeros(0))
    """(n,): how much a row moves the estimate through models that were fitted on it, times n; empty: not at all."""

    def __len__(self) -> int:
        return len(self.over)

    @classmethod
    def ratio(cls, over: Floats, under: Floats) -> Terms:
        return cls(over=over[:, None], under=under[:, None], signs=np.ones(1))

    def plus(self, other: Terms) -> Terms:
        imagined = None
        if self.imagined is not None and other.imagined is not None:
            mine, others = self.imagined, other.imagined
            imagined = np.hstack([mine[0], others[0]]), np.hstack([mine[1], others[1]])
        echoes = [terms.echo for terms in (self, other) if terms.echo.size]
        return Terms(
            over=np.hstack([self.over, other.over]),
            under=np.hstack([self.under, other.under]),
            signs=np.concatenate([self.signs, other.signs]),
            imagined=imagined,
            echo=np.sum(echoes, axis=0) if echoes else np.zeros(0),
        )

    def times(self, factor: float) -> Terms:
        return replace(self, signs=self.signs * factor, echo=self.echo * factor)

    def minus(self, other: Terms) -> Terms:
        """The difference of two estimates over the same decisions, whose noise largely cancels."""
        return self.plus(other.times(-1.0))

    def imagining(self, *rows: tuple[list[float], list[float]]) -> Terms:
        """With rows that were not seen, each its `over` and its `under`."""
        return replace(self, imagined=(np.array([row[0] for row in rows]), np.array([row[1] for row in rows])))

    def by(self, clusters: NDArray[np.intp] | None) -> Terms:
        """A row a cluster: sums over its decisions. What is imagined happens in an average cluster."""
        if clusters is None:
            return self
        _, places = np.unique(clusters, return_inverse=True)
        count = int(places.max()) + 1

        def summed(values: Floats) -> Floats:
            return np.stack([np.bincount(places, column, count) for column in values.T], axis=1)

        over, under, imagined = summed(self.over), summed(self.under), self.imagined
        if imagined is not None:
            imagined = (
                imagined[0] + over.mean(axis=0) - self.over.mean(axis=0),
                imagined[1] + under.mean(axis=0) - self.under.mean(axis=0),
            )
        echo = summed(self.echo[:, None])[:, 0] * count / len(self) if self.echo.size else self.echo
        return replace(self, over=over, under=under, imagined=imagined, echo=echo)

    @property
    def value(self) -> float:
        """The estimate; NaN where nothing is known of one of its terms."""
        under = self.under.sum(axis=0)
        if not (under > 0).all():
            return float("nan")
        return float(self.signs @ (self.over.sum(axis=0) / under))

    @property
    def influence(self) -> Floats:
        """(n,): how much a row moves the estimate, times n, models aside; their mean is 0."""
        ratios = self.over.sum(axis=0) / self.under.sum(axis=0)
        moved: Floats = ((self.over - self.under * ratios) / self.under.mean(axis=0)) @ self.signs
        return moved

    @property
    def widening(self) -> float:
        """The standard error with what rows do through models, over the one without (the infinitesimal jackknife,
        Efron 1982). At least 1."""
        if not self.echo.size:
            return 1.0
        influence = self.influence
        plain, whole = float(influence @ influence), float(((influence + self.echo) ** 2).sum())
        return max(1.0, (whole / plain) ** 0.5) if plain else 1.0

    @property
    def wary(self) -> Terms:
        """With what is imagined among the rows."""
        if self.imagined is None:
            return self

        over, under = np.vstack([self.over, self.imagined[0]]), np.vstack([self.under, self.imagined[1]])
        return replace(self, over=over, under=under, imagined=None, echo=np.zeros(0))
