"""The real engine on the smallest real weights, which are fetched into the user's cache once per machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from pointsman.core.locality import Destination
from pointsman.providers.llamacpp.engine import Engine, Patience
from pointsman.providers.llamacpp.process import EngineSpec
from pointsman.providers.llamacpp.weights import ensure
from pointsman.settings import child_environment, load
from pointsman.transport.http import UpstreamRequest, UpstreamResponse
from pointsman.transport.pool import Pool

HASTY = Patience(first_delay=0.2, longest_delay=0.8)


@pytest.fixture(scope="session")
def weights() -> Path:
    return asyncio.run(
        ensure("smollm2:135m", cache_dir=load().cache_dir, environment=child_environment({})),
    )


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.close()


MakeEngine = Callable[..., Engine]


@pytest.fixture
async def make_engine(pool: Pool, tmp_path: Path) -> AsyncIterator[MakeEngine]:
    """Makes engines that are stopped when the test ends."""
    engines: list[Engine] = []

    def make(path: Path, *, patience: Patience = HASTY, python_path: Path | None = None) -> Engine:
        extra = {"PYTHONPATH": str(python_path)} if python_path is not None else {}
        engine = Engine(
            EngineSpec(name="test:tiny", path=path, context_per_slot=1024, slots=2, threads=2, cache_ram_mib=64),
            environment=child_environment(extra), data_dir=tmp_path / "data", outbound=pool, patience=patience,
        )  # fmt: skip
        engines.append(engine)
        return engine

    yield make
    for engine in engines:
        await engine.stop()


async def call(pool: Pool, engine: Engine, target: str, body: bytes = b"", *, key: str | None) -> UpstreamResponse:
    """One call to an engine's server."""
    headers = [(b"content-type", b"application/json")]
    if key is not None:
        headers.append((b"authorization", b"Bearer " + key.encode()))
    return await pool.send(
        UpstreamRequest(
            destination=Destination(model="embedded:test:tiny", local=True), local_only=True, origin=engine.origin,
            method="POST" if body else "GET", target=target, headers=headers, body=body,
        )
    )  # fmt: skip
