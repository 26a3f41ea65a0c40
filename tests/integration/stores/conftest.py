"""Logs to test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pointsman.core.ports import DecisionLog
from pointsman.stores.sqlite_log import SqliteDecisionLog
from pointsman.testing.memory_log import MemoryDecisionLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "pointsman.sqlite3"


@pytest.fixture(params=["sqlite", "memory"])
async def log(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[DecisionLog]:
    """Both logs: what is tested with this holds of either."""
    if request.param == "memory":
        yield MemoryDecisionLog()
        return
    log = SqliteDecisionLog(path)
    await log.open()
    yield log
    await log.close()
