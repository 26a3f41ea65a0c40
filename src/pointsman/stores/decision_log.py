"""The decision log in a database, written behind the requests.

`decided` and `ended` only append to a queue. One thread owns the connection: it takes what has gathered, at the latest
after a quarter of a second, and writes it in one transaction. A killed process loses what was queued since, and never
more. While the database cannot be written, items go from memory to files on disk after a moment (`stores/spool.py`),
and the thread tries again with back-off; what lies on disk is then written first, in order, and what comes meanwhile
goes behind it. Writing something twice changes nothing, so that it may be tried again whenever it is not known whether
it went through.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from pointsman.core.caller import Caller
from pointsman.core.decision import Decision
from pointsman.core.errors import StoreError, StoreUnavailable
from pointsman.core.figures import Figure
from pointsman.core.outcome import Feedback, Outcome
from pointsman.core.ports import LogStatus

from . import rows
from .database import Conflict, Statement
from .migrate import SCHEMA_ERRORS
from .observations import keep_feedback
from .spool import Item, Spool

log = logging.getLogger(__name__)

T = TypeVar("T")

FLUSH_SECONDS = 0.25
BATCH = 500
BATCH_BYTES = 1024 * 1024
"""Of prompts in one transaction, unless one alone is longer: on a disk that runs short it needs its room twice."""
MAX_PENDING = 20_000
"""Items, two a request, that may wait in memory: some 2.5 KB each with two candidates, 10 KB with fifty. From half of
them on the disk takes them."""
MAX_PROMPT_BYTES = 64 * 1024 * 1024
"""Bytes of prompts that may wait in memory; beyond it a decision is kept and its prompt is not."""
FIRST_RETRY, LAST_RETRY = 0.5, 2.0
"""Seconds between two attempts at a database that fails: doubled each time, up to the last."""
SPOOL_AFTER = 0.5
"""Seconds that a database fails or hangs before items go to disk: a hiccup should not be worth a file, and no item
should be in memory alone for longer than a second."""
REPLAY_SECONDS = 0.5
"""How long items from the disk are written before those who wait to read get their turn."""


class LogWriter(Protocol):
    """The log's way to one kind of database. Used on the log's thread alone; every method may block for a while."""

    def connect(self) -> None:
        """Connect, unless that is done.

        Raises:
            StoreError: the schema is not the one that this version knows.
            Exception: whatever the driver says; `explain` tells what it means.
        """

    def write(self, decisions: list[Item], outcomes: list[Item]) -> list[Exception]:
        """Write everything in one transaction; returns the errors of items that no database would take."""

    def fetch(self, sql: str, *values: Any) -> list[tuple[Any, ...]]: ...

    def transaction(self, statements: list[Statement]) -> None:
        """Run all or none, in order. Raises Conflict when one refers to a row that is not there."""

    def explain(self, error: Exception) -> str:
        """What went wrong, with the mend, in one line."""

    def mended(self, error: Exception) -> bool:
        """Do what can be done about a failure; returns whether another attempt is worth it at once."""

    def close(self) -> None: ...


Job = Callable[[LogWriter], Any]


class StoredDecisionLog:
    """A `core.ports.DecisionLog` over a `LogWriter`."""

    def __init__(self, writer: LogWriter, *, spool: Spool | None = None, max_pending: int = MAX_PENDING) -> None:
        """
        Args:
            spool: where items go while the database cannot be written; without one they stay in memory.
            max_pending: items that may wait in memory; more are dropped.
        """
        self._writer = writer
        self._spool = spool
        self._max_pending = max_pending
        self._queue: deque[Item] = deque()
        self._jobs: deque[tuple[Job, Future[Any]]] = deque()
        self._wake = threading.Event()
        self._idle = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._refused = 0  # each counter has one thread that writes it
        self._lost = 0
        self._spooled = 0
        self._prompt_bytes_in = 0
        self._prompt_bytes_out = 0
        self._failure: str | None = None
        self._failing_since = 0.0
        self._last_error: str | None = None
        self._retry_after = FIRST_RETRY
        self._retry_at = 0.0
        self._spool_failure: str | None = None

    async def open(self) -> None:
        """Start the writer. A database that cannot be opened now is tried again later; what is logged meanwhile waits.

        Raises:
            StoreError: the schema is not the one that this version knows.
        """
        self._thread.start()
        try:
            await self._do(lambda writer: None)
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
        scope, key = _scope(caller, 2)

        def read(writer: LogWriter) -> dict[str, Any] | None:
            for where in ("d.id = $1", "d.answer_id = $1"):
                query = f"{rows.SELECT} WHERE {where}{scope} ORDER BY d.created_at DESC LIMIT 1"
                for row in writer.fetch(query, identifier, *key):
                    return rows.record(row)
            self._check_written()  # or it may be among what could not be written
            return None

        return await self._do(read)

    async def recent(self, limit: int, *, caller: Caller | None = None) -> list[dict[str, Any]]:
        scope, key = _scope(caller, 2)
        query = f"{rows.SELECT} WHERE TRUE{scope} ORDER BY d.created_at DESC, d.id DESC LIMIT $1"
        return await self._do(lambda writer: [rows.record(row) for row in writer.fetch(query, limit, *key)])

    async def figures(self, *, since: float, most: int, candidates: bool = False) -> list[Figure]:
        query = rows.select_figures(candidates=candidates)
        return await self._do(lambda writer: [rows.figure(row) for row in writer.fetch(query, since, most)])

    async def feedback(self, feedback: Feedback) -> None:
        def write(writer: LogWriter) -> None:
            self._check_written()
            try:
                writer.transaction(keep_feedback(feedback))
            except Conflict:
                raise StoreError(f"There is no decision {feedback.decision_id} to keep feedback for.") from None

        await self._do(write)

    def status(self) -> LogStatus:
        return LogStatus(
            ok=self._failure is None,
            pending=len(self._queue),
            spooled=self._spooled,
            dropped=self._refused + self._lost,
            last_error=self._last_error
            if self._spool_failure is None
            else f"{self._last_error}; {self._spool_failure}",
        )

    async def close(self) -> None:
        """Write what is queued, or try once, or keep it on disk, and stop."""
        self._closing = True
        self._wake.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    async def _do(self, job: Callable[[LogWriter], T]) -> T:
        """Run a job on the writer's thread, after everything queued so far."""
        if self._closing or not self._thread.is_alive():
            raise StoreError("The decision log is closed.")
        future: Future[T] = Future()
        self._jobs.append((job, future))
        self._wake.set()
        return await asyncio.wrap_future(future)

    # From here on, everything runs on the writer's thread.

    def _run(self) -> None:
        if self._spool is not None:
            self._spool.adopt()
            self._spooled = self._spool.items
        while not self._closing:
            self._gather()
            self._turn()
        self._turn()
        if self._queue:
            self._flush()  # the disk does not take it either
        if self._queue:
            self._lost += len(self._queue)
            log.warning("The decision log closes with %d items that could not be written.", len(self._queue))
            self._queue.clear()
        if self._spool is not None:
            if self._spooled:
                log.warning("The decision log closes with %d items on disk; the next start writes them.", self._spooled)
            self._spool.close()
        self._writer.close()

    def _turn(self) -> None:
        """Write what is queued and run the jobs that wait."""
        # The jobs are taken first, so that what they must see is in the queue by now.
        jobs = [self._jobs.popleft() for _ in range(len(self._jobs))]
        if self._failure is None or jobs or self._due():
            self._flush()
        self._keep_on_disk()
        for job, future in jobs:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._attempt(job))
                except StoreError as error:
                    future.set_exception(error)

    def _due(self) -> bool:
        """Whether a database that failed is to be tried again. At the end it is not waited for when there is a disk:
        the next start writes what lies there."""
        if self._closing:
            return self._spool is None
        return time.monotonic() >= self._retry_at

    def _gather(self) -> None:
        """Return when a job waits, or when there is something to write and it has had time to become a batch."""
        self._wake.clear()
        if self._failure is not None:
            if not (self._jobs or self._closing):
                pause = self._retry_at - time.monotonic()
                self._wake.wait(max(0.0, min(pause, FLUSH_SECONDS) if self._spool is not None else pause))
            return
        if self._spooled:
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
        if self._spooled and not self._replay():
            return
        left = len(self._queue)
        while left or self._failure is not None:  # after a failure an empty batch tells whether it is over
            batch = self._oldest(left)
            if not self._write(batch):
                return
            if self._spooled:  # it took so long that all of it lies on disk, and is written from there once more
                return
            left -= len(batch)
            self._drop(len(batch))

    def _replay(self) -> bool:
        """Write what lies on disk; returns whether nothing of it is left."""
        assert self._spool is not None
        until = time.monotonic() + REPLAY_SECONDS
        while True:
            batch = self._spool.peek(BATCH)
            if not batch:
                self._spooled = self._spool.items
                return True
            if self._closing or time.monotonic() > until or not self._write(batch):
                return False
            self._spool.advance()
            self._spooled = self._spool.items

    def _write(self, batch: list[Item]) -> bool:
        """One transaction; returns whether it went through."""
        # Decisions go first: an outcome never comes before its decision.
        decisions = [item for item in batch if isinstance(item[0], Decision)]
        outcomes = [item for item in batch if not isinstance(item[0], Decision)]
        begun = time.monotonic()
        while True:
            try:
                self._writer.connect()
                bad = self._writer.write(decisions, outcomes)
            except Exception as error:
                if self._failed(error, since=begun):
                    continue
                return False
            for refusal in bad:
                self._lost += 1
                self._last_error = f"an item could not be stored: {type(refusal).__name__}"
                log.warning("The decision log drops an item that cannot be stored.", exc_info=refusal)
            if self._failure is not None:
                self._failure = None
                log.info("The decision log is written again.")
            return True

    def keep_while_waiting(self) -> None:
        """For a writer to call from within a method that waits for a database which may not answer for long: what is
        queued goes to the spool meanwhile."""
        self._keep_on_disk(waiting=True)

    def _keep_on_disk(self, *, waiting: bool = False) -> None:
        """Move what is queued to the spool when the database fails for longer than a moment, when there is more on disk
        than could be written in a turn, for what is queued has to wait behind it, or when memory runs short."""
        if self._spool is None or not self._queue:
            return
        full = len(self._queue) > self._max_pending // 2
        failing = self._failure is not None and time.monotonic() - self._failing_since >= SPOOL_AFTER
        if not (full or failing or waiting or self._spooled or self._closing):
            return
        left = len(self._queue)
        while left:
            batch = self._oldest(left)
            try:
                self._lost += self._spool.append(batch)
            except OSError as error:
                if self._spool_failure is None:
                    log.error("The decision log cannot be kept on disk either and stays in memory: %s", error)
                self._spool_failure = f"nor can it be kept on disk: {error}"
                return
            if self._spool_failure is not None or not self._spooled:
                level = logging.INFO if waiting else logging.WARNING  # a long look into it is no failure
                log.log(level, "The decision log is kept on disk until the database takes it.")
            self._spool_failure = None
            self._spooled = self._spool.items
            left -= len(batch)
            self._drop(len(batch))

    def _oldest(self, most: int) -> list[Item]:
        """What is written next of the queue's first items."""
        batch = [self._queue[index] for index in range(min(most, BATCH))]
        if self._prompt_bytes_in > self._prompt_bytes_out:
            size = 0
            for place, (_, detail) in enumerate(batch):
                size += len(detail) if isinstance(detail, bytes) else 0
                if size > BATCH_BYTES and place:
                    return batch[:place]
        return batch

    def _drop(self, count: int) -> None:
        """Take the oldest from the queue."""
        for _ in range(count):
            _, detail = self._queue.popleft()
            if isinstance(detail, bytes):
                self._prompt_bytes_out += len(detail)

    def _attempt(self, job: Job) -> Any:
        begun = time.monotonic()
        while True:
            try:
                self._writer.connect()
                return job(self._writer)
            except StoreError as error:
                if error.code in SCHEMA_ERRORS:
                    self._failed(error, since=begun)
                raise
            except Exception as error:
                if not self._failed(error, since=begun):
                    raise StoreUnavailable(f"The decision log failed: {self._writer.explain(error)}") from error

    def _check_written(self) -> None:
        """Raise StoreError when items that came before this job are not yet in the database."""
        if self._failure is not None and (self._queue or self._spooled):
            raise StoreUnavailable(f"The decision log cannot be written: {self._failure}")
        if self._spooled:
            raise StoreUnavailable(
                f"{self._spooled} items of the decision log are still on the way from the disk to the database."
            )

    def _failed(self, error: Exception, *, since: float) -> bool:
        """Note a failure of what was begun at `since`; returns whether another attempt is worth it at once."""
        text = self._last_error = self._writer.explain(error)
        if self._writer.mended(error):
            return True
        if self._failure is None:
            log.warning("The decision log cannot be written and keeps its items in memory: %s", text)
            self._retry_after = FIRST_RETRY
            self._failing_since = since
        else:
            self._retry_after = min(self._retry_after * 2, LAST_RETRY)
        self._failure = text
        self._retry_at = time.monotonic() + self._retry_after
        return False


def _scope(caller: Caller | None, place: int) -> tuple[str, tuple[str | None, ...]]:
    """The SQL condition for what a caller may see, and its parameters, of which `place` is the first."""
    if caller is None or caller.admin:
        return "", ()
    return f" AND d.key_id = ${place}", (caller.key_id,)
