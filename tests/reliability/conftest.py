"""What the reliability tests share: one scripted upstream in the test's own loop, both data planes."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
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


@pytest.fixture
def silent_index() -> Iterator[str]:
    """A package index that takes every question and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        taken: list[socket.socket] = []

        def take() -> None:
            try:
                while True:
                    taken.append(listener.accept()[0])
            except OSError:
                return

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/simple"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for connection in taken:
            connection.close()
