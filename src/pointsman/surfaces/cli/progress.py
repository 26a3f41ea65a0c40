"""How the fetching of weights is shown: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Protocol

from .output import size
from .text import safe_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


class StartupProgress(Protocol):
    """Told of bytes that arrive while the gateway starts. Called often; returns at once."""

    def __call__(self, name: str, done: int, total: int) -> None:
        """`done` of `total` bytes of `name` are here; `total` is 0 while it is not known."""


@contextmanager
def shown_progress(stream: IO[str] | None = None) -> Iterator[StartupProgress]:
    """Progress on standard error (or another stream) for as long as the block runs."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield Lines(stream)
        return
    bars = Bars(stream)
    try:
        yield bars
    finally:
        bars.close()


class Bars:
    """A rich bar a model; nothing is drawn, and rich not loaded, before there is something to fetch."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        if self._progress is None:
            if total and done >= total:
                return  # it was there all along
            self._progress = self._open()
        task = self._tasks.get(name)
        if task is None:
            task = self._tasks[name] = self._progress.add_task(safe_line(name), total=total or None)
        self._progress.update(task, completed=done, total=total or None)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()

    def _open(self) -> Progress:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("Fetching {task.description}", markup=False), BarColumn(), DownloadColumn())
        progress = Progress(*columns, TimeRemainingColumn(), console=Console(file=self._stream, markup=False))
        progress.start()
        return progress


class Lines:
    """A line when the fetching of a model begins, every ten seconds, and when it has ended."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._told: dict[str, float] = {}
        self._ended: set[str] = set()

    def __call__(self, name: str, done: int, total: int) -> None:
        ended, now = bool(total) and done >= total, time.monotonic()
        if name in self._ended or (ended and name not in self._told):
            return
        if not ended and now < self._told.get(name, -EVERY) + EVERY:
            return
        self._told[name] = now
        if ended:
            self._ended.add(name)
        share = f" ({done * 100 // total} %)" if total else ""
        print(f"Fetching {safe_line(name)}: {size(done)}{share}", file=self._stream, flush=True)
