"""The keyboard between prompts: what is typed waits, and Ctrl-C stops what runs, not the program."""

from __future__ import annotations

import asyncio
import signal
import sys
import termios
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def attended() -> Iterator[None]:
    """Keys that are pressed while no prompt is there do not show; all but Ctrl-C are there at the next prompt."""
    loop = asyncio.get_running_loop()
    before = termios.tcgetattr(sys.stdin)
    quiet = [*before]
    quiet[0] = before[0] & ~termios.ICRNL
    quiet[3] = before[3] & ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(sys.stdin, termios.TCSADRAIN, quiet)
    loop.add_signal_handler(signal.SIGINT, _ignore)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


async def interruptible(work: Coroutine[Any, Any, None]) -> None:
    """Run something that Ctrl-C stops, and nothing else with it."""
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    loop.add_signal_handler(signal.SIGINT, task.cancel)
    try:
        await asyncio.wait({task})
    finally:
        loop.add_signal_handler(signal.SIGINT, _ignore)
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if not task.cancelled():
        task.result()


def _ignore() -> None:
    """Nothing runs that could be stopped."""
