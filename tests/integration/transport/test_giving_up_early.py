"""Callers that leave while a connection is being opened, at every step of the way."""

from __future__ import annotations

import asyncio
import gc
import os

import pytest
from transport_support import RawUpstream, StartUpstream, outgoing

from pointsman.transport.pool import Pool


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors as Linux lists them")
async def test_an_opening_that_is_cancelled_leaves_nothing(start_upstream: StartUpstream) -> None:
    async def silent(upstream: RawUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    upstream = await start_upstream(silent)
    pool = Pool()
    before = descriptors()
    for steps in range(20):
        calling = asyncio.ensure_future(pool.send(outgoing(upstream.origin)))
        for _ in range(steps):
            await asyncio.sleep(0)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        # A descriptor that was closed, and is closed again later, would be one of these: they take the lowest numbers.
        pipe = os.pipe()
        del calling
        gc.collect()
        for number in pipe:
            os.fstat(number)
            os.close(number)
    async with asyncio.timeout(30):
        while pool.stats() or upstream.open or descriptors() > before:
            await asyncio.sleep(0.01)
        await pool.close()
