"""One process at a time: an advisory lock on a file."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def locked(path: Path, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the lock on `path`; `waiting` is called once when another holder has it. The kernel frees a dead holder's.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    told = True
                    waiting()
                await asyncio.sleep(0.1)
        yield
    finally:
        os.close(descriptor)
