"""Keeps implicit signals in the database, and how far each kind of them is believed."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable

from pointsman.core.errors import StoreError
from pointsman.core.observation import VERDICT, Implicit
from pointsman.core.ports import Clock
from pointsman.pipeline.record.implicit import belief
from pointsman.pipeline.record.replies import read_rules
from pointsman.pipeline.record.shares import largest
from pointsman.stores.observations import Agreement, ObservationStore

log = logging.getLogger(__name__)

DAY = 86_400.0
MOST = 2_000
"""Signals that wait to be written; beyond it the oldest are forgotten: they are guesses."""
BATCH = 200
FLUSH = 0.5
"""Seconds between two looks at what waits."""
SETTLED = 1.5
"""Seconds that a signal waits at least: the log writes answers behind them, and until then there is nothing to note it
of."""
WEIGH = 300.0
"""Seconds between two times that the kinds are weighed anew."""


class ImplicitKeeper:
    """Writes signals behind the requests.

    Args:
        window_days: age of signals beyond which they no longer tell how right their kind is.
        key_share: of the cases by which a kind is weighed, how many one key may bring once several do; see `KeyShares`.
    """

    def __init__(
        self,
        store: ObservationStore,
        clock: Clock,
        *,
        window_days: float,
        key_share: float = 1.0,
        weigh: float = WEIGH,
        settled: float = SETTLED,
    ) -> None:
        self._store = store
        self._clock = clock
        self._window = window_days * DAY
        self._key_share = key_share
        self._weigh = weigh
        self._settled = settled
        self._waiting: deque[tuple[float, Implicit]] = deque(maxlen=MOST)
        """With when they came, on the monotonic clock."""
        self.weights: dict[str, float] = {}
        """Of each kind, in [0, 1]; of others 0."""

    @property
    def verdicts(self) -> float:
        """How far what a cascade thinks of answers is believed."""
        return self.weights.get(VERDICT, 0.0)

    def keep(self, signal: Implicit) -> None:
        """Take up a signal; returns at once."""
        self._waiting.append((self._clock.monotonic(), signal))

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
        """Write what has waited long enough. Raises StoreError; what was not written goes on waiting."""
        until = self._clock.monotonic() - self._settled
        while self._waiting and self._waiting[0][0] <= until:
            batch: list[tuple[float, Implicit]] = []
            while self._waiting and self._waiting[0][0] <= until and len(batch) < BATCH:
                batch.append(self._waiting.popleft())
            try:
                await self._store.note([signal for _, signal in batch], self.weights)
            except StoreError:
                self._waiting.extendleft(reversed(batch))
                raise

    async def weigh(self) -> None:
        """Reckon anew how far each kind is believed, and believe what is known already as far. Raises StoreError."""
        agreements = await self._store.agreements(self._clock.now() - self._window)
        weights = believed(agreements, self._key_share)
        for kind in {*weights, *self.weights}:
            changed = await self._store.weigh(kind, weights.get(kind, 0.0))
            if changed:
                log.info("Signals of the kind %s now count %.2f each.", kind, weights.get(kind, 0.0))
        self.weights = weights


def believed(agreements: Iterable[Agreement], key_share: float) -> dict[str, float]:
    """The weight of each kind, to which no key brings more cases than its share."""
    kinds: dict[str, list[Agreement]] = {}
    for one in agreements:
        kinds.setdefault(one.kind, []).append(one)
    weights = {}
    for kind, several in kinds.items():
        most = largest([one.cases for one in several], key_share)
        counted = [min(1.0, most / one.cases) for one in several]
        right = sum(share * one.right for share, one in zip(counted, several, strict=True))
        cases = sum(share * one.cases for share, one in zip(counted, several, strict=True))
        weights[kind] = belief(int(right + 1e-9), int(cases + 1e-9))
    return weights
