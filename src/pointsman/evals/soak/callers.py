"""Callers who ask at a steady rate, each over a connection that is kept while answers end well."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import cast

from pointsman.evals.gateway.load import is_whole

from .mix import Request

PATIENCE = 30.0
"""Seconds after which an answer that has not come counts as failed."""

FAILURES = (b'"error":{', b'"error":"', b"event: error")
"""What dialects call a failure in the middle of a stream, and what stands nowhere in the mock's answers."""


class Counts:
    """What became of the requests so far."""

    def __init__(self) -> None:
        self.ended: Counter[str] = Counter()
        """By `ok`, `error` and `left`, as was expected, and `failed`: otherwise."""
        self.failures: Counter[str] = Counter()
        """The kinds that failed, with what came instead."""

    @property
    def total(self) -> int:
        return self.ended.total()

    def told(self, request: Request, found: str) -> None:
        if found == request.kind.expected:
            self.ended[found] += 1
        else:
            self.ended["failed"] += 1
            self.failures[f"{request.kind.name}: {found}"] += 1


class _Connection(asyncio.Protocol):
    """One connection; knows just enough HTTP to tell where an answer ends."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self._answer: asyncio.Future[None] | None = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

    def ask(self, raw: bytes) -> asyncio.Future[None]:
        """Done when the answer is whole or the connection is lost."""
        self.buffer.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(raw)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self._answer is not None and is_whole(self.buffer):
            self._done()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._done()

    def _done(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_result(None)


class Callers:
    """Asks a gateway.

    Args:
        count: how many requests may be under way at the same time.
        requests: taken one after another.
    """

    def __init__(self, port: int, *, count: int, requests: Iterator[Request]) -> None:
        self.counts = Counts()
        self._port = port
        self._count = count
        self._requests = requests
        self._next = 0.0

    @contextlib.asynccontextmanager
    async def asking(self, rate: float | None) -> AsyncIterator[None]:
        """Ask until the block ends, and for the answers that are under way then.

        Args:
            rate: requests a second in all; None: each caller as fast as answers come.
        """
        loop = asyncio.get_running_loop()
        self._next = loop.time()
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._work(rate, stop)) for _ in range(self._count)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def _work(self, rate: float | None, stop: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        connection: _Connection | None = None
        while not stop.is_set():
            if rate is not None:
                at = self._next = max(self._next, loop.time() - 1.0) + 1 / rate  # what was missed is not made up for
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(0.0, at - loop.time()))
                if stop.is_set():
                    break
            request = next(self._requests)
            if connection is None or connection.closed:
                try:
                    _, connection = await loop.create_connection(_Connection, "127.0.0.1", self._port)
                except OSError as error:
                    self.counts.told(request, f"no connection: {error.strerror}")
                    continue
            found = await _ask(connection, request)
            self.counts.told(request, found)
            if found != "ok":
                connection.transport.abort() if request.by_reset else connection.transport.close()
                connection = None
        if connection is not None:
            connection.transport.close()


async def _ask(connection: _Connection, request: Request) -> str:
    """`ok`, `error`, `left`, or what else came of it."""
    answer = connection.ask(request.raw)
    done, _ = await asyncio.wait({answer}, timeout=request.leave_after or PATIENCE)
    if not done:
        return "left" if request.leave_after is not None else "no answer"
    whole = is_whole(connection.buffer)
    status = bytes(connection.buffer[9:12]).decode("ascii", "replace")
    if not whole or status != "200" or any(word in connection.buffer for word in FAILURES):
        if request.kind.expected == "error" and (whole or status == "200"):
            return "error"
        return f"{status or 'no status'}{'' if whole else ', broken off'}"
    return "ok"
