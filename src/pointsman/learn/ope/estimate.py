"""An estimate with its interval, and everything that speaks against believing it."""

from __future__ import annotations

import math
from typing import Literal, get_args

import msgspec
import numpy as np

from .bandit import Bandit, Floats
from .bernstein import empirical_bernstein
from .bootstrap import Resamples, studentised
from .dr import dr
from .ips import ips
from .reward_model import CrossFitted
from .snips import snips
from .student import student
from .terms import Terms

Estimator = Literal["ips", "snips", "dr"]
Interval = Literal["bootstrap", "bernstein"]
ESTIMATORS: tuple[Estimator, ...] = get_args(Estimator)
INTERVALS: tuple[Interval, ...] = get_args(Interval)

TOLERATED = 0.01
"""Share of a policy's choices that may have had no chance in the log before no figure is given for it."""
LEAST_EFFECTIVE = 5.0
"""Decisions' worth of evidence, or clusters' worth, below which there is no interval."""
LEAST_CLUSTERS = 10
"""Judged clusters below which there is no interval but Bernstein's: so few are no sample."""
MANY_CLUSTERS = 100.0
"""Clusters' worth of evidence from which on bootstrap-t intervals of differences hold their level alone."""
ROUNDING = 1e-9
THIN_EFFECTIVE = 50.0
"""Below it the estimate is called thin: intervals were seen to hold their level from about there on."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's value, or how far it is from the incumbent's, under one estimator."""

    estimator: Estimator
    interval: Interval
    level: float
    value: float | None
    """None: the log cannot tell. Never outside of what it can be."""
    low: float | None
    high: float | None
    """Both hold the worst and the best that may have come of what the log says nothing of. None: unbounded."""
    decisions: int
    judged: int
    """Decisions of which the outcome is known."""
    clusters: int | None = None
    """Clusters of which any decision's is; None: the estimate was made when that was not looked at."""
    effective: float
    """How many decisions of the policy's own would tell as much."""
    uncovered: float
    """Share of the policy's choices that had no chance in the log."""
    heaviest: float
    """The largest importance weight among the judged."""
    warnings: tuple[str, ...] = ()


class Evaluator:
    """Estimates values of policies from one log.

    Args:
        log: what the incumbent did.
        rng: deals the folds and draws the resamples.
        clip: no importance weight counts more; None: none is cut.
    """

    def __init__(
        self, log: Bandit, rng: np.random.Generator, *, level: float = 0.95, clip: float | None = None
    ) -> None:
        self.log = log
        self.level = level
        self.clip = clip
        self._rng = rng
        self._drawn = Resamples(rng)
        self._model: CrossFitted | None = None

    @property
    def model(self) -> CrossFitted:
        """What is expected of every arm; fitted when it is first asked for."""
        if self._model is None:
            self._model = CrossFitted().fit(self.log, self._rng)
        return self._model

    def value(self, target: Floats, *, estimator: Estimator = "dr", interval: Interval = "bootstrap") -> Estimate:
        """What a policy would have earned a decision.

        Args:
            target: (n, k), its probabilities; each row sums to 1.
        """
        return self._estimate(self._terms(target, estimator), target, estimator, interval)

    def difference(self, target: Floats, *, estimator: Estimator = "dr", interval: Interval = "bootstrap") -> Estimate:
        """What it would have earned beyond what the incumbent did, over the same decisions."""
        terms = self._terms(target, estimator).minus(self._terms(self.log.logging, estimator))
        return self._estimate(terms, target, estimator, interval, difference=True)

    def _terms(self, target: Floats, estimator: Estimator) -> Terms:
        """Of the part of a policy's choices that the log can tell of."""
        if estimator == "ips":
            return ips(self.log, target, clip=self.clip)
        if estimator == "snips":
            return snips(self.log, target, clip=self.clip).times(1.0 - self.log.uncovered(target))
        return dr(self.log, target, self.model, clip=self.clip)

    def _estimate(
        self, terms: Terms, target: Floats, estimator: Estimator, interval: Interval, *, difference: bool = False
    ) -> Estimate:
        log, bounds = self.log, self.log.bounds
        uncovered = log.uncovered(target)
        effective = log.effective(target, clip=self.clip)
        weights = log.weights(target, clip=self.clip)[log.judged]
        heaviest = float(weights.max()) if weights.size else 0.0
        rows = terms.by(log.clusters)
        low, high = -math.inf, math.inf
        lone = self._lone(target, effective) if interval == "bootstrap" else None
        if effective >= LEAST_EFFECTIVE and lone is None:
            if interval == "bootstrap":
                low, high = self._resampled(rows, target, difference=difference)
            elif bounds is not None:
                spread = self._spread(target, estimator, len(rows))
                if difference:
                    spread += self._spread(log.logging, estimator, len(rows))
                low, high = empirical_bernstein(rows, spread, level=self.level)
        value = terms.value
        told = math.isfinite(value) and uncovered <= TOLERATED
        if uncovered and bounds is not None:
            low, high = low + uncovered * bounds[0], high + uncovered * bounds[1]
        elif uncovered > TOLERATED:
            low, high = -math.inf, math.inf
        possible = log.possible
        if difference:
            possible = possible[0] - possible[1], possible[1] - possible[0]
        came_out, (value, low, high) = value, (_within(one, *possible) for one in (value, low, high))
        beyond = estimator if told and abs(value - came_out) > ROUNDING else None
        return Estimate(
            estimator=estimator,
            interval=interval,
            level=self.level,
            value=value if told else None,
            low=low if math.isfinite(low) else None,
            high=high if math.isfinite(high) else None,
            decisions=len(log),
            judged=int(log.judged.sum()),
            clusters=log.judged_clusters,
            effective=effective,
            uncovered=uncovered,
            heaviest=heaviest,
            warnings=tuple(self._warnings(uncovered, effective, weights, lone=lone, beyond=beyond)),
        )

    def _spread(self, target: Floats, estimator: Estimator, rows: int) -> float:
        """The range of a row's influence: from propensities alone, which say how heavy a decision could have been."""
        log = self.log
        assert log.bounds is not None
        worst, best = log.bounds
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(log.logging > 0, target / log.logging, 0.0)
        heaviest = float(ratios.max()) if self.clip is None else min(float(ratios.max()), self.clip)
        usual = float(log.observation.mean()) or 1.0
        counted = float(log.observation.max()) / usual
        if log.clusters is not None:
            counted *= float(np.unique(log.clusters, return_counts=True)[1].max()) * rows / len(log)
        if estimator == "ips":
            return counted * heaviest * max(abs(worst), abs(best), best - worst)
        if estimator == "snips":
            weights = log.observation * log.weights(target, clip=self.clip)
            return counted * heaviest * (best - worst) * usual / (float(weights.mean()) or 1.0)
        return counted * (1 + 2 * heaviest) * (best - worst)

    def _resampled(self, rows: Terms, target: Floats, *, difference: bool) -> tuple[float, float]:
        """The bootstrap-t interval and, of a difference over few clusters, whichever end of it and of Student's is
        farther out: what is imagined beside the decisions largely cancels there, and how skewed it is cannot be
        learned from a few."""
        worth = self.log.effective(target, clip=self.clip, together=True)
        low, high = studentised(rows, self._drawn, freedom=worth - 1, level=self.level)
        if difference and worth < MANY_CLUSTERS:
            least, most = student(rows, worth - 1, level=self.level)
            low, high = min(low, least), max(high, most)
        return low, high

    def _lone(self, target: Floats, effective: float) -> str | None:
        """Why there are too few clusters for an interval; None: there are enough, or too little is judged at all."""
        log = self.log
        count = log.judged_clusters
        if 0 < count < LEAST_CLUSTERS:
            several = "s" if count > 1 else ""
            return f"{count} {log.cluster}{several}: no interval can be told of fewer than {LEAST_CLUSTERS}."
        if log.effective(target, clip=self.clip, together=True) < LEAST_EFFECTIVE <= effective:
            return f"So much hangs on a few of {count} {log.cluster}s that no interval can be told."
        return None

    def _warnings(
        self, uncovered: float, effective: float, weights: Floats, *, lone: str | None, beyond: Estimator | None
    ) -> list[str]:
        log, found = self.log, []
        if lone is not None:
            found.append(lone)
        if beyond is not None:
            found.append(f"{beyond.upper()} came out as what cannot be, and is told as the nearest that can.")
        if uncovered > TOLERATED:
            found.append(
                f"In {uncovered:.1%} of its choices it would pull arms that had no chance in the log: of those nothing"
                " can be told, so that no figure is given. Exploration (`routing.exploration`) gives them one."
            )
        if effective < THIN_EFFECTIVE:
            found.append(
                f"The evidence is worth {effective:.0f} decisions of its own: too thin for an interval to be sure of."
            )
        if self.clip is not None and weights.size and float(weights.max()) >= self.clip:
            found.append(f"Weights are cut at {self.clip:g}, which draws the figures towards 0.")
        if not log.judged.all() and log.belief is not None and log.seen is None:
            found.append(
                f"{int(log.judged.sum())} of {len(log)} decisions are judged. The figures hold for all of them where"
                " being judged has nothing to do with how well the answer was."
            )
        return found


def _within(value: float, least: float, most: float) -> float:
    """The nearest that can be; what nobody knows stays unknown."""
    return min(max(value, least), most) if math.isfinite(value) else value
