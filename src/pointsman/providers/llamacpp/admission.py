"""Who may use an engine now: as many answers as it has slots, a bounded queue behind them, first come first served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pointsman.core.errors import Overloaded, UpstreamTimeout

GUESS_SECONDS = 2.0
"""What an answer is taken to last before one has been measured."""
WEIGHT = 0.2
"""Of the newest answer in the running average."""
LONGEST_WAIT = 120.0


class Admission:
    """The slots of one engine and the queue before them.

    Args:
        slots: answers at the same time.
        queue: requests that may wait; 0 refuses whatever cannot start at once.
    """

    def __init__(self, *, slots: int, queue: int) -> None:
        self.slots = slots
        self.queue = queue
        self.running = 0
        self.waiting = 0
        self.average_seconds = GUESS_SECONDS
        """How long an answer lasts, as a running average."""
        self._free = asyncio.Semaphore(slots)

    @property
    def retry_after(self) -> float:
        """Seconds until the queue is likely to have moved by one."""
        return min(max(1.0, self.average_seconds / self.slots), LONGEST_WAIT)

    @asynccontextmanager
    async def slot(self, timeout: float) -> AsyncIterator[None]:
        """Hold a slot.

        Args:
            timeout: seconds to wait for one.

        Raises:
            Overloaded: the queue is full.
            UpstreamTimeout: none became free in time.
        """
        if self._free.locked() and self.waiting >= self.queue:
            raise Overloaded(
                f"{self.running} answers are being written and {self.waiting} requests wait for this model, which is"
                " as many as may; try again shortly.",
                retry_after=self.retry_after,
            )
        self.waiting += 1
        try:
            async with asyncio.timeout(timeout):
                await self._free.acquire()
        except TimeoutError:
            raise UpstreamTimeout("first_byte", timeout) from None
        finally:
            self.waiting -= 1
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
            self._free.release()
            self.average_seconds += WEIGHT * (loop.time() - started - self.average_seconds)
