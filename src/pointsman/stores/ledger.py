"""The books: one row for every call that may cost money, durable before the call is made.

Reservations that come at the same time share a transaction. While the database is away or slow, rows are spooled to a
file, which a task beside the requests writes when it can. Sums over the rows are the truth from which the shared
counters are seeded.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from pointsman.core.books import Booked, Entry, Item, Raise, Settle, Spent
from pointsman.core.budget import Scope
from pointsman.core.errors import StoreError, StoreUnavailable

from .database import Database, Statement
from .ledger_rows import booked, inserts, raises, settles
from .ledger_spool import LedgerSpool
from .ledger_sums import LedgerSums

log = logging.getLogger(__name__)

BATCH = 200
LINGER = 0.05
"""Seconds that a settled row waits for others to share its transaction; less than a seed waits for the books."""
RETRY = 1.0
"""Seconds between two attempts to write what was spooled."""
PATIENCE = 1.0
"""Seconds that a request waits for the database before its row goes to the spool."""
QUIET = 3.0
"""Seconds after the shared database was last away before counters are seeded from its sums: other processes, too, have
rows to bring that they spooled."""
BRINGING = 30
"""Seconds for which a process that brings spooled rows is waited for, after each batch of them."""


class Ledger:
    """A `core.books.Books`. Reads raise StoreError when the database is away; writes when the spool fails too."""

    def __init__(self, database: Database, folder: Path) -> None:
        """
        Args:
            folder: where rows are spooled while the database is away.
        """
        self._database = database
        self._sums = LedgerSums(database)
        self.process = f"{os.getpid():x}-{os.urandom(6).hex()}"
        """Names this process, for the life of it."""
        self._spool: LedgerSpool[Item] = LedgerSpool(folder, msgspec.json.Decoder(Item), self.process)
        self._queue: list[tuple[Item, asyncio.Future[bool]]] = []
        self._wake = asyncio.Event()
        self._soon: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._whole = False
        """Whether what dead processes have spooled is written."""
        self._closing = False
        self.spooled = 0
        """Rows that wait in the file."""
        self._file = asyncio.Lock()
        """Held while the file is read or written, and while it changes whether anything is in it."""
        self._slow: asyncio.Task[list[bool]] | None = None
        """A transaction that nobody waits for any more: its rows are in the spool too."""
        self._replaying: asyncio.Task[None] | None = None
        self._away_at = float("-inf")
        """When the database was last found to be away, on the monotonic clock."""
        self._bringing = f"ledger-spool:{self.process}"
        self._refusing = False
        """Whether neither the database nor the spool took the last batch: said once, and not with each."""

    async def start(self) -> None:
        """Begin to write; takes over what dead processes of this folder have spooled.

        Raises:
            StoreError: the database does not take that now. Sums lack it until a later call has brought it.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="ledger")
        if self._whole:
            return
        try:
            with self._spool.left_behind() as items:
                for start in range(0, len(items), BATCH):
                    await self._write(items[start : start + BATCH])
            if items:
                log.info("wrote %d rows of the ledger that an earlier process had spooled", len(items))
        except (StoreError, OSError) as error:
            if isinstance(error, StoreError) and error.code == "store_unavailable":
                raise
            log.warning("What an earlier process spooled cannot be written: %s", error)
        self._whole = True

    async def close(self) -> None:
        """Write what waits, or spool it."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
            self._task = None
        if self._replaying is not None:
            await asyncio.wait({self._replaying}, timeout=PATIENCE)
        for task in (self._replaying, self._slow):  # what they write is in the file as well
            if task is not None and not task.done():
                task.cancel()
        with contextlib.suppress(OSError):
            self._spool.close()

    async def reserve(self, entry: Entry) -> bool:
        """Keep a reservation; it is durable when this returns. False: in the spool, where others do not see it.

        Raises:
            StoreError: neither the database nor the spool took it.
        """
        return await self._put(entry)

    async def raise_to(self, change: Raise) -> bool:
        """Keep a higher reservation; as `reserve`."""
        return await self._put(change)

    async def settle(self, settled: Settle) -> bool:
        """Keep what a request cost; False when it was settled or released before."""
        return await self._put(settled)

    async def corrected(self, identifier: str) -> None:
        """The counters have what a row that was settled late cost: when they are next seeded, it counts by that."""
        await self._database.execute("UPDATE ledger SET late_until = NULL WHERE id = $1", identifier)

    async def get(self, identifier: str) -> Booked | None:
        rows = await self._rows("l.id = $1", identifier)
        return rows[0] if rows else None

    async def lapsed(self, now: float, *, alone: bool, limit: int = 200) -> list[Booked]:
        """Reservations that their process did not settle: past their lease or, where this process is the only one,
        everybody else's."""
        where = "l.state = 'reserved' AND (l.lease_until < $1" + (" OR l.process <> $2)" if alone else ")")
        return await self._rows(where, now, *((self.process,) if alone else ()), limit=limit)

    async def unsettled(self, limit: int = 200) -> list[Booked]:
        """Calls of which nobody knows what they cost, oldest first."""
        return await self._rows("l.state = 'unsettled'", limit=limit)

    async def sums(self, wanted: Sequence[tuple[Scope, str, str]], now: float, *, under_way: bool = False) -> list[int]:
        """What (scope, name, period) stand at: what was settled, and the worst case of what was not."""
        if not under_way:
            await self._check_whole()
        return [await self._sums.stands_at(*total, now, under_way=under_way) for total in wanted]

    async def _check_whole(self) -> None:
        """Raise StoreUnavailable while rows are still on the way from a disk: counters that were seeded without them
        would let too much pass."""
        waiting = bool(self.spooled)
        if self._database.dialect == "postgres":
            waiting = waiting or time.monotonic() - self._away_at < QUIET
            waiting = waiting or bool(
                await self._database.fetch(
                    f"SELECT 1 FROM revisions WHERE name LIKE 'ledger-spool:%' AND value > {_POSTGRES_NOW} LIMIT 1"  # noqa: S608
                )
            )
        if waiting:
            raise StoreUnavailable("The ledger's rows are still on the way from the disk to the database.")

    async def first_alert(self, total: str, at: float) -> bool:
        """Whether this total has raised no alert before."""
        sql = "INSERT INTO budget_alerts VALUES ($1, $2) ON CONFLICT (total) DO NOTHING"
        return await self._database.execute(sql, total, at) == 1

    async def spent(self, period: str) -> list[Spent]:
        return await self._sums.spent(period)

    async def archive(self, now: float, *, keep_seconds: float) -> int:
        return await self._sums.archive(now, keep_seconds=keep_seconds)

    async def _rows(self, where: str, *values: object, limit: int = 1) -> list[Booked]:
        rows = await self._database.fetch(
            "SELECT l.id, l.at, l.key_id, l.process, l.lease_until, l.reserved, l.settled, l.state FROM ledger l"  # noqa: S608
            f" WHERE {where} ORDER BY l.at LIMIT {int(limit)}",
            *values,
        )
        found = []
        for row in rows:
            models = await self._database.fetch(
                "SELECT model, reserved, settled FROM ledger_models WHERE id = $1", row[0]
            )
            found.append(booked(row, models))
        return found

    async def _put(self, item: Item) -> bool:
        if self._task is None or self._closing:
            raise StoreError("The ledger is closed.")
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._queue.append((item, done))
        if isinstance(item, Settle) and not item.late and item.state == "settled" and not self._closing:
            if self._soon is None:  # nobody waits for it: it goes with the next reservation
                self._soon = asyncio.get_running_loop().call_later(LINGER, self._wake.set)
        else:
            self._wake.set()
        return await done

    async def _run(self) -> None:
        """Write what has gathered, again and again; what comes meanwhile is the next batch."""
        while not (self._closing and not self._queue):
            if not self._queue:
                await self._wake.wait()
                self._wake.clear()
            batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
            if self._soon is not None:
                self._soon.cancel()
                self._soon = None
            if not batch:
                continue
            try:
                await self._flush(batch)
            except Exception as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(StoreError(f"The ledger cannot be written: {error}"))
                if not isinstance(error, OSError | StoreError):
                    log.exception("the ledger failed unexpectedly")
                elif not self._refusing:
                    self._refusing = True
                    log.error("The ledger cannot be written, and what would go into it is refused: %s", error)
            else:
                self._refusing = False

    async def _flush(self, batch: list[tuple[Item, asyncio.Future[bool]]]) -> None:
        items = [item for item, _ in batch]
        why = None
        if not self.spooled:
            try:
                results = await self._write_soon(items)
            except StoreError as error:
                if error.code != "store_unavailable":
                    raise
                self._away_at = time.monotonic()
                why = f"The ledger cannot be written and is spooled to a file: {error.message}"
            else:
                if results is not None:
                    self._tell(batch, results)
                    return
                why = "The database is slow: the ledger is spooled to a file and written beside the requests."
        async with self._file:
            # In order, for a row must be there before it is settled: nothing passes what is spooled.
            await asyncio.to_thread(self._spool.append, items)
            self.spooled += len(items)
        if why is not None:
            log.warning("%s", why)
        if self._replaying is None or self._replaying.done():
            self._replaying = asyncio.create_task(self._replay(), name="ledger-replay")
        # What is settled here was not settled before as far as anyone can tell; the database has the last word.
        self._tell(batch, [isinstance(item, Settle) for item in items])

    async def _write_soon(self, items: Sequence[Item]) -> list[bool] | None:
        """Write the items; None when that takes long. It may yet come to pass then, which does no harm: written
        twice is written once."""
        writing = asyncio.create_task(self._write(items))
        await asyncio.wait({writing}, timeout=PATIENCE)
        if writing.done():
            return writing.result()
        self._slow = writing
        return None

    async def _replay(self) -> None:
        """Write what is spooled until nothing of it is left, a transaction a batch."""
        if self._slow is not None:
            await asyncio.wait({self._slow})
            if not self._slow.cancelled():
                self._slow.exception()  # known: whatever came of it is done anew
            self._slow = None
        written = 0
        told = False
        while True:
            try:
                async with self._file:
                    items = await asyncio.to_thread(self._spool.peek, BATCH)
                if not items:
                    await self._database.execute("DELETE FROM revisions WHERE name = $1", self._bringing)
                    async with self._file:
                        if not await asyncio.to_thread(self._spool.peek, 1):
                            self.spooled = 0
                            break
                    continue
                await self._write(items, bringing=True)
                async with self._file:
                    await asyncio.to_thread(self._spool.advance)
                    self.spooled = max(1, self.spooled - len(items))  # others still count on the rest
                    written += len(items)
            except (StoreError, OSError) as error:
                self._away_at = time.monotonic()
                if not told and not (isinstance(error, StoreError) and error.code == "store_unavailable"):
                    told = True
                    log.error("The ledger's spooled rows cannot be written: %s", error)
                await asyncio.sleep(RETRY)
        log.info("wrote %d rows of the ledger that had been spooled", written)

    def _tell(self, batch: list[tuple[Item, asyncio.Future[bool]]], results: list[bool]) -> None:
        for (_, done), result in zip(batch, results, strict=True):
            if not done.done():
                done.set_result(result)

    async def _write(self, items: Sequence[Item], *, bringing: bool = False) -> list[bool]:
        """Write the items in one transaction; returns for each whether it changed something.

        Args:
            bringing: tell others that there may be more.
        """
        entries = [item for item in items if isinstance(item, Entry)]
        statements = [statement for start in range(0, len(entries), 50)
                      for statement in inserts(entries[start : start + 50], self.process)]  # fmt: skip
        places: list[int | None] = []
        for item in items:
            if isinstance(item, Entry):
                places.append(None)
                continue
            statements += raises(item) if isinstance(item, Raise) else settles(item)
            places.append(len(statements) - 1)
        if bringing and self._database.dialect == "postgres":
            statements.append(Statement(_BRINGING, (self._bringing,)))
        touched = await self._database.transaction(statements)
        return [place is None or touched[place] == 1 for place in places]


_POSTGRES_NOW = "CAST(EXTRACT(EPOCH FROM now()) AS BIGINT)"
_BRINGING = (
    f"INSERT INTO revisions VALUES ($1, {_POSTGRES_NOW} + {BRINGING})"  # noqa: S608
    " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
