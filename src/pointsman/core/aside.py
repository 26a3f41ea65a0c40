"""Long reading and writing beside the event loop: whoever sends a little is answered meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cache
from typing import TypeVar

T = TypeVar("T")

LARGE = 512 * 1024
"""Bytes from which on something is read in a thread. Translators take 5 to 100 ms a megabyte, by its parts."""


async def aside(work: Callable[[], T], size: int) -> T:
    """What `work` gives, done in a thread where it reads `LARGE` bytes or more. One after another: several at once
    would only take the processor from one another and from the loop."""
    if size < LARGE:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_reader(), work)


@cache
def _reader() -> Executor:
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(1, thread_name_prefix="reading")
