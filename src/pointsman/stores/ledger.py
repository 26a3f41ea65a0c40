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
from functools import cache
from pathlib import Path

import msgspec

from pointsman.core.books import Booked, Entry, Item, Raise, Settle, Spent
from pointsman.core.budget import Scope
from pointsman.core.errors import StoreError, StoreUnavailable
from pointsman.core.periods import bounds_of, period_of

from .database import Database, Row, Statement
from .ledger_spool import LedgerSpool

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
LATE = 10.0
"""Seconds for which a row that was settled late still counts by its worst case when counters are seeded: whoever
settled it corrects them afterwards, and must not find the correction made."""


class Ledger:
    """A `core.books.Books`. Reads raise StoreError when the database is away; writes when the spool fails too."""

    def __init__(self, database: Database, folder: Path) -> None:
        """
        Args:
            folder: where rows are spooled while the database is away.
        """
        self._database = database
        self.process = f"{os.getpid():x}-{os.urandom(6).hex()}"
        """Names this process, for the life of it."""
        self._spool: LedgerSpool[Item] = LedgerSpool(folder, msgspec.json.Decoder(Item), self.process)
        self._queue: list[tuple[Item, asyncio.Future[bool]]] = []
        self._wake = asyncio.Event()
        self._soon: asyncio.TimerHandle | None = None
        self._summed: dict[str, str] = {}
        """Closed month → the day on which this process last summed it up."""
        self._task: asyncio.Task[None] | None = None
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

    async def start(self) -> None:
        """Begin to write; takes over what dead processes of this folder have spooled."""
        if self._task is not None:
            return
        try:
            with self._spool.left_behind() as items:
                if items:
                    for start in range(0, len(items), BATCH):
                        await self._write(items[start : start + BATCH])
                    log.info("wrote %d rows of the ledger that an earlier process had spooled", len(items))
        except (StoreError, OSError) as error:
            log.warning("What an earlier process spooled cannot be written now: %s", error)
        self._task = asyncio.create_task(self._run(), name="ledger")

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
        found = []
        counted, counted_model = (_UNDER_WAY, _UNDER_WAY_MODEL) if under_way else (_COUNTED, _COUNTED_MODEL)
        for scope, name, period in wanted:
            column = "month" if len(period) == 7 else "day"
            # Of calls under way there are few, and an index of their own finds them; the period's would find all calls.
            at = f"{column} || '' = $2 AND l.state IN ('reserved', 'unsettled')" if under_way else f"{column} = $2"
            archived = await self._database.fetch(
                "SELECT micro_usd FROM spend WHERE scope = $1 AND name = $2 AND period = $3 AND final = 1",
                scope, name, period,
            )  # fmt: skip
            if archived:
                found.append(int(archived[0][0]))
                continue
            if scope == "model":
                sql = (
                    f"SELECT COALESCE(SUM({counted_model}), 0) FROM ledger l CROSS JOIN ledger_models m"  # noqa: S608
                    f" WHERE l.{at} AND m.id = l.id AND m.model = $3"
                    if under_way
                    else f"SELECT COALESCE(SUM({counted_model}), 0) FROM ledger_models m JOIN ledger l ON l.id = m.id"  # noqa: S608
                    f" WHERE m.{at} AND m.model = $3"
                )
            elif scope == "key":
                sql = f"SELECT COALESCE(SUM({counted}), 0) FROM ledger l WHERE l.{at} AND l.key_id = $3"  # noqa: S608
            else:
                sql = f"SELECT COALESCE(SUM({counted}), 0) FROM ledger l WHERE l.{at}"  # noqa: S608
            values = (now, period, name) if scope != "global" else (now, period)
            found.append(int((await self._database.fetch(sql, *values))[0][0]))
        return found

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
        """What everybody and every model spent in a day or month, from the archive or the rows."""
        rows = await self._database.fetch(
            "SELECT scope, name, micro_usd, requests FROM spend WHERE period = $1 ORDER BY scope, name", period
        )
        if not rows:
            column = "month" if len(period) == 7 else "day"
            for select in _summaries(column):
                rows += [row[:2] + row[3:] for row in await self._database.fetch(select, period)]
        if not rows:  # no budget held in it: the decision log knows what was paid
            for select in _LOGGED:
                rows += await self._database.fetch(select, *bounds_of(period))
        return [
            Spent(scope=scope, name=name, period=period, micro_usd=int(sum_), requests=int(count))
            for scope, name, sum_, count in rows
        ]

    async def archive(self, now: float, *, keep_seconds: float) -> int:
        """Sum up closed periods, and drop their rows after a while; returns how many rows went.

        Several replicas may do this at once: the sums are the same whoever writes them, and are final once rows go.
        A month with calls that nobody settled keeps its rows.
        """
        today = period_of(now)
        months = [row[0] for row in await self._database.fetch(
            "SELECT DISTINCT month FROM ledger WHERE month < $1", today.month)]  # fmt: skip
        days = [row[0] for row in await self._database.fetch(
            "SELECT DISTINCT day FROM ledger WHERE day < $1", today.day)]  # fmt: skip
        archived = {row[0] for row in await self._database.fetch("SELECT DISTINCT period FROM spend")}
        soon = period_of(now - 2 * 86_400).day
        # A closed month is summed up again once a day, for what was settled or released late: it may have many rows.
        old = period_of(now - keep_seconds).month
        stale = [
            month for month in months
            if month not in archived or month < old or self._summed.get(month) != today.day
        ]  # fmt: skip
        for period in [*stale, *(day for day in days if day not in archived or day >= soon)]:
            column = "month" if len(period) == 7 else "day"
            statements = [
                Statement(
                    f"INSERT INTO spend (scope, name, period, micro_usd, requests) {select}"
                    " ON CONFLICT (scope, name, period) DO UPDATE SET micro_usd = excluded.micro_usd,"
                    " requests = excluded.requests WHERE spend.final = 0",
                    (period,),
                )
                for select in _summaries(column)
            ]
            await self._database.transaction(statements)
        self._summed = dict.fromkeys(months, today.day)
        dropped = 0
        for month in (month for month in months if month < old):
            open_rows = await self._database.fetch(
                "SELECT 1 FROM ledger WHERE month = $1 AND state IN ('reserved', 'unsettled') LIMIT 1", month
            )
            if not open_rows:
                touched = await self._database.transaction(
                    [
                        Statement(
                            "UPDATE spend SET final = 1 WHERE period = $1 OR period LIKE $2", (month, f"{month}-%")
                        ),
                        Statement("DELETE FROM ledger_models WHERE month = $1", (month,)),
                        Statement("DELETE FROM ledger WHERE month = $1", (month,)),
                    ]
                )
                dropped += touched[-1]
        return dropped

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
            found.append(_booked(row, models))
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

    async def _flush(self, batch: list[tuple[Item, asyncio.Future[bool]]]) -> None:
        items = [item for item, _ in batch]
        if not self.spooled:
            try:
                results = await self._write_soon(items)
            except StoreError as error:
                if error.code != "store_unavailable":
                    raise
                self._away_at = time.monotonic()
                log.warning("The ledger cannot be written and is spooled to a file: %s", error.message)
            else:
                if results is not None:
                    self._tell(batch, results)
                    return
                log.warning("The database is slow: the ledger is spooled to a file and written beside the requests.")
        async with self._file:
            # In order, for a row must be there before it is settled: nothing passes what is spooled.
            await asyncio.to_thread(self._spool.append, items)
            self.spooled += len(items)
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
                      for statement in _inserts(entries[start : start + 50], self.process)]  # fmt: skip
        places: list[int | None] = []
        for item in items:
            if isinstance(item, Entry):
                places.append(None)
                continue
            statements += _raise(item) if isinstance(item, Raise) else _settle(item)
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
_COUNTED = (
    "CASE WHEN l.state = 'released' THEN 0"
    " WHEN l.state = 'settled' AND l.late_until IS NOT NULL AND l.late_until > $1 AND l.reserved > l.settled"
    " THEN l.reserved WHEN l.state = 'settled' THEN l.settled ELSE l.reserved END"
)
_UNDER_WAY = "CASE WHEN l.state = 'reserved' AND l.at <= $1 THEN l.reserved ELSE 0 END"
_UNDER_WAY_MODEL = "CASE WHEN l.state = 'reserved' AND l.at <= $1 THEN m.reserved ELSE 0 END"
_COUNTED_MODEL = (
    "CASE WHEN l.state = 'released' THEN 0"
    " WHEN l.state = 'settled' AND l.late_until IS NOT NULL AND l.late_until > $1"
    " AND m.reserved > COALESCE(m.settled, 0)"
    " THEN m.reserved WHEN l.state = 'settled' THEN COALESCE(m.settled, 0) ELSE m.reserved END"
)


@cache
def _summaries(column: str) -> tuple[str, ...]:
    """Scope, name, period, sum and count of every scope, for one period ($1)."""
    row = "CASE WHEN l.state = 'released' THEN 0 WHEN l.state = 'settled' THEN l.settled ELSE l.reserved END"
    model = (
        "CASE WHEN l.state = 'released' THEN 0 WHEN l.state = 'settled' THEN COALESCE(m.settled, 0) ELSE m.reserved END"
    )
    return (
        f"SELECT 'global', '', l.{column}, SUM({row}), COUNT(*) FROM ledger l WHERE l.{column} = $1"  # noqa: S608
        f" GROUP BY l.{column}",
        f"SELECT 'key', COALESCE(l.key_id, ''), l.{column}, SUM({row}), COUNT(*) FROM ledger l"  # noqa: S608
        f" WHERE l.{column} = $1 GROUP BY COALESCE(l.key_id, ''), l.{column}",
        f"SELECT 'model', m.model, m.{column}, SUM({model}), COUNT(*) FROM ledger_models m JOIN ledger l ON l.id = m.id"  # noqa: S608
        f" WHERE m.{column} = $1 GROUP BY m.model, m.{column}",
    )


_OF_LOG = (
    "SUM(cost_micro_usd), COUNT(*) FROM decisions WHERE created_at >= $1 AND created_at < $2 AND cost_micro_usd > 0"
)
_LOGGED = (
    f"SELECT 'global', '', {_OF_LOG} HAVING COUNT(*) > 0",
    f"SELECT 'key', COALESCE(key_id, ''), {_OF_LOG} GROUP BY COALESCE(key_id, '')",
    f"SELECT 'model', COALESCE(answered_by, ''), {_OF_LOG} GROUP BY COALESCE(answered_by, '')",
)


def _values(rows: int, columns: int) -> str:
    return ", ".join(
        "(" + ", ".join(f"${row * columns + column}" for column in range(1, columns + 1)) + ")" for row in range(rows)
    )


@cache
def _insert_rows(count: int) -> str:
    return (
        "INSERT INTO ledger (id, at, month, day, key_id, process, lease_until, reserved, state) VALUES"  # noqa: S608
        f" {_values(count, 9)} ON CONFLICT (id) DO NOTHING"
    )


@cache
def _insert_models(count: int) -> str:
    return (
        "INSERT INTO ledger_models (id, model, month, day, reserved) VALUES"  # noqa: S608
        f" {_values(count, 5)} ON CONFLICT (id, model) DO NOTHING"
    )


def _inserts(entries: Sequence[Entry], process: str) -> list[Statement]:
    rows: list[object] = []
    models: list[object] = []
    for entry in entries:
        period = period_of(entry.at)
        rows += (entry.id, entry.at, period.month, period.day, entry.key_id, process, entry.lease_until,
                 entry.reserved, "reserved")  # fmt: skip
        for model, reserved in entry.models.items():
            models += (entry.id, model, period.month, period.day, reserved)
    statements = [Statement(_insert_rows(len(entries)), tuple(rows))]
    if models:
        statements.append(Statement(_insert_models(len(models) // 5), tuple(models)))
    return statements


def _raise(change: Raise) -> list[Statement]:
    found = [
        Statement(
            "INSERT INTO ledger_models (id, model, month, day, reserved)"
            " SELECT id, $2, month, day, CAST($3 AS BIGINT) FROM ledger"
            " WHERE id = $1 ON CONFLICT (id, model) DO UPDATE SET reserved = excluded.reserved",
            (change.id, model, reserved),
        )
        for model, reserved in change.models.items()
    ]
    return [*found, Statement("UPDATE ledger SET reserved = $2 WHERE id = $1 AND state = 'reserved'",
                              (change.id, change.reserved))]  # fmt: skip


def _settle(settled: Settle) -> list[Statement]:
    """The models first: whether the row is open still decides for both. A row becomes unsettled only from reserved."""
    if settled.state == "unsettled":
        return [Statement("UPDATE ledger SET state = 'unsettled' WHERE id = $1 AND state = 'reserved'", (settled.id,))]
    found = [
        Statement(
            "INSERT INTO ledger_models (id, model, month, day, reserved, settled)"
            " SELECT id, $2, month, day, 0, CAST($3 AS BIGINT) FROM ledger"
            " WHERE id = $1 AND state IN ('reserved', 'unsettled')"
            " ON CONFLICT (id, model) DO UPDATE SET settled = excluded.settled",
            (settled.id, model, micro_usd),
        )
        for model, micro_usd in settled.models.items()
    ]
    values = (settled.id, settled.state, settled.micro_usd, settled.at, settled.at + LATE if settled.late else None)
    found.append(
        Statement(
            "UPDATE ledger SET state = $2, settled = $3, settled_at = $4, late_until = $5"
            " WHERE id = $1 AND state IN ('reserved', 'unsettled')",
            values,
        )
    )
    return found


def _booked(row: Row, models: Sequence[Row]) -> Booked:
    identifier, at, key_id, process, lease_until, reserved, settled, state = row
    return Booked(
        id=identifier,
        at=at,
        key_id=key_id,
        process=process,
        lease_until=lease_until,
        reserved=int(reserved),
        settled=None if settled is None else int(settled),
        state=state,
        models={model: (int(most), int(cost or 0)) for model, most, cost in models},
    )
