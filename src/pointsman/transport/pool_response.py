"""An upstream's answer as the pool gives it: blocks queue here between the connection and whoever reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from pointsman.core.errors import UpstreamError, UpstreamProtocolError

from .http import UpstreamResponse

if TYPE_CHECKING:
    from .pool_connection import PoolConnection


MANY = 4096
"""Blocks of a body that is read whole from which on they are put together: one of a single byte takes 85."""


class PoolResponse(UpstreamResponse):
    """Filled by a `PoolConnection`, which it leaves at its end; read by one task."""

    status = 0
    head_done = complete = False
    buffered = 0
    """Bytes that came and were not read yet, their framing included."""
    _limit: int | None = None
    """Set while `read` gathers the whole body: only its end, this many bytes, or `MANY` blocks wake the reader."""
    _error: UpstreamError | None = None
    _waiter: asyncio.Future[None] | None = None

    def __init__(self, connection: PoolConnection) -> None:
        self._connection: PoolConnection | None = connection
        self.headers: list[tuple[bytes, bytes]] = []
        self.blocks = connection.blocks
        """What came and was not read yet. The connection adds to them."""

    # What the connection calls

    def reset(self) -> None:
        """An interim answer has ended: the next head is awaited."""
        self.status = 0
        self.headers = []
        self.head_done = False

    @property
    def takes_blocks(self) -> bool:
        """Whether the reader takes blocks one by one, so that not too many should wait for it."""
        return self._limit is None

    def notify(self) -> None:
        """Wake the reader when what came is what it waits for."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        limit = self._limit
        if (
            limit is not None
            and not self.complete
            and self._error is None
            and self.buffered <= limit
            and len(self.blocks) < MANY
        ):
            return
        waiter.set_result(None)

    def keep(self) -> None:
        """What the connection adds from now on is not this answer's any more."""
        blocks = self.blocks
        self.blocks = blocks.copy()
        blocks.clear()

    def end(self, error: UpstreamError | None = None) -> None:
        """The answer is whole, or `error` ended it; the connection has let go of it."""
        self._connection = None
        self._error = error
        self.complete = error is None

    # What the pool calls

    async def head(self) -> None:
        """Wait for the head. Raises what ended the connection before it."""
        while not self.head_done:
            if self._error is not None:
                raise self._error
            await self._wait()

    # What the reader calls

    @property
    def ended(self) -> bool:
        return self.complete and not self.blocks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self.blocks:
            if self.complete:
                raise StopAsyncIteration
            if self._error is not None:
                raise self._error
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            await waiter
        return self._take()

    async def read(self, limit: int = 64 * 1024 * 1024) -> bytes:
        self._limit = limit
        folded = bytearray()
        try:
            if self._connection is not None and not self.complete:
                self._connection.resume()
            while not self.complete and self._error is None and len(folded) + self._size <= limit:
                if len(self.blocks) >= MANY:
                    folded += b"".join(self.blocks)
                    self.blocks.clear()
                await self._wait()
        finally:
            self._limit = None
        if len(folded) + self._size > limit:
            self.close()
            raise UpstreamProtocolError(f"The model's provider sent an answer longer than {limit} bytes.")
        if self._error is not None:
            raise self._error
        return bytes(folded + self._take()) if folded else self._take()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self.blocks.clear()
        self.buffered = 0
        if connection is not None:
            self._error = UpstreamProtocolError("The answer was closed before it was read.")
            connection.abandon()
            self.notify()

    @property
    def _size(self) -> int:
        """Bytes of the body that wait."""
        return sum(map(len, self.blocks))

    def _take(self) -> bytes:
        blocks = self.blocks
        data = b"".join(blocks)
        blocks.clear()
        self.buffered = 0
        connection = self._connection
        if connection is not None and connection.reading_paused:
            connection.resume()
        return data

    def _wait(self) -> asyncio.Future[None]:
        """Comes when something has; one that was waited for no longer is passed over."""
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        return waiter
