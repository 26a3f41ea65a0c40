"""Inverse propensity scoring."""

from __future__ import annotations

from .bandit import Bandit, Floats
from .terms import Terms


def ips(log: Bandit, target: Floats, *, clip: float | None = None) -> Terms:
    """`1/n Σ_i π(a_i|x_i) / p(a_i|x_i) · r_i` (Horvitz and Thompson 1952): without bias where every arm that π pulls
    had a chance, and of a variance that grows with the weights.

    Where rewards are missing, the mean is over the known ones, each counting its `Bandit.observation`.
    """
    terms = Terms.ratio(log.observation * log.weights(target, clip=clip) * log.known_rewards, log.observation)
    if log.bounds is None:
        return terms
    heavy = log.heavy(target, clip=clip)
    usual = float(log.observation.mean())
    return terms.imagining(*(([usual * heavy * reward], [usual]) for reward in log.bounds))
