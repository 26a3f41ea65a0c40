"""The arms of a logged decision again, for a policy that did not take it to say what it would have done."""

from __future__ import annotations

import math

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Candidate
from pointsman.core.signals import Signals

from .predict import Arm, predict, success


def arm_again(candidate: Candidate, signals: Signals, card: ModelCard | None) -> Arm:
    """An arm as it stood when the decision was taken: cost, time, effort and switching cost as logged; what the rules
    predict of its success, from its card.

    Args:
        card: as it is now; None, of a model that is gone: it gets the success that was logged.
    """
    if card is None:
        provider, _, name = candidate.model.partition(":")
        card = ModelCard(id=candidate.model, provider=provider, name=name, quality=_prior(candidate, signals))
    [arm] = predict([card], signals)
    cost = candidate.cost_micro_usd
    return msgspec.structs.replace(
        arm,
        cost_micro_usd=cost,
        weighed_micro_usd=arm.weighed_micro_usd if cost is None else cost,
        latency_seconds=candidate.latency_seconds if math.isfinite(candidate.latency_seconds) else arm.latency_seconds,
        effort=candidate.effort,
        switching_cost=candidate.switching_cost,
    )


def _prior(candidate: Candidate, signals: Signals) -> float:
    """The quality of which `predict.success` makes what was logged."""
    quality = candidate.quality if 0 <= candidate.quality <= 1 else 0.5
    ease = success(0.5, signals.complexity.score)  # odds of 1 times the ease
    odds = quality * (1 - ease)
    return odds / (odds + (1 - quality) * ease) if odds else 0.0
