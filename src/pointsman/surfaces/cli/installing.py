"""How the making of an environment is shown: a bar on a terminal, a line at the start and the end elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pointsman.providers.own_environment import OnPackages

from .output import note


@contextmanager
def shown_packages(what: str) -> Iterator[OnPackages]:
    """Progress on standard error for as long as the block runs; nothing where nothing is installed."""
    if not sys.stderr.isatty():
        told = False

        def line(done: int, total: int) -> None:
            nonlocal told
            if not told or done == total:
                note(f"Installing {what}: {done} of {total} packages")
            told = True

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(file=sys.stderr, markup=False)) as bars:
        task = None

        def bar(done: int, total: int) -> None:
            nonlocal task
            if task is None:
                task = bars.add_task(f"Installing {what}", total=total)
            # pip unpacks them all behind the last one.
            doing = "Unpacking" if done >= total - 1 else "Installing"
            bars.update(task, completed=done, total=total, description=f"{doing} {what}")

        yield bar
