"""Time in queues, as a part of what a model is expected to take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.decision import Candidate

from .predict import Arm

Waits = Callable[[str | None, str | None], Mapping[str, float]]
"""A key and its tier → provider or model id → seconds that a request would wait now; `core.ports.Queues.waits`."""


def wait_for(card: ModelCard, waits: Mapping[str, float]) -> float:
    """Seconds."""
    return waits.get(card.provider) or waits.get(card.id) or 0.0


def after_waiting(arms: Sequence[Arm], waits: Mapping[str, float]) -> list[Arm]:
    """The arms with the time in queues added to their latency."""
    seen = []
    for arm in arms:
        wait = wait_for(arm.card, waits)
        if wait:
            arm = msgspec.structs.replace(
                arm,
                queue_seconds=wait,
                latency_seconds=arm.latency_seconds + wait,
                latency_high_seconds=arm.latency_high_seconds + wait,
            )
        seen.append(arm)
    return seen


def why_not_waiting(chosen: Candidate, unhurried: Candidate, waits: Mapping[str, float]) -> str | None:
    """A sentence where queues tipped the choice.

    Args:
        unhurried: what would have been chosen without them.
    """
    model = unhurried.model
    wait = waits.get(model.partition(":")[0]) or waits.get(model) or 0.0
    if chosen.model == model or not wait:
        return None
    return f"{model} would have been chosen, but a request would wait about {wait:.{0 if wait >= 10 else 1}f} s for it."
