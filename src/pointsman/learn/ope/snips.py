"""Self-normalised inverse propensity scoring."""

from __future__ import annotations

from .bandit import Bandit, Floats
from .terms import Terms


def snips(log: Bandit, target: Floats, *, clip: float | None = None) -> Terms:
    """`Σ_i w_i r_i / Σ_i w_i` with `w_i = π(a_i|x_i) / p(a_i|x_i)` (Hájek 1971; Swaminathan and Joachims 2015): stays
    within the range of the rewards and does not change when all of them are moved; its bias falls with 1/n.
    """
    weights = log.observation * log.weights(target, clip=clip)
    terms = Terms.ratio(weights * log.known_rewards, weights)
    if log.bounds is None:
        return terms
    heavy = log.heavy(target, clip=clip) * float(log.observation.mean())
    return terms.imagining(*(([heavy * reward], [heavy]) for reward in log.bounds))
