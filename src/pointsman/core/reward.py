"""What an answer was worth: from what is said of it to a success in [0, 1], and from there to a reward.

Everybody who reckons with outcomes takes them from here, so that training, replay and serving mean the same.
"""

from __future__ import annotations

import msgspec

from .observation import Source
from .outcome import Feedback

PARTIAL = 0.5


class RewardWeights(msgspec.Struct, frozen=True, kw_only=True):
    """What a good answer may cost and take: `reward`'s exchange rates."""

    cost_factor: float = 30.0
    """Success that a US dollar is worth: at 30, a good answer is worth about three cents."""
    latency_penalty: float = 0.004
    """Success that a second until the end of the answer is worth: at 0.004, a good answer is worth four minutes."""


def success_of(feedback: Feedback) -> tuple[float, Source]:
    """The success in [0, 1] that feedback tells, and what told it.

    The first that is given decides alone, from what is measured to what is felt:

    1. tests: passed / (passed + failed)
    2. outcome: success 1, partial 1/2, failure 0
    3. score: as it is
    4. edit: the share that was kept (1 where that is not said) of one that was accepted, else 0
    5. thumb: up 1, down 0

    Raises:
        ValueError: nothing of it is given.
    """
    tests, edit = feedback.tests, feedback.edit
    if tests is not None and tests.passed + tests.failed > 0:
        return tests.passed / (tests.passed + tests.failed), "tests"
    if feedback.outcome is not None:
        return {"success": 1.0, "partial": PARTIAL, "failure": 0.0}[feedback.outcome], "feedback"
    if feedback.score is not None:
        return min(1.0, max(0.0, feedback.score)), "feedback"
    if edit is not None:
        kept = 1.0 if edit.kept_share is None else min(1.0, max(0.0, edit.kept_share))
        return kept if edit.accepted else 0.0, "edit"
    if feedback.thumb is not None:
        return float(feedback.thumb == "up"), "feedback"
    raise ValueError("the feedback says nothing of success")


def reward(
    success: float, *, cost_micro_usd: int | None, seconds: float | None, weights: RewardWeights | None = None
) -> float:
    """success − cost_factor × dollars − latency_penalty × seconds.

    Args:
        success: in [0, 1].
        cost_micro_usd: of the whole answer, failed attempts included; None, where no price is known: nothing is taken
            off, so that whoever compares must leave such answers out.
        seconds: to the end of the answer; None: nothing is taken off.

    Raises:
        ValueError: a number that makes no sense (NaN, or below 0).
    """
    weights = weights or RewardWeights()
    cost, taken = cost_micro_usd or 0, seconds or 0.0
    if not (0 <= success <= 1 and cost >= 0 and 0 <= taken < float("inf")):
        raise ValueError(f"success {success}, cost {cost} and seconds {taken} are no outcome")
    return success - weights.cost_factor * cost / 1_000_000 - weights.latency_penalty * taken
