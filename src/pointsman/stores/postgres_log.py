"""The decision log in Postgres: one connection, on an event loop of the log's own thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from pointsman.core.errors import StoreError

from . import rows
from .database import Conflict, Statement
from .decision_log import MAX_PENDING, SPOOL_AFTER, StoredDecisionLog
from .migrate import READ_VERSION, check_version
from .postgres_database import AWAY, PAUSE, connect, explain, shown_url
from .spool import Item, Spool

if TYPE_CHECKING:
    Connection = asyncpg.Connection[Any]

T = TypeVar("T")

CHUNK = 64
"""Rows that are encoded at a time, so that the requests' event loop is not held up for long."""


class PostgresDecisionLog(StoredDecisionLog):
    """A `core.ports.DecisionLog` in a database that replicas share."""

    def __init__(
        self, url: str, *, timeout: float = 5.0, spool: Spool | None = None, max_pending: int = MAX_PENDING
    ) -> None:
        """
        Args:
            url: as of `PostgresDatabase`.
            timeout: seconds that connecting, and each transaction, may take.
            spool, max_pending: as of `StoredDecisionLog`.
        """
        writer = PostgresLogWriter(url, timeout=timeout, meanwhile=self.keep_while_waiting)
        super().__init__(writer, spool=spool, max_pending=max_pending)


class PostgresLogWriter:
    """A `LogWriter`."""

    def __init__(self, url: str, *, timeout: float, meanwhile: Callable[[], None]) -> None:
        """
        Args:
            meanwhile: called every `SPOOL_AFTER` seconds while the server is waited for.
        """
        self._url = url
        self._timeout = timeout
        self._meanwhile = meanwhile
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None
        self._checked = False
        self._failed: Exception | None = None
        self._failed_at = float("-inf")

    def connect(self) -> None:
        if self._connection is not None and not self._connection.is_closed():
            return
        if self._failed is not None and time.monotonic() - self._failed_at < PAUSE:
            raise self._failed
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        try:
            self._connection = self._wait(self._loop, self._connect())
        except Exception as error:
            self._failed, self._failed_at = error, time.monotonic()
            raise
        self._failed = None

    async def _connect(self) -> Connection:
        connection: Connection = await connect(self._url, timeout=self._timeout, statement_timeout=self._timeout)
        if not self._checked:  # a gateway that runs goes on when the schema grows under it
            try:
                there = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
                version = await connection.fetchval(READ_VERSION) if there else 0
                check_version(int(version or 0), f"The database {shown_url(self._url)}")
            except BaseException:
                connection.terminate()
                raise
            self._checked = True
        return connection

    def write(self, decisions: list[Item], outcomes: list[Item]) -> list[Exception]:
        try:
            self._do(lambda connection: _write(connection, decisions, outcomes))
        except Exception as error:
            if not _of_an_item(error):
                raise
            return self._do(lambda connection: _write_carefully(connection, decisions, outcomes))
        return []

    def fetch(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        async def read(connection: Connection) -> list[tuple[Any, ...]]:
            return [tuple(row) for row in await connection.fetch(sql, *map(_plain, values))]

        return self._do(read)

    def transaction(self, statements: list[Statement]) -> None:
        async def run(connection: Connection) -> None:
            async with connection.transaction():
                for sql, values, _ in statements:
                    await connection.execute(sql, *map(_plain, values))

        try:
            self._do(run)
        except asyncpg.IntegrityConstraintViolationError as error:
            raise Conflict(f"The change is not possible: {error}.") from None

    def explain(self, error: Exception) -> str:
        return error.message if isinstance(error, StoreError) else explain(error, self._url, self._timeout)

    def mended(self, error: Exception) -> bool:
        return False

    def close(self) -> None:
        if self._loop is None:
            return
        if self._connection is not None:
            self._connection.terminate()
        self._loop.run_until_complete(asyncio.sleep(0))  # lets the transport say goodbye
        self._loop.close()

    def _do(self, job: Callable[[Connection], Awaitable[T]]) -> T:
        """Run a job within the timeout. A connection that turns out to be broken is made anew once: the server may
        have been restarted while nothing was to be written.
        """

        async def bounded(connection: Connection) -> T:
            async with asyncio.timeout(self._timeout):
                return await job(connection)

        again = True
        while True:
            assert self._connection is not None
            assert self._loop is not None
            try:
                return self._wait(self._loop, bounded(self._connection))
            except (*AWAY, asyncpg.InternalClientError) as error:
                if isinstance(error, ValueError):
                    raise  # a value that the driver cannot send
                self._connection.terminate()
                if not again or isinstance(error, TimeoutError | asyncpg.QueryCanceledError):
                    raise
                again = False
                self.connect()

    def _wait(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
        async def wait() -> T:
            task = asyncio.create_task(work)
            while not (await asyncio.wait({task}, timeout=SPOOL_AFTER))[0]:
                self._meanwhile()
            return task.result()

        return loop.run_until_complete(wait())


async def _write(connection: Connection, decisions: list[Item], outcomes: list[Item]) -> None:
    async with connection.transaction():
        for start in range(0, len(decisions), CHUNK):
            chunk = decisions[start : start + CHUNK]
            await connection.executemany(rows.INSERT_DECISION, [_decision(item) for item in chunk])
            prompts = [(decision.id, prompt) for decision, prompt in chunk if prompt is not None]
            if prompts:
                await connection.executemany(rows.INSERT_PROMPT, prompts)
        for start in range(0, len(outcomes), CHUNK):
            chunk = outcomes[start : start + CHUNK]
            await connection.executemany(rows.UPDATE_OUTCOME, [_outcome(item) for item in chunk])


async def _write_carefully(connection: Connection, decisions: list[Item], outcomes: list[Item]) -> list[Exception]:
    """Item by item, so that one that cannot be stored does not take others with it."""
    bad: list[Exception] = []
    async with connection.transaction():
        for decision, outcome in [([item], []) for item in decisions] + [([], [item]) for item in outcomes]:
            try:
                await _write(connection, decision, outcome)  # a transaction in a transaction is a savepoint
            except Exception as error:
                if not _of_an_item(error):
                    raise
                bad.append(error)
    return bad


def _of_an_item(error: Exception) -> bool:
    """Whether an error is about a value, and not about the database."""
    if isinstance(error, ValueError | asyncpg.DataError | asyncpg.IntegrityConstraintViolationError):
        return True
    return not isinstance(error, (asyncpg.PostgresError, asyncpg.InternalClientError, *AWAY))


def _decision(item: Item) -> tuple[Any, ...]:
    return tuple(map(_plain, rows.decision_row(item[0])))


def _outcome(item: Item) -> tuple[Any, ...]:
    return tuple(map(_plain, rows.outcome_row(*item)))


def _plain(value: Any) -> Any:
    """Postgres keeps no zero character in a text; a sign that stands for an unknown one takes its place."""
    return value.replace("\x00", "\ufffd") if isinstance(value, str) and "\x00" in value else value
