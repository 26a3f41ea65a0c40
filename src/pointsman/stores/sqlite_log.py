"""The decision log in SQLite, written behind the requests.

`decided` and `ended` only append to a queue. One thread owns the database: it takes what has gathered, at the latest
after a quarter of a second, and writes it in one transaction. In WAL mode a killed process loses what was queued and
never the file. While the database cannot be written the queue keeps the items, up to a bound, and the thread tries
again with back-off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from pointsman.core.caller import Caller
from pointsman.core.decision import Decision
from pointsman.core.errors import StoreError
from pointsman.core.outcome import Feedback, Outcome
from pointsman.core.ports import LogStatus

from . import rows
from .migrate import SCHEMA_ERRORS
from .sqlite_file import CORRUPT, SqliteFile, explain, result_code

log = logging.getLogger(__name__)

T = TypeVar("T")
Item = tuple[Any, Any]
"""A decision and its prompt or None, or a decision's id and its outcome."""
Writer = Callable[[sqlite3.Connection, list[Item]], None]
Job = Callable[[sqlite3.Connection], Any]

FLUSH_SECONDS = 0.25
BATCH = 500
CHUNKS = (64, 16, 4, 1)
"""Rows that one statement writes. Each statement hands the interpreter's lock over and must win it back: beside a busy
event loop that waiting, not SQLite, bounds the throughput. A chunk is encoded in well under a millisecond, so that the
loop is not held up either."""
MAX_PENDING = 100_000
MAX_PROMPT_BYTES = 64 * 1024 * 1024
"""Bytes of prompts that may wait in memory; beyond it a decision is kept and its prompt is not."""
FIRST_RETRY, LAST_RETRY = 0.5, 30.0
"""Seconds between two attempts at a database that fails: doubled each time, up to the last."""
MOVE_ASIDE_SECONDS = 60.0
"""At least so long between two corrupt files that are moved aside: a dying disk must not fill up with them."""
ITEM_ERRORS = (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.DataError, sqlite3.ProgrammingError)
"""What SQLite says of a value, not of the file."""


class SqliteDecisionLog:
    """A `core.ports.DecisionLog` in one file. Several processes may share the file."""

    def __init__(self, path: Path, *, max_pending: int = MAX_PENDING, max_bytes: int | None = None) -> None:
        """
        Args:
            path: the database file; it and its folder are made when missing, readable by the owner alone.
            max_pending: items that may wait in memory while the database cannot be written; more are dropped.
            max_bytes: size that the file may grow to; beyond it the database counts as full. None: no bound.
        """
        self._file = SqliteFile(path, max_bytes=max_bytes)
        self._max_pending = max_pending
        self._queue: deque[Item] = deque()
        self._jobs: deque[tuple[Job, Future[Any]]] = deque()
        self._wake = threading.Event()
        self._idle = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._refused = 0  # each counter has one thread that writes it
        self._lost = 0
        self._prompt_bytes_in = 0
        self._prompt_bytes_out = 0
        self._failure: str | None = None
        self._last_error: str | None = None
        self._retry_after = FIRST_RETRY
        self._retry_at = 0.0
        self._moved_at = float("-inf")

    async def open(self) -> None:
        """Start the writer. A database that cannot be opened now is tried again later; what is logged meanwhile waits.

        Raises:
            StoreError: the file was written by a newer version, or is to be upgraded.
        """
        self._thread.start()
        try:
            await self._do(lambda connection: None)
        except StoreError as error:
            if error.code in SCHEMA_ERRORS:
                await self.close()
                raise

    def decided(self, decision: Decision, *, prompt: bytes | None) -> None:
        if prompt is not None:
            if self._prompt_bytes_in - self._prompt_bytes_out + len(prompt) > MAX_PROMPT_BYTES:
                prompt = None
            else:
                self._prompt_bytes_in += len(prompt)
        self._put((decision, prompt))

    def ended(self, decision_id: str, outcome: Outcome) -> None:
        self._put((decision_id, outcome))

    def _put(self, item: Item) -> None:
        waiting = len(self._queue)
        if waiting >= self._max_pending or self._closing:
            self._refused += 1
            return
        self._queue.append(item)
        # The writer sets `_idle` and then looks at the queue; here the order is the other way round, so that one of
        # the two always sees the other.
        if self._idle or waiting == BATCH:
            self._idle = False
            self._wake.set()

    async def get(self, identifier: str, *, caller: Caller | None = None) -> dict[str, Any] | None:
        scope, key = _scope(caller)

        def read(connection: sqlite3.Connection) -> dict[str, Any] | None:
            for where in ("d.id = ?", "d.answer_id = ?"):
                row = connection.execute(
                    f"{rows.SELECT} WHERE {where}{scope} ORDER BY d.created_at DESC LIMIT 1", (identifier, *key)
                ).fetchone()
                if row is not None:
                    return rows.record(row)
            self._check_written()  # or it may be among what could not be written
            return None

        return await self._do(read)

    async def recent(self, limit: int, *, caller: Caller | None = None) -> list[dict[str, Any]]:
        scope, key = _scope(caller)

        def read(connection: sqlite3.Connection) -> list[dict[str, Any]]:
            found = connection.execute(
                f"{rows.SELECT} WHERE TRUE{scope} ORDER BY d.created_at DESC, d.id DESC LIMIT ?", (*key, limit)
            )
            return [rows.record(row) for row in found]

        return await self._do(read)

    async def feedback(self, feedback: Feedback) -> None:
        def write(connection: sqlite3.Connection) -> None:
            self._check_written()
            try:
                connection.execute(rows.UPSERT_FEEDBACK, rows.feedback_row(feedback))
            except sqlite3.IntegrityError:
                raise StoreError(f"There is no decision {feedback.decision_id} to keep feedback for.") from None

        await self._do(write)

    def status(self) -> LogStatus:
        return LogStatus(
            ok=self._failure is None,
            pending=len(self._queue),
            dropped=self._refused + self._lost,
            last_error=self._last_error,
        )

    async def close(self) -> None:
        """Write what is queued, or try once, and stop."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    async def _do(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job on the writer's thread, after everything queued so far."""
        if self._closing or not self._thread.is_alive():
            raise StoreError("The decision log is closed.")
        future: Future[T] = Future()
        self._jobs.append((job, future))
        self._wake.set()
        return await asyncio.wrap_future(future)

    # From here on, everything runs on the writer's thread.

    def _run(self) -> None:
        while not self._closing:
            self._gather()
            self._turn()
        self._turn()
        if self._queue:
            self._lost += len(self._queue)
            log.warning("The decision log closes with %d items that could not be written.", len(self._queue))
            self._queue.clear()
        self._file.close()

    def _turn(self) -> None:
        """Write what is queued and run the jobs that wait."""
        # The jobs are taken first, so that what they must see is in the queue by now.
        jobs = [self._jobs.popleft() for _ in range(len(self._jobs))]
        self._flush()
        for job, future in jobs:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._attempt(job))
                except StoreError as error:
                    future.set_exception(error)

    def _gather(self) -> None:
        """Return when a job waits, or when there is something to write and it has had time to become a batch."""
        self._wake.clear()
        if self._failure is not None:
            if not (self._jobs or self._closing):
                self._wake.wait(max(0.0, self._retry_at - time.monotonic()))
            return
        self._idle = True
        if not (self._queue or self._jobs or self._closing):
            self._wake.wait()
        self._idle = False
        self._wake.clear()
        if len(self._queue) < BATCH and not (self._jobs or self._closing):
            self._wake.wait(FLUSH_SECONDS)

    def _flush(self) -> None:
        """Write what is queued by now, a transaction a batch. Items leave the queue when they are committed."""
        left = len(self._queue)
        while left or self._failure is not None:  # after a failure an empty batch tells whether it is over
            batch = [self._queue[index] for index in range(min(left, BATCH))]
            try:
                lost = self._write(self._file.connect(), batch)
            except Exception as error:
                if self._failed(error):
                    continue
                return
            self._lost += lost
            left -= len(batch)
            for _ in batch:
                _, detail = self._queue.popleft()
                if isinstance(detail, bytes):
                    self._prompt_bytes_out += len(detail)
            if self._failure is not None:
                self._failure = None
                log.info("The decision log is written again.")

    def _write(self, connection: sqlite3.Connection, batch: list[Item]) -> int:
        """One transaction; returns how many items could not be stored, whatever the database does."""
        lost = 0
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Decisions go first: an outcome never comes before its decision.
            decisions = [item for item in batch if isinstance(item[0], Decision)]
            outcomes = [item for item in batch if not isinstance(item[0], Decision)]
            for kind, items in ((_write_decisions, decisions), (_write_outcomes, outcomes)):
                for chunk in _chunks(items):
                    lost += self._write_chunk(connection, kind, chunk)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
        return lost

    def _write_chunk(self, connection: sqlite3.Connection, write: Writer, chunk: list[Item]) -> int:
        """Write items in one statement; returns how many could not be stored, whatever the database does."""
        try:
            write(connection, chunk)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, ITEM_ERRORS):
                raise
            if len(chunk) > 1:  # one bad item must not keep the others from being stored
                return sum(self._write_chunk(connection, write, [item]) for item in chunk)
            self._last_error = f"an item could not be stored: {type(error).__name__}"
            log.warning("The decision log drops an item that cannot be stored.", exc_info=error)
            return 1
        return 0

    def _attempt(self, job: Job) -> Any:
        while True:
            try:
                return job(self._file.connect())
            except StoreError as error:
                if error.code in SCHEMA_ERRORS:
                    self._failed(error)
                raise
            except Exception as error:
                if not self._failed(error):
                    raise StoreError(f"The decision log failed: {explain(error, self._file.path)}") from error

    def _check_written(self) -> None:
        """Raise StoreError when items that came before this job could not be written."""
        if self._failure is not None and self._queue:
            raise StoreError(f"The decision log cannot be written: {self._failure}")

    def _failed(self, error: Exception) -> bool:
        """Note a failure; returns whether another attempt is worth it at once, because a corrupt file was replaced."""
        text = self._last_error = explain(error, self._file.path)
        if isinstance(error, sqlite3.Error) and result_code(error) in CORRUPT and self._replaced(text):
            return True
        if self._failure is None:
            log.warning("The decision log cannot be written and keeps its items in memory: %s", text)
            self._retry_after = FIRST_RETRY
        else:
            self._retry_after = min(self._retry_after * 2, LAST_RETRY)
        self._failure = text
        self._retry_at = time.monotonic() + self._retry_after
        return False

    def _replaced(self, text: str) -> bool:
        """Move the corrupt file aside; returns whether that was done."""
        if time.monotonic() - self._moved_at < MOVE_ASIDE_SECONDS:
            return False
        try:
            aside = self._file.move_aside()
        except OSError as error:
            log.error("The corrupt decision log cannot be moved aside: %s", explain(error, self._file.path))
            return False
        self._moved_at = time.monotonic()
        if aside is not None:
            log.error("The decision log is corrupt: %s. It was moved to %s, and a new one is begun.", text, aside)
        return True


def _write_decisions(connection: sqlite3.Connection, chunk: list[Item]) -> None:
    values = [value for decision, _ in chunk for value in rows.decision_row(decision)]
    connection.execute(rows.insert_decisions(len(chunk)), values)
    for decision, prompt in chunk:
        if prompt is not None:
            connection.execute(rows.INSERT_PROMPT, (decision.id, prompt))


def _write_outcomes(connection: sqlite3.Connection, chunk: list[Item]) -> None:
    values = [value for decision_id, outcome in chunk for value in rows.outcome_row(decision_id, outcome)]
    connection.execute(rows.update_outcomes(len(chunk)), values)


def _chunks(items: list[Item]) -> Iterator[list[Item]]:
    """The items in pieces of a few fixed sizes, so that their statements stay prepared."""
    start = 0
    for size in CHUNKS:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size


def _scope(caller: Caller | None) -> tuple[str, tuple[str | None, ...]]:
    """The SQL condition for what a caller may see, and its parameters."""
    if caller is None or caller.admin:
        return "", ()
    return " AND d.key_id = ?", (caller.key_id,)
