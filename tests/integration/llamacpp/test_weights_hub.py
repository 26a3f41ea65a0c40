"""Weights from a model hub on loopback: asked only when switched on, redirected, broken off, gone on with."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pointsman.core.errors import WeightsError
from pointsman.providers.llamacpp.sources import Source
from pointsman.providers.llamacpp.weights import ensure
from pointsman.settings import child_environment
from pointsman.transport.http import Outbound
from pointsman.transport.pool import Pool

from .wheel_index import make_source


class Hub:
    """Redirects `/resolve` to `/store`, which understands ranges and breaks off after `limit` bytes."""

    def __init__(self) -> None:
        self.content = b""
        self.limit: int | None = None
        self.ranges: list[str | None] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                hub.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/resolve/main/test.gguf"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path.startswith("/resolve"):
            request.send_response(302)
            request.send_header("Location", "/store/blob?signature=x")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        first = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        body = self.content[first:]
        request.send_response(206 if wanted else 200)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.limit])
        request.close_connection = True

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture
async def outbound() -> AsyncIterator[Outbound]:
    pool = Pool()
    yield pool
    await pool.close()


async def get(source: Source, cache: Path, outbound: Outbound, *, hub: bool) -> Path:
    return await ensure(
        "test", cache_dir=cache, environment=child_environment({}), sources={"test": source}, hub=hub,
        outbound=outbound, pip_arguments=("--isolated", "--no-index"),
    )  # fmt: skip


async def test_the_hub_is_asked_only_when_it_is_switched_on(hub: Hub, outbound: Outbound, tmp_path: Path) -> None:
    source, hub.content, _ = make_source(2, hub=hub.address)
    with pytest.raises(WeightsError, match="POINTSMAN_HUB=1"):
        await get(source, tmp_path, outbound, hub=False)
    assert hub.ranges == []
    path = await get(source, tmp_path, outbound, hub=True)
    assert path.read_bytes() == hub.content
    assert hub.ranges == [None]


async def test_a_broken_download_goes_on_where_it_stopped(hub: Hub, outbound: Outbound, tmp_path: Path) -> None:
    source, hub.content, _ = make_source(2, hub=hub.address)
    hub.limit = 150_000
    with pytest.raises(WeightsError, match="hub"):
        await get(source, tmp_path, outbound, hub=True)
    hub.limit = None
    path = await get(source, tmp_path, outbound, hub=True)
    assert path.read_bytes() == hub.content
    assert hub.ranges == [None, "bytes=150000-"]


async def test_other_bytes_are_refused(hub: Hub, outbound: Outbound, tmp_path: Path) -> None:
    source, content, _ = make_source(2, hub=hub.address)
    hub.content = bytes(len(content))
    with pytest.raises(WeightsError) as caught:
        await get(source, tmp_path, outbound, hub=True)
    assert caught.value.code == "weights_corrupt"
    hub.content = content + b"more"
    with pytest.raises(WeightsError, match="longer"):
        await get(source, tmp_path, outbound, hub=True)
