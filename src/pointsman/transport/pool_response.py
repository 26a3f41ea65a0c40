"""An upstream's answer as the pool gives it: blocks queue here between the connection and whoever reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import TYPE_CHECKING, Any

from pointsman.core.errors import UpstreamError, UpstreamProtocolError

from .http import UpstreamResponse

if TYPE_CHECKING:
    from .pool_connection import PoolConnection


MANY = 4096
"""Blocks of a body that is read whole from which on they are put together: one of a single byte takes 85."""


class PoolResponse(UpstreamResponse):
    """Filled by a `PoolConnection`, which it leaves at its end; read by one task.

    The task waits for the head, for the whole body, or for a block. A block is handed over as it comes, and is kept
    here only while nobody waits for it.
    """

    status = 0
    head_done = complete = False
    buffered = 0
    """Bytes that came and were not read yet, their framing included."""
    _limit: int | None = None
    """Set while `read` gathers the whole body: only its end, this many bytes, or `MANY` blocks wake the reader."""
    _error: UpstreamError | None = None
    _waiter: asyncio.Future[None] | None = None
    """Of whoever waits for the head, or for the whole body."""
    _reader: asyncio.Future[bytes] | None = None
    """Of whoever waits for the next block."""

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

    def came(self, size: int) -> bool:
        """Blocks have been added: hand them over, or wake whoever waits for what has come.

        Args:
            size: the bytes that they took, with their framing.

        Returns:
            Whether more waits than is to wait.
        """
        reader = self._reader
        if reader is not None:
            self._reader = None
            if not reader.done():  # else it is waited for no longer
                blocks = self.blocks
                reader.set_result(blocks.pop() if len(blocks) == 1 else self._take())
                return False
        self.buffered += size
        limit = self._limit
        if limit is None:
            self.wake()
            return self._connection is not None and self.buffered > self._connection.buffer_bytes
        if self.buffered > limit or len(self.blocks) >= MANY:
            self.wake()
        return False

    def wake(self) -> None:
        """Wake whoever waits for the head or for the whole body."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
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
        reader = self._reader
        if reader is not None:
            if self.blocks and not reader.done():
                reader.set_result(self._take())
            else:
                _fail(reader, error or StopAsyncIteration())
        elif error is not None and self._waiter is not None and not self.head_done:
            _fail(self._waiter, error)
        else:
            self.wake()

    # What the pool calls

    def head(self) -> asyncio.Future[None]:
        """Comes with the head. Raises what ended the connection before it."""
        return self._wait()

    # What the reader calls

    @property
    def ended(self) -> bool:
        return self.complete and not self.blocks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    def __anext__(self) -> Awaitable[bytes]:
        connection = self._connection
        if self.blocks or connection is None:
            return self._next()
        self._reader = reader = connection.loop.create_future()
        return reader

    async def _next(self) -> bytes:
        """The next block of those that are there, or the end."""
        if self.blocks:
            return self._take()
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    async def read(self, limit: int = 64 * 1024 * 1024) -> bytes:
        data = self._take() if self.complete else await self._gathered(limit)
        if len(data) > limit:
            self.close()
            raise UpstreamProtocolError(f"The model's provider sent an answer longer than {limit} bytes.")
        return data

    async def _gathered(self, limit: int) -> bytes:
        """The body when it is whole, or what there is of it when that is more than the limit."""
        self._limit = limit
        folded = bytearray()
        try:
            if self._connection is not None:
                self._connection.resume()
            while not self.complete and self._error is None and len(folded) + self._size <= limit:
                if len(self.blocks) >= MANY:
                    folded += b"".join(self.blocks)
                    self.blocks.clear()
                await self._wait()
        finally:
            self._limit = None
        if self._error is not None and len(folded) + self._size <= limit:
            raise self._error
        return bytes(folded + self._take()) if folded else self._take()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        self.blocks.clear()
        self.buffered = 0
        if connection is not None:
            self._error = UpstreamProtocolError("The answer was closed before it was read.")
            connection.abandon()
            self.end(self._error)

    @property
    def _size(self) -> int:
        """Bytes of the body that wait."""
        return sum(map(len, self.blocks))

    def _take(self) -> bytes:
        blocks = self.blocks
        data = b"".join(blocks)
        blocks.clear()
        self.buffered = 0
        if self._connection is not None and self._connection.reading_paused:
            self._connection.resume()
        return data

    def _wait(self) -> asyncio.Future[None]:
        """Comes when something has; one that was waited for no longer is passed over."""
        waiter = self._waiter = asyncio.get_running_loop().create_future()
        return waiter


def _fail(waiting: asyncio.Future[Any], error: BaseException) -> None:
    if not waiting.done():
        waiting.set_exception(error)
