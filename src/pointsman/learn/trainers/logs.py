"""The log as a problem: what each arm would have been worth, by the doubly robust estimate of single decisions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pointsman.core.reward import RewardWeights
from pointsman.learn.dataset import bandit
from pointsman.learn.logged import Logged
from pointsman.learn.ope.reward_model import CrossFitted

from .problem import Problem, pose

CLIP = 20.0
"""No importance weight counts more."""


def pose_log(decisions: Sequence[Logged], *, weights: RewardWeights, rng: np.random.Generator) -> Problem:
    """The problem of these decisions, with the reward

        R(x, a) = q(x, a) + 1[a was pulled] min(1 / p(a|x), CLIP) (r − q(x, a)) / P(judged)

    whose mean over the log is, for every policy, its doubly robust estimate (Dudík, Langford and Li 2011); q is
    cross-fitted. Of an answer that nobody judged q alone stands.

    Args:
        decisions: `learn.dataset.usable` ones.

    Raises:
        InvalidRequest: there is none.
    """
    log = bandit(decisions, "reward", weights=weights)
    rewards = CrossFitted().fit(log, rng).predicted_.copy()
    rows = np.arange(len(log))
    weight = np.minimum(1.0 / log.taken(log.logging), CLIP) * log.observation
    if log.observation.any():
        weight /= log.observation.mean()
    rewards[rows, log.actions] += weight * (log.known_rewards - log.taken(rewards))
    return pose([(decision.signals, decision.candidates) for decision in decisions], rewards, models=log.arms)
