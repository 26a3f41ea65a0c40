"""Whether one policy does worse than another, told from outcomes as they come in, looked at as often as one likes.

A gambler who starts with 1 bets on the candidate being worse by more than a tolerance: with X its next outcome, Y the
other's mean since the last bet, both in [0, 1], the stake λ in [0, 3/4] fixed before either is seen,

    d = Y − X − tolerance        wealth ← wealth × (1 + λ d)

If the candidate is not worse, the wealth is a supermartingale, and by Ville's inequality it ever reaches 1/α with a
probability of at most α, whenever one looks (Waudby-Smith and Ramdas, arXiv 2010.09686; of two samples: Shekhar and
Ramdas, arXiv 2112.09162). λ follows the mean and spread of what was seen before, as there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

MOST_STAKE = 0.75
"""Far enough below 1 / (1 + tolerance) that the wealth stays well above 0."""


class Outcome(NamedTuple):
    """How a decision of one of two policies went."""

    order: float
    """Grows in the order in which outcomes became known."""
    candidate: bool
    """Whether the policy that is on trial took it."""
    value: float
    """In [0, 1], 1 is good."""


class Verdict(NamedTuple):
    """What the bets came to."""

    worse: bool
    """Whether the candidate is worse by more than the tolerance, with the confidence asked for."""
    candidates: int
    others: int
    candidate_mean: float
    other_mean: float
    wealth: float
    """The highest; 1/α tells the candidate worse."""


def judge(outcomes: Iterable[Outcome], *, tolerance: float, risk: float) -> Verdict:
    """
    Args:
        tolerance: how much worse the candidate may be, in [0, 0.3].
        risk: α, with which a candidate that is no worse may be told worse, however often it is looked at.
    """
    log_wealth = highest = 0.0
    block: list[float] = []
    bets, total, squares = 0, 0.0, 0.0
    waiting: list[float] = []
    sums, counts = [0.0, 0.0], [0, 0]
    stake = 0.0
    for outcome in sorted(outcomes):
        sums[outcome.candidate] += outcome.value
        counts[outcome.candidate] += 1
        (waiting if outcome.candidate else block).append(outcome.value)
        while waiting and block:
            difference = sum(block) / len(block) - waiting.pop(0) - tolerance
            block.clear()
            log_wealth += math.log1p(stake * difference)
            highest = max(highest, log_wealth)
            bets, total, squares = bets + 1, total + difference, squares + difference * difference
            stake = _stake(bets, total, squares)
    return Verdict(
        worse=highest >= -math.log(risk),
        candidates=counts[1],
        others=counts[0],
        candidate_mean=sums[1] / counts[1] if counts[1] else math.nan,
        other_mean=sums[0] / counts[0] if counts[0] else math.nan,
        wealth=math.exp(min(highest, 700.0)),
    )


def _stake(bets: int, total: float, squares: float) -> float:
    """λ for the next bet: about mean / (variance + mean²), which grows wealth fastest (their aGRAPA), begun carefully
    as if one more difference, of 0 and with a large spread, had been seen."""
    mean = total / (bets + 1)
    variance = max(0.0, squares / (bets + 1) - mean * mean) + 0.25 / (bets + 1)
    return min(max(mean / (variance + mean * mean), 0.0), MOST_STAKE)
