"""Waiting for what should happen.

How long it may take at most costs nothing when it does happen, so bounds are wide enough for a machine that is busy
with other things. That something is prompt is a promise of its own: a test of one measures, or bounds the wait itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds."""


def until(
    holds: Callable[[], T], told: str | Callable[[], str] = "", *, seconds: float = PATIENCE, every: float = 0.05
) -> T:
    """Ask every so many seconds until the answer is true, and return that answer.

    Args:
        told: what stands in the error when it never is, or what makes that text.
    """
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, _error(told, seconds)
        time.sleep(every)
    return found


async def eventually(
    holds: Callable[[], T], told: str | Callable[[], str] = "", *, seconds: float = PATIENCE, every: float = 0.02
) -> T:
    """`until`, for what happens in the test's own loop."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, _error(told, seconds)
        await asyncio.sleep(every)
    return found


def _error(told: str | Callable[[], str], seconds: float) -> str:
    return f"it did not come to pass within {seconds:g} s: {told if isinstance(told, str) else told()}"
