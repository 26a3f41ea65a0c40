"""Every gateway learns from what any of them was told: observations of the database flow into its posteriors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from pointsman.core.errors import StoreError
from pointsman.core.observation import Observation
from pointsman.core.ports import Clock
from pointsman.pipeline.decide import Decide, Policy
from pointsman.pipeline.decide.learned.policy import LearnedPolicy
from pointsman.pipeline.decide.staged import Staged
from pointsman.pipeline.record.shares import KeyShares, Pair
from pointsman.settings import Settings
from pointsman.stores.observations import REVISION, Cursor, ObservationStore, Stored
from pointsman.stores.watch import Watcher

log = logging.getLogger(__name__)

DAY = 86_400.0
MOST = 20_000
"""Observations in force, the latest."""
PAGE = 200
"""Rows that are read, and folded in, at a time: a few milliseconds of the loop."""
PAUSE = 0.2
"""Seconds between two turns: a storm of feedback is folded in five times a second, many rows at once."""
LOOK = 1.0
"""Seconds after which a turn comes in any case: another policy may serve, with posteriors of its own."""
AWAY = 2.0
"""Seconds between two turns while the database is away."""
JUMP = 60.0
"""Seconds by which the wall clock must be set for everything to be read again."""


class Learns(Protocol):
    """Posteriors that take up observations, each decision's once."""

    def fold(self, observations: Iterable[Observation], now: float) -> None: ...

    def forget(self, decisions: Iterable[str]) -> None: ...


class ObservationFeed:
    """Keeps posteriors at what the database says.

    What is in the database is read once for each posterior that comes to serve, newest decisions first; after that,
    what was written since. A decision may be read twice: folding replaces.

    Args:
        learners: the posteriors of the policies that serve now.
        window_days: age of decisions beyond which they no longer count.
        key_share: see `KeyShares`.
        verdicts: how far what a cascade thinks of answers is believed now, in [0, 1].
    """

    def __init__(
        self,
        store: ObservationStore,
        learners: Callable[[], Collection[Learns]],
        clock: Clock,
        *,
        window_days: float,
        key_share: float,
        verdicts: Callable[[], float] = lambda: 0.0,
        most: int = MOST,
    ) -> None:
        self._store = store
        self._learners = learners
        self._clock = clock
        self._window = window_days * DAY
        self._most = most
        self._shares = KeyShares(share=key_share, most=most)
        self._verdicts = verdicts
        self._believed = 0.0
        """How far verdicts were believed as of the last turn."""
        self._cursor: Cursor | None = None
        self._fed: list[Learns] = []
        self._moved = asyncio.Event()
        self._clocks = clock.now(), clock.monotonic()

    async def wake(self) -> None:
        """Something was written; returns at once."""
        self._moved.set()

    async def run(self) -> None:
        """Follow the database until cancelled."""
        away = False
        while True:
            moved = self._moved.is_set()
            self._moved.clear()
            try:
                await self.turn(moved=moved)
                away = False
            except StoreError as error:
                if not away:
                    log.warning("What was learned elsewhere cannot be read; going on with what is known. %s", error)
                away = True
                self._moved.set()
            except ImportError as error:  # the policy says the same, and lets the rules rank
                log.error("Nothing is learned from outcomes: NumPy cannot be loaded (%s).", error)
                return
            except Exception:  # whatever a fold runs into, learning goes on with what comes next
                if not away:
                    log.exception("What was observed could not be learned.")
                away = True
            await asyncio.sleep(AWAY if away else PAUSE)
            if not away:
                try:
                    await asyncio.wait_for(self._moved.wait(), LOOK)
                except TimeoutError:
                    continue

    async def turn(self, *, moved: bool = True) -> None:
        """Take up what was written since the last turn.

        Args:
            moved: whether anything was.

        Raises:
            StoreError: it cannot be read now.
        """
        learners = list(self._learners())
        if not learners:
            self._fed = []
            return
        if self._cursor is None:
            self._cursor = await self._store.end()
            moved = True
        if self._jumped():
            self._fed = []  # what had seemed too old is read again
        if self._believed != (believed := self._verdicts()):
            self._believed, self._fed = believed, []
        new = [one for one in learners if not any(one is fed for fed in self._fed)]
        if new:
            await self._fill(new)
        self._fed = learners
        while moved and (page := await self._store.after(self._cursor, PAGE)):
            try:
                await self._take_up(page, learners)
            except StoreError:
                raise
            except Exception:  # reading the same rows for ever would keep out all that come after them
                log.exception("%d observations could not be learned.", len(page))
            last = page[-1]
            self._cursor = Cursor(last.revision, last.observation.decision_id)
            if len(page) < PAGE:
                break
        gone = self._shares.trim(self._clock.now() - self._window)
        if gone:
            for learner in learners:
                learner.forget(gone)

    def _jumped(self) -> bool:
        """Whether the wall clock was set since the last turn."""
        before, self._clocks = self._clocks, (self._clock.now(), self._clock.monotonic())
        return abs((self._clocks[0] - before[0]) - (self._clocks[1] - before[1])) > JUMP

    async def _fill(self, learners: Sequence[Learns]) -> None:
        """Everything that is in force, for posteriors that know nothing of it yet."""
        read, before = 0, None
        since = self._clock.now() - self._window
        while read < self._most:
            page = await self._store.latest(since=since, before=before, most=min(PAGE, self._most - read))
            if not page:
                break
            await self._take_up(page, learners)
            read, before = read + len(page), page[-1]

    async def _take_up(self, page: Sequence[Stored], learners: Sequence[Learns]) -> None:
        taught = [lesson for stored in page for lesson in self._lessons(stored)]
        for one, pair in taught:
            self._shares.put(one.decision_id, pair, weight=one.weight, at=one.at)
        changed = list(self._shares.settle({one.model for one, _ in taught}))
        self._fold(taught, learners)
        for pair in changed:
            await self._weigh_anew(pair, learners)
        await asyncio.sleep(0)

    async def _weigh_anew(self, pair: Pair, learners: Sequence[Learns]) -> None:
        """Another share of a model is a key's: what it said before counts for more or less too."""
        before = None
        since = self._clock.now() - self._window
        while page := await self._store.latest(since=since, before=before, most=PAGE, of=pair):
            taught = [lesson for stored in page for lesson in self._lessons(stored)]
            self._fold([lesson for lesson in taught if lesson[0].decision_id in self._shares], learners)
            before = page[-1]
            await asyncio.sleep(0)

    def _lessons(self, stored: Stored) -> Iterator[tuple[Observation, Pair]]:
        """What a row tells of single models: nothing of those who wrote an answer together, and something of the one
        whose answer a cascade kept back."""
        one, kept_back = stored.observation, stored.rejected
        yield msgspec.structs.replace(one, weight=0.0) if stored.joint else one, (one.model, stored.key_id)
        if kept_back is not None:
            weight = kept_back.weight * self._believed
            yield msgspec.structs.replace(kept_back, weight=weight), (kept_back.model, stored.key_id)

    def _fold(self, taught: Sequence[tuple[Observation, Pair]], learners: Sequence[Learns]) -> None:
        now = self._clock.now()
        scaled = []
        for one, pair in taught:
            scale = self._shares.scale(pair)
            scaled.append(one if scale == 1 else msgspec.structs.replace(one, weight=one.weight * scale))
        for learner in learners:
            learner.fold(scaled, now)


def follow_observations(
    settings: Settings,
    store: ObservationStore,
    watcher: Watcher,
    decide: Decide,
    clock: Clock,
    shadows: Callable[[], Collection[Policy]] = tuple,
    verdicts: Callable[[], float] = lambda: 0.0,
) -> ObservationFeed:
    """The feed of the policy that serves, and of those on trial, woken by `watcher`; `run` it."""

    def learners() -> list[Learns]:
        policy = decide.policy
        serving = (policy.serving, policy.candidate) if isinstance(policy, Staged) else (policy,)
        return [one.bank for one in (*serving, *shadows()) if isinstance(one, LearnedPolicy)]

    learning = settings.learning
    feed = ObservationFeed(
        store,
        learners,
        clock,
        window_days=learning.window_days,
        key_share=learning.key_share,
        verdicts=verdicts,
    )
    watcher.watch(REVISION, feed.wake)
    return feed
