"""The arms of a logged decision again, for a policy that did not take it to say what it would have done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Candidate
from pointsman.core.signals import Signals

from .predict import Arm, predict


def arms_again(candidates: Sequence[Candidate], signals: Signals, find: Callable[[str], ModelCard | None]) -> list[Arm]:
    """An arm for each candidate: cost, latency and switching cost as they were logged, the model's card as it is now.

    A model that is gone gets a card of what the log says of it, so that a decision in which it could be chosen stays
    one.

    Args:
        find: a model's card by its id; None where there is none.
    """
    arms = []
    for candidate in candidates:
        card = find(candidate.model) or _gone(candidate)
        [arm] = predict([card], signals)
        cost = candidate.cost_micro_usd
        arms.append(
            msgspec.structs.replace(
                arm,
                quality=arm.quality if find(candidate.model) is not None else candidate.quality,
                cost_micro_usd=cost,
                weighed_micro_usd=arm.weighed_micro_usd if cost is None else cost,
                latency_seconds=candidate.latency_seconds,
                effort=candidate.effort,
                switching_cost=candidate.switching_cost,
            )
        )
    return arms


def _gone(candidate: Candidate) -> ModelCard:
    provider, _, name = candidate.model.partition(":")
    return ModelCard(id=candidate.model, provider=provider, name=name, quality=candidate.quality)
