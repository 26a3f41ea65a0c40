"""The embedded database: one SQLite file, asked from one thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

from pointsman.core.errors import StoreUnavailable

from .database import Conflict, Row, Statement
from .sqlite_file import BUSY_TIMEOUT_MS, SqliteFile, explain, named, result_code

T = TypeVar("T")

TURN_MS = 200
"""How long a statement waits at a time while another process holds the file. Reading needs nobody's leave: it must not
stand behind a write that waits as long as `BUSY_TIMEOUT_MS` says."""


class SqliteDatabase:
    """A `Database` in one file. Several processes may share the file."""

    dialect: Literal["sqlite", "postgres"] = "sqlite"

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, patience_ms=TURN_MS)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._closed = False
        self._writing = asyncio.Lock()

    @property
    def where(self) -> str:
        return str(self._file.path)

    async def open(self) -> None:
        await self._read(lambda connection: None)

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        return await self._read(lambda connection: connection.execute(sql, named(values)).fetchall())

    async def execute(self, sql: str, *values: Any) -> int:
        return await self._write(lambda connection: connection.execute(sql, named(values)).rowcount)

    async def transaction(self, statements: Sequence[Statement]) -> list[int]:
        def work(connection: sqlite3.Connection) -> list[int]:
            connection.execute("BEGIN IMMEDIATE")
            try:
                touched = []
                for sql, values, expect in statements:
                    touched.append(connection.execute(sql, named(values)).rowcount)
                    if expect is not None and touched[-1] != expect:
                        raise Conflict("Another change came first.")
                connection.execute("COMMIT")
                return touched
            finally:
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")

        return await self._write(work)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            async with self._writing:  # those who came before are written
                await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
            self._thread.shutdown()

    async def _write(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run a job that writes: one at a time, so that a reader waits for one turn at most."""
        self._check_open()
        async with self._writing:
            return await self._turns(job)

    async def _read(self, job: Callable[[sqlite3.Connection], T]) -> T:
        self._check_open()
        return await self._turns(job, reads=True)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("The database is closed.")

    async def _turns(self, job: Callable[[sqlite3.Connection], T], *, reads: bool = False) -> T:
        """Run a job in the thread; while another process holds the file, again and again, with others in between."""

        def work() -> T:
            try:
                return job(self._file.connect())
            except sqlite3.IntegrityError as error:
                raise Conflict(f"The change is not possible: {error}.") from None
            except (sqlite3.Error, OSError) as error:
                raise StoreUnavailable(f"The database failed: {explain(error, self._file.path)}") from error

        loop = asyncio.get_running_loop()
        until = loop.time() + BUSY_TIMEOUT_MS / 1000
        while True:
            try:
                return await loop.run_in_executor(self._thread, work)
            except StoreUnavailable as error:
                cause = error.__cause__
                busy = isinstance(cause, sqlite3.Error) and result_code(cause) == sqlite3.SQLITE_BUSY
                if not busy or loop.time() >= until or (reads and self._closed):
                    raise
