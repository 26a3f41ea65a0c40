"""Trying arms to learn of them, within bounds that are known before the draw.

A policy that explores picks the arm that it thinks best with a probability of at least 1 − ε, and the others as its way
of exploring has them, scaled down to ε together. ε and the arms that may be tried follow from an allowance that is
fixed before anything is drawn, so that the propensities in the log are exact. Two buckets bound it, each per process:
`share` of the requests that may go to another arm, and what the tries may cost beyond the best arms, in expected
micro-dollars a day.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import msgspec

from pointsman.core.decision import Candidate
from pointsman.core.signals import Signals

DAY = 86_400.0
BURST = 3.0
"""Requests that may be explored in a row when none was for long."""


class Allowance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one request may be explored with."""

    share: float
    """ε, in [0, 1]."""
    micro_usd: int
    """The most that a try may be expected to cost beyond the best arm."""


class Explorer:
    """Grants allowances, draws, and keeps the account.

    Args:
        share: of the requests, in [0, 1]: tries never exceed `BURST` more than it.
        micro_usd_per_day: what tries may cost beyond the best arms; at the start a day's worth is there.
        random: uniform in [0, 1).
    """

    def __init__(self, *, share: float, micro_usd_per_day: int, random: Callable[[], float]) -> None:
        self._random = random
        self._tries = BURST
        self._most = self._money = float(micro_usd_per_day)
        self._at = math.inf
        self._share = share
        self._per_day = micro_usd_per_day

    def allowance(self, signals: Signals, now: float) -> Allowance | None:
        """What may be explored with this request; None: nothing, since too much hangs on it or nothing is left.

        Nothing is tried with requests whose priority is quality, at privacy level max, or while little of the monthly
        budget is left.
        """
        if (
            not self._share
            or signals.priority == "quality"
            or signals.privacy.level == "max"
            or signals.budget_tier == "low"
        ):
            return None
        money, most = self._money, self._most
        if money < most:
            if now > self._at:
                money += (now - self._at) * self._per_day / DAY
            self._money = money = money if money < most else most
        self._at = now
        tries = self._tries + self._share
        self._tries = tries = tries if tries < BURST else BURST
        if tries < 1:
            return None
        return Allowance(share=self._share, micro_usd=int(money) if money > 0 else 0)

    def draw(self, ranked: Sequence[Candidate]) -> Candidate:
        """One of them by their propensities, charged where it is not the first."""
        left = self._random()
        for candidate in ranked:
            left -= candidate.propensity
            if left < 0:
                break
        else:  # what is left over of rounding
            candidate = ranked[0]
        if candidate is not ranked[0]:
            self._tries -= 1
            self._money -= extra(candidate.cost_micro_usd, ranked[0].cost_micro_usd)
        return candidate


def extra(cost: int | None, best: int | None) -> int:
    """What an arm is expected to cost beyond the best one; of an unknown price nothing can be said."""
    return max((cost or 0) - (best or 0), 0)
