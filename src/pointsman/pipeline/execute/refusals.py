"""What models are said to take and refuse, as proxies, new versions and thinking make them do: it is not asked of them
again for a while."""

from __future__ import annotations

from pointsman.core.ports import Clock

LEFT_FOR = 3_600.0
"""Seconds in which it is not asked of a model again."""
MOST = 1_000
"""Models that are remembered, the last to refuse."""
NO_PREFILL = "It does not go on by prefill: it is asked in words."
NO_LOGPROBS = "It takes no request for log-probabilities: it is judged without them."


class Refusals:
    """Who refused of late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until: dict[str, float] = {}

    def refuses(self, model: str) -> bool:
        until = self._until.get(model)
        return until is not None and until > self._clock.monotonic()

    def note(self, model: str) -> None:
        self._until.pop(model, None)
        self._until[model] = self._clock.monotonic() + LEFT_FOR
        while len(self._until) > MOST:
            del self._until[next(iter(self._until))]

    def forget(self, model: str) -> None:
        """It refuses what is asked instead as well, so that it was not for this."""
        self._until.pop(model, None)
