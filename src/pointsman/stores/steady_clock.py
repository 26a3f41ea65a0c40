"""A clock that follows another one but never goes back, and never stands still."""

from __future__ import annotations

from collections.abc import Callable


class SteadyClock:
    """Wall time for windows and periods.

    A wall clock that is set forward is followed at once. One that is set back is waited for at half speed: no window
    begins twice, and none lasts more than twice its length.
    """

    __slots__ = ("_monotonic", "_now", "_seen", "_wall")

    def __init__(self, wall: Callable[[], float], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._now = wall()
        self._seen = monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        seen = self._monotonic()
        self._now = max(self._wall(), self._now + (seen - self._seen) / 2)
        self._seen = seen
        return self._now
