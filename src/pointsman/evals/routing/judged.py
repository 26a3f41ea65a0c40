"""Figures with their replicates, so that intervals, means and differences are all paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .resampling import interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Figures by name, each with one value for every draw of the bootstrap."""

    values: Mapping[str, float]
    replicates: Mapping[str, Floats]

    @classmethod
    def of(cls, figures: Mapping[str, Floats]) -> Judged:
        """From arrays whose first number is the sample's and the others are the draws'."""
        return cls(
            {name: float(numbers[0]) for name, numbers in figures.items()},
            {name: numbers[1:] for name, numbers in figures.items()},
        )

    def told(self) -> dict[str, Any]:
        """Values, and the intervals beside them; null for what has no meaning."""
        return {
            **{name: number(value) for name, value in self.values.items()},
            "interval": {name: _told(interval(draws)) for name, draws in self.replicates.items()},
        }

    def less(self, other: Judged) -> dict[str, Any]:
        """By how much each figure exceeds the other's, with a paired interval."""
        found = {}
        for name, value in self.values.items():
            difference = value - other.values[name]
            span = interval(self.replicates[name] - other.replicates[name])
            found[name] = {
                "value": number(difference),
                "interval": _told(span),
                "significant": span is not None and (span[0] > 0 or span[1] < 0),
            }
        return found


def mean_of(parts: Sequence[Judged]) -> Judged:
    """The mean of each figure over several questions that were judged with the same draws."""
    names = parts[0].values.keys()
    return Judged(
        {name: float(np.mean([part.values[name] for part in parts])) for name in names},
        {name: np.mean([part.replicates[name] for part in parts], axis=0) for name in names},
    )


def number(value: float) -> float | None:
    """To six digits; None for what is no number, because JSON has none."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _told(span: tuple[float, float] | None) -> list[float | None] | None:
    return None if span is None else [number(span[0]), number(span[1])]
