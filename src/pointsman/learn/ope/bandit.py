"""Logged bandit feedback as arrays: what every off-policy estimator reads.

The log of a policy that drew an arm `a` for a request `x` with a known probability `p(a|x)` tells what another policy
`π(a|x)` would have earned: `E[π(a|x)/p(a|x) · r] = E_π[r]` wherever p is above 0 (Horvitz and Thompson 1952; Li et al.
2011 for bandits).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pointsman.core.errors import InvalidRequest

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

SLACK = 1e-6
"""How far the propensities of a request may sum beyond 1: they are kept with as many digits as a float has."""


@dataclass(frozen=True, kw_only=True)
class Bandit:
    """`n` decisions over `k` arms. A request need not have had every arm: its propensity is then 0.

    Raises:
        InvalidRequest: shapes that do not fit, or a propensity that is none.
    """

    arms: tuple[str, ...]
    actions: Integers
    """(n,): the arm that was pulled."""
    rewards: Floats
    """(n,): what came of it; NaN where nobody knows."""
    logging: Floats
    """(n, k): the probability with which each arm was to be pulled."""
    expected: Floats
    """(n, k): the reward that was expected of each arm beforehand; NaN where nothing was."""
    contexts: Floats
    """(n, d): what is known of the requests; one column is 1."""
    clusters: Integers | None = None
    """(n,): decisions of one number are not independent of one another, such as the turns of a conversation."""
    cluster: str = "decision"
    """What a cluster is, in a word."""
    belief: Floats | None = None
    """(n,): how far each reward is to be believed, in [0, 1]; None: wholly."""
    seen: Floats | None = None
    """(n,): the probability with which the reward of such a decision is known, in (0, 1]; None: the same for all."""
    bounds: tuple[float, float] | None = (0.0, 1.0)
    """Between which a reward lies; None: nobody knows."""
    floor: float = -math.inf
    """Where there are no bounds: what no reward is below."""
    judged: NDArray[np.bool_] = field(init=False)
    """(n,): where the reward is known and believed at all."""
    observation: Floats = field(init=False)
    """(n,): what a reward counts: its belief over the probability that it is known; 0 where it is not."""

    def __post_init__(self) -> None:
        n, k = self.logging.shape
        if len(self.arms) != k or self.expected.shape != (n, k) or len(self.contexts) != n:
            raise InvalidRequest("The arrays of a log are not of one length.")
        if any(len(part) != n for part in (self.actions, self.rewards)):
            raise InvalidRequest("The arrays of a log are not of one length.")
        if not n:
            raise InvalidRequest("There is no decision that another policy could be judged by.")
        taken = self.taken(self.logging)
        if not (taken > 0).all() or not (self.logging >= 0).all() or (self.logging.sum(axis=1) > 1 + SLACK).any():
            raise InvalidRequest("A propensity is not in (0, 1]: such decisions must be left out.")
        belief = np.ones(n) if self.belief is None else self.belief
        judged = np.isfinite(self.rewards) & (belief > 0)
        observation = np.where(judged, belief / (1.0 if self.seen is None else self.seen), 0.0)
        object.__setattr__(self, "judged", judged)
        object.__setattr__(self, "observation", observation)

    def __len__(self) -> int:
        return len(self.actions)

    def taken(self, values: Floats) -> Floats:
        """(n,): of values by arm, (n, k), those of the arms that were pulled."""
        picked: Floats = values[np.arange(len(self.actions)), self.actions]
        return picked

    @property
    def possible(self) -> tuple[float, float]:
        """Between which a reward lies, infinite where nobody knows."""
        return (self.floor, math.inf) if self.bounds is None else self.bounds

    @property
    def judged_clusters(self) -> int:
        """Of how many clusters any decision is judged."""
        return int(self.judged.sum()) if self.clusters is None else len(np.unique(self.clusters[self.judged]))

    @property
    def known_rewards(self) -> Floats:
        """(n,): the rewards with 0 where they are not known, which `observation` then weighs with 0."""
        return np.where(self.judged, self.rewards, 0.0)

    def weights(self, target: Floats, *, clip: float | None = None) -> Floats:
        """(n,): importance weights π(a|x) / p(a|x) of what was pulled.

        Args:
            target: (n, k), the other policy's probabilities.
            clip: no weight counts more (Ionides 2008): less variance for a bias towards 0.
        """
        weights = self.taken(target) / self.taken(self.logging)
        return weights if clip is None else np.minimum(weights, clip)

    def uncovered(self, target: Floats) -> float:
        """The share of the other policy's choices that the log can say nothing of: it would have pulled arms that had
        no chance."""
        return float(np.where(self.logging > 0, 0.0, target).sum(axis=1).mean())

    def heavy(self, target: Floats, *, clip: float | None = None) -> float:
        """What a decision weighs that speaks of the other policy: Σw² / Σw; 0 where none does."""
        weights = self.weights(target, clip=clip) * self.observation
        total, usual = float(weights.sum()), float(self.observation.mean())
        return float(weights @ weights) / total / usual if total else 0.0

    def effective(self, target: Floats, *, clip: float | None = None, together: bool = False) -> float:
        """How many judged decisions of its own would tell as much of the other policy: (Σw)² / Σw² (Kish 1965).

        Args:
            together: of how many clusters that count alike, were all decisions of one to tell the same.
        """
        weights = self.weights(target, clip=clip) * self.observation
        if together and self.clusters is not None:
            weights = np.bincount(np.unique(self.clusters, return_inverse=True)[1], weights).astype(np.float64)
        squares = float(weights @ weights)
        return float(weights.sum()) ** 2 / squares if squares else 0.0
