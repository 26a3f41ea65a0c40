from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop
from transport_support import RawUpstream, StartServer, StartUpstream

from pointsman.transport.aiohttp_out import AiohttpOut
from pointsman.transport.asgi_server import serve_asgi
from pointsman.transport.http import Handler, Outbound
from pointsman.transport.limits import RunningServer, ServerLimits
from pointsman.transport.pool import Pool
from pointsman.transport.server import NativeServer, serve


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test here runs on both loops: their transports differ in how they write, close and report errors."""
    return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """uvicorn takes 0.2 s to stop: the fallback server is tested on one loop."""
    items[:] = [item for item in items if "[asyncio-asgi" not in item.name]


@pytest.fixture
async def start_native() -> AsyncIterator[Callable[..., Awaitable[NativeServer]]]:
    servers: list[NativeServer] = []

    async def start(handler: Handler, **limits: Any) -> NativeServer:
        server = await serve(handler, host="127.0.0.1", port=0, limits=ServerLimits(**limits))
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.close(0)
        assert not server.connections
        assert not server.tasks


@pytest.fixture(params=["native", "asgi"])
async def start_server(request: pytest.FixtureRequest) -> AsyncIterator[StartServer]:
    servers: list[RunningServer] = []

    async def start(handler: Handler, **limits: Any) -> RunningServer:
        begin = serve if request.param == "native" else serve_asgi
        server = await begin(handler, host="127.0.0.1", port=0, limits=ServerLimits(**limits))
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.close(0)


@pytest.fixture
async def start_upstream() -> AsyncIterator[StartUpstream]:
    listening: list[asyncio.Server] = []
    tasks: list[asyncio.Task[None]] = []

    async def start(script: Callable[..., Awaitable[None]], **options: Any) -> RawUpstream:
        upstream = RawUpstream(script)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            await upstream.accept(reader, writer)

        if path := options.pop("unix", None):
            server = await asyncio.start_unix_server(accept, path, **options)
        else:
            server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=512, **options)
            upstream.port = server.sockets[0].getsockname()[1]
        listening.append(server)
        return upstream

    yield start
    for server in listening:
        server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool()
    yield pool
    await pool.close()
    assert pool.stats() == {}


@pytest.fixture(params=["pool", "aiohttp"])
async def make_out(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Outbound]]:
    made: list[Outbound] = []

    def make(**options: Any) -> Outbound:
        out = Pool(**options) if request.param == "pool" else AiohttpOut(**options)
        made.append(out)
        return out

    yield make
    for out in made:
        await out.close()


@pytest.fixture
def out(make_out: Callable[..., Outbound]) -> Outbound:
    return make_out()
