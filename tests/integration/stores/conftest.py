"""Databases and logs to test, on every back end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pointsman.core.ports import DecisionLog
from pointsman.stores.database import Database
from pointsman.stores.postgres_database import PostgresDatabase
from pointsman.stores.postgres_log import PostgresDecisionLog
from pointsman.stores.sqlite_database import SqliteDatabase
from pointsman.stores.sqlite_log import SqliteDecisionLog
from pointsman.testing.memory_log import MemoryDecisionLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "pointsman.sqlite3"


@pytest.fixture(params=["sqlite", "postgres", "memory"])
async def log(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[DecisionLog]:
    """Every log: what is tested with this holds of each."""
    if request.param == "memory":
        yield MemoryDecisionLog()
        return
    log: SqliteDecisionLog | PostgresDecisionLog = SqliteDecisionLog(path)
    if request.param == "postgres":
        log = PostgresDecisionLog(request.getfixturevalue("postgres_url"), timeout=10)
    await log.open()
    yield log
    await log.close()


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[Database]:
    """Both back ends, open and at the newest schema: what is tested with this holds of either."""
    database: Database = SqliteDatabase(path)
    if request.param == "postgres":
        database = PostgresDatabase(request.getfixturevalue("postgres_url"), timeout=10)
    await database.open()
    yield database
    await database.close()
