"""What a process holds, seen from outside; and the rows of a decision log, which may be locked."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import waiting


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a process holds at a moment."""

    descriptors: int
    sockets: int
    threads: int
    children: int
    memory: int
    """Bytes, resident."""


def held(pid: int) -> Held:
    process = psutil.Process(pid)
    with process.oneshot():
        return Held(
            descriptors=process.num_fds(),
            sockets=len([found for found in process.net_connections() if found.status != "LISTEN"]),
            threads=process.num_threads(),
            children=len(process.children(recursive=True)),
            memory=process.memory_info().rss,
        )


async def eventually(holds: Callable[[], Any], *, within: float = waiting.PATIENCE, every: float = 0.02) -> None:
    """Wait until `holds()` is true, or raises no more; a database that is being made anew has no tables yet."""
    error: Exception | None = None

    def so() -> bool:
        nonlocal error
        try:
            return holds() is not False
        except (AssertionError, sqlite3.OperationalError) as raised:
            error = raised
            return False

    await waiting.eventually(so, lambda: str(error or ""), seconds=within, every=every)


def rows(database: Path, query: str = "SELECT * FROM decisions ORDER BY created_at") -> list[dict[str, Any]]:
    """Rows of a log that a gateway may be writing meanwhile."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(query)]


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """As a backup or a shell may hold it."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")
