"""Tells a process what other processes have changed, within a second.

Whoever changes keys, credentials or the promoted policy adds `bump(name)` to the transaction. Every process reads the
few counters a little oftener than twice a second and loads anew what has moved.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from pointsman.core.errors import StoreError, StoreUnavailable
from pointsman.core.ports import Clock

from .database import Database, Statement

log = logging.getLogger(__name__)

INTERVAL = 0.4
"""Seconds between two looks: with the reload it must stay under a second."""

Reload = Callable[[], Awaitable[None]]


def bump(name: str) -> Statement:
    """The statement that tells every process to load `name` anew."""
    return Statement(
        "INSERT INTO revisions VALUES ($1, 1) ON CONFLICT (name) DO UPDATE SET value = revisions.value + 1", (name,)
    )


class Watcher:
    """Reloads what has changed. `age` says how long ago the database was last known to answer."""

    def __init__(self, database: Database, clock: Clock, *, interval: float = INTERVAL) -> None:
        self._database = database
        self._clock = clock
        self._interval = interval
        self._reloads: dict[str, Reload] = {}
        self._seen: dict[str, int] = {}
        self._read_at = clock.monotonic()
        self._away = False
        self._task: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    @property
    def away(self) -> bool:
        """Whether the database did not answer when it was asked last."""
        return self._away

    @property
    def age(self) -> float:
        """Seconds since everything watched was last known to be current."""
        return self._clock.monotonic() - self._read_at

    def watch(self, name: str, reload: Reload, *, first: bool = False) -> None:
        """Call `reload` at the start, and whenever the revision `name` has moved.

        Args:
            first: before everything else that is watched so far.
        """
        self._reloads = {name: reload, **self._reloads} if first else {**self._reloads, name: reload}

    async def start(self, *, patient: bool = False) -> None:
        """Load everything once, then go on looking.

        Args:
            patient: go on without, when the database is away at the start; everything is loaded once it answers.

        Raises:
            StoreError: the first load failed.
        """
        try:
            await self._look(first=True)
        except StoreError as error:
            if not patient or not isinstance(error, StoreUnavailable):
                raise
            self._away = True
            log.warning("The database does not answer; going on without what it holds. %s", error.message)
        self._task = asyncio.create_task(self._run(), name="store-watcher")

    async def look(self) -> None:
        """Look now: after a change of our own, so that it holds before the answer to it is sent."""
        await self._look()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self._look()
            except StoreError as error:
                if not self._away:
                    self._away = True
                    log.warning("The database does not answer; going on with what is known. %s", error.message)
            except Exception as error:  # whatever a reload runs into: looking goes on, and `age` tells that it fails
                if not self._away:
                    self._away = True
                    log.error("%s while loading anew what has changed.", type(error).__name__, exc_info=True)
            else:
                if self._away:
                    self._away = False
                    log.info("The database answers again.")

    async def _look(self, *, first: bool = False) -> None:
        async with self._turn:  # a slower look that read earlier must not undo what a later one has loaded
            await self._look_in_turn(first=first)

    async def _look_in_turn(self, *, first: bool) -> None:
        begun = self._clock.monotonic()
        now: dict[str, int] = dict(await self._database.fetch("SELECT name, value FROM revisions"))
        if any(now.get(name, 0) < value for name, value in self._seen.items()):
            # Damaged and begun anew, deleted, or brought back from a copy: no change of anyone's. An empty table of
            # keys must not open the door of a gateway that runs.
            raise StoreUnavailable(
                "The database is another one than at the start. What was known goes on to hold; restart the gateway to"
                " take the database as it is."
            )
        for name, reload in self._reloads.items():
            value = now.get(name, 0)
            if first or self._seen.get(name) != value:
                await reload()
                self._seen[name] = value
        self._read_at = begun
