"""What the reliability tests share: one scripted upstream in the test's own loop, both data planes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pointsman.testing.upstream import ScriptedUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture(params=["native", "asgi"])
def data_plane(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def weights_cache() -> Path:
    """The user's own cache of weights, so that tests fetch them once and for all."""
    import platformdirs

    return platformdirs.user_cache_path("pointsman", appauthor=False)
