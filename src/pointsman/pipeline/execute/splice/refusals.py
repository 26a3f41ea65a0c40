"""Models that are said to go on by prefill and refuse it, as proxies, new versions and thinking make them do."""

from __future__ import annotations

import msgspec

from pointsman.core.catalog import ModelCard
from pointsman.core.ports import Clock

LEFT_FOR = 3_600.0
"""Seconds in which a model is not asked by prefill again."""
MOST = 1_000
"""Models that are remembered, the last to refuse."""
NOTE = "It does not go on by prefill: it is asked in words."


class Refusals:
    """Who refused of late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def heeded(self, card: ModelCard) -> ModelCard:
        """The card as answers that broke off are gone on with: without prefill while its model is known to refuse."""
        if card.prefill is None or self._until.get(card.id, 0.0) <= self._clock.monotonic():
            return card
        return msgspec.structs.replace(card, prefill=None)

    def note(self, model: str) -> None:
        self._until.pop(model, None)
        self._until[model] = self._clock.monotonic() + LEFT_FOR
        while len(self._until) > MOST:
            del self._until[next(iter(self._until))]

    def forget(self, model: str) -> None:
        """It refuses words as well, so that it was not for the prefill."""
        self._until.pop(model, None)
