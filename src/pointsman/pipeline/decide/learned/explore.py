"""With which probability each arm is tried, by Thompson sampling, inverse gap weighting or an upper bound.

As much is tried as the method would, up to the allowed share of the requests: what would be tried beyond it is scaled
down, arm by arm alike.

- Thompson (1933): the chance that the arm is the best. It is the share of `DRAWS` frozen draws from the posteriors in
  which the arm has the highest utility, so that the probability is known before an arm is picked and can be worked out
  again. The draws of a model are the midpoints of `DRAWS` equal slices of the standard normal distribution, in an order
  that depends on the policy's version and the model's id alone (a Latin hypercube: McKay, Beckman and Conover 1979).
- Inverse gap weighting (Abe and Long 1999; Foster and Rakhlin 2020): 1 / (arms + GAMMA × utility behind the best), the
  rest for the best.
- Upper confidence bound (Auer 2002; Li et al. 2010): the arm whose utility would be highest if its success were `BOUND`
  standard deviations better, whenever something is tried.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from operator import and_
from statistics import NormalDist
from typing import TYPE_CHECKING

from pointsman.pipeline.decide.explore import Allowance
from pointsman.pipeline.decide.predict import Arm, models_of
from pointsman.pipeline.decide.utility import Scale

from .artefact import Method

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DRAWS = 128
GAMMA = 50.0
BOUND = 1.0


def propensities(
    method: Method,
    arms: Sequence[Arm],
    qualities: Sequence[float],
    deviations: Sequence[float],
    prices: Sequence[float],
    *,
    scale: Scale,
    may: Sequence[bool] | None,
    allowance: Allowance,
    seed: str,
) -> list[float]:
    """The probability with which each arm is to be picked; they sum to 1.

    Args:
        arms: the one that is thought best first.
        qualities: predicted success of each arm.
        deviations: its standard deviation.
        prices: what each arm costs in every respect but success.
        may: whether an arm may be tried at all; None: all may.
        seed: of the frozen draws.
    """
    dear = arms[0].weighed_micro_usd + allowance.micro_usd
    # What an arm of unknown price costs cannot be kept account of.
    tried = [arm.weighed_micro_usd <= dear and (arm.cost_micro_usd is not None or arm.card.local) for arm in arms]
    if may is not None:
        tried = list(map(and_, tried, may))
    tried[0] = False  # the best is picked with what the others leave
    if not any(tried):
        return [1.0, *[0.0] * (len(arms) - 1)]
    picked = _by(method, arms, qualities, deviations, prices, scale, seed)
    for place, allowed in enumerate(tried):
        if not allowed:
            picked[place] = 0.0
    others = sum(picked)
    if others > allowance.share:
        picked = [probability * allowance.share / others for probability in picked]
    picked[0] = 1.0 - sum(picked)
    return picked


def _by(
    method: Method,
    arms: Sequence[Arm],
    qualities: Sequence[float],
    deviations: Sequence[float],
    prices: Sequence[float],
    scale: Scale,
    seed: str,
) -> list[float]:
    if method == "none":
        return [0.0] * len(arms)
    import numpy as np

    mean, deviation, costs = np.array((qualities, deviations, prices))
    if method == "thompson":
        drawn = deviation * _columns(seed, models_of(arms))
        drawn += mean
        np.maximum(drawn, 0.0, out=drawn)
        if scale.hard or scale.enough > 1.0:  # otherwise what is enough bounds them
            np.minimum(drawn, 1.0, out=drawn)
        won = _utilities(drawn, costs, scale).argmax(axis=1)
        return [count / DRAWS for count in np.bincount(won, minlength=len(arms)).tolist()]
    if method == "igw":
        worth = _utilities(mean[None, :], costs, scale)[0]
        behind = np.maximum(worth[0] - worth, 0.0)
        return [1.0 / (len(arms) + GAMMA * gap) for gap in behind.tolist()]
    hopes = np.minimum(mean + BOUND * deviation, 1.0)
    utilities = [
        float(_utilities(np.where(np.arange(len(arms)) == place, hopes, mean)[None, :], costs, scale)[0, place])
        for place in range(len(arms))
    ]
    best = max(range(len(arms)), key=utilities.__getitem__)
    return [float(place == best) for place in range(len(arms))]


def _utilities(qualities: Floats, prices: Floats, scale: Scale) -> Floats:
    """As `Scale.order` has them: (draws, arms)."""
    import numpy as np

    worth = np.minimum(qualities, scale.enough)
    worth -= prices
    if scale.hard:
        worth -= scale.hard * (qualities.max(axis=1, keepdims=True) - qualities)
    return worth


@lru_cache(64)
def _columns(seed: str, models: tuple[str, ...]) -> Floats:
    """(DRAWS, models), the models of a draw side by side: who has won is asked draw by draw."""
    import numpy as np

    return np.array([_column(seed, model) for model in models]).T.copy()


@lru_cache(4096)
def _column(seed: str, model: str) -> Floats:
    """(DRAWS,)"""
    import numpy as np

    normal = NormalDist()
    slices = [normal.inv_cdf((place + 0.5) / DRAWS) for place in range(DRAWS)]
    random.Random(f"{seed} {model}").shuffle(slices)  # noqa: S311 - anybody may know the order
    return np.array(slices)
