"""Whether a policy may serve: it must be better than what served, as far as the log can tell.

The doubly robust estimate of what the candidate would have earned beyond what was done, over the same decisions, must
lie above 0 with its whole 95 % interval; or above −margin, where being no worse is enough. Of fewer than ten
conversations there is no interval, and so no promotion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from pointsman.core.catalog import ModelCard
from pointsman.core.errors import InvalidRequest
from pointsman.core.reward import RewardWeights
from pointsman.pipeline.decide import Policy

from .logged import Logged
from .ope.estimate import Estimate
from .replay import replay
from .training import Report

LEAST_EFFECTIVE = 30.0
"""Decisions' worth of evidence of the candidate's choices, below which no interval is believed."""
WAYS = "Try it on a share of the decisions (--share 0.1), which needs no proof, or promote it with --force."


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What was found."""

    passed: bool
    why: str
    """A sentence or two, with the numbers."""
    margin: float
    """How much worse it may be; 0: it must be better."""
    incumbents: dict[str, int]
    """Policies that took the decisions, and how many each."""
    decisions: int
    judged: int
    incumbent: float | None = None
    """The mean reward of what was done."""
    candidate: Estimate | None = None
    difference: Estimate | None = None

    def numbers(self) -> dict[str, Any]:
        """For the history."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def judge(
    decisions: Sequence[Logged],
    policy: Policy,
    *,
    cards: Mapping[str, ModelCard],
    rng: np.random.Generator,
    since: float,
    until: float,
    margin: float = 0.0,
    weights: RewardWeights | None = None,
) -> Gate:
    """
    Args:
        decisions: of the policy that serves, oldest first.
        cards: of the models, as the catalog has them now.
        since, until: of the stretch that the decisions are of, in seconds since the epoch.
        margin: how much worse the candidate may be, in probability of success.
    """
    try:
        report = replay(
            decisions, policy, cards=cards, rng=rng, since=since, until=until, weights=weights, measures=("reward",)
        )
    except InvalidRequest as error:
        return Gate(passed=False, why=error.message, margin=margin, incumbents={}, decisions=0, judged=0)
    [measured] = report.measures
    [candidate] = [one for one in measured.estimates if one.estimator == "dr"]
    [difference] = [one for one in measured.differences if one.estimator == "dr"]
    passed, why = _told(policy.version, difference, margin)
    return Gate(
        passed=passed,
        why=why,
        margin=margin,
        incumbents=report.incumbents,
        decisions=report.decisions,
        judged=difference.judged,
        incumbent=measured.observed,
        candidate=candidate,
        difference=difference,
    )


def judge_by_training(version: str, report: Report, *, margin: float = 0.0) -> Gate:
    """What its training found on the quarter of the log that was held out: for a version that learned from all of the
    log there is nothing better until decisions have come that it has not seen."""
    difference = report.difference
    if difference is None:
        passed, why = False, f"None of the decisions that were held out when {version} was trained is judged."
    elif difference.clusters is None:
        passed, why = False, f"{version} was trained when conversations were not counted yet: train it anew."
    else:
        passed, why = _told(version, difference, margin)
        why = f"By what was held out when it was trained: {why}"
    return Gate(
        passed=passed,
        why=why,
        margin=margin,
        incumbents={},
        decisions=report.held_out,
        judged=difference.judged if difference is not None else 0,
        difference=difference,
    )


def _told(version: str, difference: Estimate, margin: float) -> tuple[bool, str]:
    if not difference.judged:
        return False, (
            f"None of {difference.decisions} decisions is judged, so nothing can be said of what {version} would have"
            f" earned: send feedback (`pointsman feedback`, POST /v1/feedback)."
        )
    if difference.value is None or difference.low is None or difference.high is None:
        return False, f"{' '.join(difference.warnings) or 'The log is too thin.'}"
    if difference.effective < LEAST_EFFECTIVE:
        return False, (
            f"The log is worth {difference.effective:.0f} decisions of {version}'s own, and at least"
            f" {LEAST_EFFECTIVE:.0f} are needed to judge it."
        )
    found = (
        f"{version} would have earned {difference.value:+.3f} a decision beyond what was done"
        f" (95 % interval {difference.low:+.3f} to {difference.high:+.3f}, {difference.judged} judged decisions)"
    )
    if difference.low > -margin:
        return True, f"{found}."
    wanted = f"above {-margin:+.3f}" if margin else "above 0"
    return False, f"{found}; the lower bound must be {wanted}."
