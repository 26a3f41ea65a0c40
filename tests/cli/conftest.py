from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pointsman.testing import ScriptedUpstream

from .commands import clean_environment
from .standin import stand_in


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """The environment of a user with no settings, and no gateway."""
    return clean_environment(tmp_path, PORT="1")


@pytest.fixture
async def gateway() -> AsyncIterator[ScriptedUpstream]:
    """Something that answers as a gateway would, under the test's control."""
    async with ScriptedUpstream() as upstream:
        stand_in(upstream)
        yield upstream


@pytest.fixture
def with_gateway(tmp_path: Path, gateway: ScriptedUpstream) -> dict[str, str]:
    """The environment of a user whose gateway runs at the usual address."""
    return clean_environment(tmp_path, PORT=str(gateway.port))
