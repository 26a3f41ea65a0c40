"""Providers meet a scripted upstream through the real connection pool."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pointsman.testing import ScriptedUpstream
from pointsman.transport.pool import Pool


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as server:
        yield server


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    """A pool that must hold no connection in use when the test ends."""
    pool = Pool()
    yield pool
    in_use = {origin: stats.in_use for origin, stats in pool.stats().items() if stats.in_use}
    await pool.close()
    assert not in_use
