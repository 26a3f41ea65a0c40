"""Keeps implicit signals in the database, and how far each kind of them is believed."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from pointsman.core.errors import StoreError
from pointsman.core.observation import Implicit
from pointsman.core.ports import Clock
from pointsman.pipeline.record.implicit import belief
from pointsman.pipeline.record.replies import read_rules
from pointsman.stores.observations import ObservationStore

log = logging.getLogger(__name__)

DAY = 86_400.0
MOST = 2_000
"""Signals that wait to be written; beyond it the oldest are forgotten: they are guesses."""
BATCH = 200
FLUSH = 0.5
"""Seconds between two looks at what waits."""
WEIGH = 300.0
"""Seconds between two times that the kinds are weighed anew."""


class ImplicitKeeper:
    """Writes signals behind the requests.

    Args:
        window_days: age of signals beyond which they no longer tell how right their kind is.
    """

    def __init__(self, store: ObservationStore, clock: Clock, *, window_days: float, weigh: float = WEIGH) -> None:
        self._store = store
        self._clock = clock
        self._window = window_days * DAY
        self._weigh = weigh
        self._waiting: deque[Implicit] = deque(maxlen=MOST)
        self.weights: dict[str, float] = {}
        """Of each kind, in [0, 1]; of others 0."""

    def keep(self, signal: Implicit) -> None:
        """Take up a signal; returns at once."""
        self._waiting.append(signal)

    async def run(self) -> None:
        """Write and weigh until cancelled."""
        await asyncio.to_thread(read_rules)  # so that no request waits for it
        weighed_at, away = float("-inf"), False
        while True:
            try:
                if self._clock.monotonic() - weighed_at >= self._weigh:
                    weighed_at = self._clock.monotonic()
                    await self.weigh()
                await self.flush()
                away = False
            except StoreError as error:
                if not away:
                    log.warning("What callers do next is not noted while the database is away. %s", error.message)
                away = True
            except Exception:  # a guess is not worth more than a line in the log
                if not away:
                    log.exception("What callers do next could not be noted.")
                away = True
            await asyncio.sleep(FLUSH)

    async def flush(self) -> None:
        """Write what waits. Raises StoreError; what was not written goes on waiting."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH))]
            try:
                await self._store.note(batch, self.weights)
            except StoreError:
                self._waiting.extendleft(reversed(batch))
                raise

    async def weigh(self) -> None:
        """Reckon anew how far each kind is believed, and believe what is known already as far. Raises StoreError."""
        agreements = await self._store.agreements(self._clock.now() - self._window)
        weights = {one.kind: belief(one.right, one.cases) for one in agreements}
        for kind in {*weights, *self.weights}:
            changed = await self._store.weigh(kind, weights.get(kind, 0.0))
            if changed:
                log.info("Signals of the kind %s now count %.2f each.", kind, weights.get(kind, 0.0))
        self.weights = weights
