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
from .sqlite_file import SqliteFile, explain, named

T = TypeVar("T")


class SqliteDatabase:
    """A `Database` in one file. Several processes may share the file."""

    dialect: Literal["sqlite", "postgres"] = "sqlite"

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._closed = False

    @property
    def where(self) -> str:
        return str(self._file.path)

    async def open(self) -> None:
        await self._run(lambda connection: None)

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        return await self._run(lambda connection: connection.execute(sql, named(values)).fetchall())

    async def execute(self, sql: str, *values: Any) -> int:
        return await self._run(lambda connection: connection.execute(sql, named(values)).rowcount)

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

        return await self._run(work)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
            self._thread.shutdown()

    async def _run(self, job: Callable[[sqlite3.Connection], T]) -> T:
        def work() -> T:
            try:
                return job(self._file.connect())
            except sqlite3.IntegrityError as error:
                raise Conflict(f"The change is not possible: {error}.") from None
            except (sqlite3.Error, OSError) as error:
                raise StoreUnavailable(f"The database failed: {explain(error, self._file.path)}") from error

        if self._closed:
            raise StoreUnavailable("The database is closed.")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
