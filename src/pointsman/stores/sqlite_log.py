"""The decision log in SQLite: one file in WAL mode, so that a killed process never damages it."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from pointsman.core.errors import StoreError

from . import rows
from .database import Conflict, Statement
from .decision_log import MAX_PENDING, StoredDecisionLog
from .disk_room import KEPT_FREE, left
from .spool import Item, Spool
from .sqlite_file import CORRUPT, SqliteFile, explain, named, result_code

log = logging.getLogger(__name__)

T = TypeVar("T")
Whole = tuple[Item, Item]
"""A decision, and the outcome that was queued with it."""

CHUNKS = (64, 16, 4, 1)
"""Rows that one statement writes. Each statement hands the interpreter's lock over and must win it back: beside a busy
event loop that waiting, not SQLite, bounds the throughput. A chunk is encoded in well under a millisecond, so that the
loop is not held up either."""
PATIENCE_MS = 250
"""How long the log waits for a file that another process holds. What it has in memory meanwhile a kill would take: it
rather goes to the spool."""
SCARCE = 8 * KEPT_FREE
"""Bytes left on the disk below which the WAL is emptied after every batch: once the disk is full, what is in it could
not be moved to the file any more, and its room would be lost."""
MOVE_ASIDE_SECONDS = 60.0
"""At least so long between two corrupt files that are moved aside: a dying disk must not fill up with them."""
ITEM_ERRORS = (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.DataError, sqlite3.ProgrammingError)
"""What SQLite says of a value, not of the file."""


class SqliteDecisionLog(StoredDecisionLog):
    """A `core.ports.DecisionLog` in one file. Several processes may share the file."""

    def __init__(
        self,
        path: Path,
        *,
        spool: Spool | None = None,
        max_pending: int = MAX_PENDING,
        max_bytes: int | None = None,
    ) -> None:
        """
        Args:
            path: the database file; it and its folder are made when missing, readable by the owner alone.
            spool, max_pending: as of `StoredDecisionLog`.
            max_bytes: size that the file may grow to; beyond it the database counts as full. None: no bound.
        """
        super().__init__(SqliteLogWriter(path, max_bytes=max_bytes), spool=spool, max_pending=max_pending)


class SqliteLogWriter:
    """A `LogWriter`. Moves a corrupt file aside and begins a new one."""

    def __init__(self, path: Path, *, max_bytes: int | None = None) -> None:
        self._file = SqliteFile(path, max_bytes=max_bytes, patience_ms=PATIENCE_MS)
        self._moved_at = float("-inf")

    def connect(self) -> None:
        self._file.connect()

    def write(self, decisions: list[Item], outcomes: list[Item]) -> list[Exception]:
        connection = self._file.connect()
        bad: list[Exception] = []
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Most requests end before their decision is written: their rows are written once, and whole.
            whole: list[Whole] = []
            begun: list[Item] = []
            ended = {outcome[0]: outcome for outcome in outcomes}
            for decision in decisions:
                outcome = ended.pop(decision[0].id, None)
                if outcome is None:
                    begun.append(decision)
                else:
                    whole.append((decision, outcome))
            for both in _chunks(whole):
                bad += _write_chunk(connection, _write_whole, both)
            for chunk in _chunks(begun):
                bad += _write_chunk(connection, _write_decisions, chunk)
            for chunk in _chunks(list(ended.values())):
                bad += _write_chunk(connection, _write_outcomes, chunk)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            with contextlib.suppress(sqlite3.Error, OSError):  # what was written is safe where it is
                if left(self._file.path.parent) < SCARCE:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return bad

    def fetch(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return self._file.connect().execute(sql, named(values)).fetchall()

    def transaction(self, statements: list[Statement]) -> None:
        connection = self._file.connect()
        connection.execute("BEGIN IMMEDIATE")
        try:
            for sql, values, _ in statements:
                connection.execute(sql, named(values))
            connection.execute("COMMIT")
        except sqlite3.IntegrityError as error:
            raise Conflict(f"The change is not possible: {error}.") from None
        finally:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")

    def explain(self, error: Exception) -> str:
        return error.message if isinstance(error, StoreError) else explain(error, self._file.path)

    def mended(self, error: Exception) -> bool:
        """Move a corrupt file aside, but not one after another."""
        if not (isinstance(error, sqlite3.Error) and result_code(error) in CORRUPT):
            return False
        if time.monotonic() - self._moved_at < MOVE_ASIDE_SECONDS:
            return False
        try:
            aside = self._file.move_aside()
        except OSError as failure:
            log.error("The corrupt database cannot be moved aside: %s", explain(failure, self._file.path))
            return False
        self._moved_at = time.monotonic()
        if aside is not None:
            text = explain(error, self._file.path)
            log.error("The database is corrupt: %s. It was moved to %s, and a new one is begun.", text, aside)
        return True

    def close(self) -> None:
        self._file.close()


def _write_chunk(
    connection: sqlite3.Connection, write: Callable[[sqlite3.Connection, list[T]], list[Exception]], chunk: list[T]
) -> list[Exception]:
    """Write items in one statement; returns the errors of those that no database would take."""
    try:
        return write(connection, chunk)
    except Exception as error:
        if _of_the_file(error):
            raise
        if len(chunk) > 1:  # one bad item must not keep the others from being stored
            return [bad for item in chunk for bad in _write_chunk(connection, write, [item])]
        return [error]


def _of_the_file(error: Exception) -> bool:
    """Whether it is no item's fault."""
    return isinstance(error, sqlite3.Error) and not isinstance(error, ITEM_ERRORS)


def _write_whole(connection: sqlite3.Connection, chunk: list[Whole]) -> list[Exception]:
    try:
        found = [rows.whole_row(decision, outcome) for (decision, _), (_, outcome) in chunk]
        connection.execute(rows.insert_whole(len(chunk)), list(chain.from_iterable(found)))
    except Exception as error:
        if len(chunk) > 1 or _of_the_file(error):
            raise
        [(decision_item, outcome_item)] = chunk  # of a bad outcome the decision is kept
        return [
            *_write_chunk(connection, _write_decisions, [decision_item]),
            *_write_chunk(connection, _write_outcomes, [outcome_item]),
        ]
    _write_prompts(connection, [decision for decision, _ in chunk])
    return []


def _write_decisions(connection: sqlite3.Connection, chunk: list[Item]) -> list[Exception]:
    values = [value for decision, _ in chunk for value in rows.decision_row(decision)]
    connection.execute(rows.insert_decisions(len(chunk)), values)
    _write_prompts(connection, chunk)
    return []


def _write_prompts(connection: sqlite3.Connection, chunk: list[Item]) -> None:
    for decision, prompt in chunk:
        if prompt is not None:
            connection.execute(rows.INSERT_PROMPT, named((decision.id, prompt)))


def _write_outcomes(connection: sqlite3.Connection, chunk: list[Item]) -> list[Exception]:
    values = [value for decision_id, outcome in chunk for value in rows.outcome_row(decision_id, outcome)]
    connection.execute(rows.update_outcomes(len(chunk)), values)
    return []


def _chunks(items: list[T]) -> Iterator[list[T]]:
    """The items in pieces of a few fixed sizes, so that their statements stay prepared."""
    start = 0
    for size in CHUNKS:
        while len(items) - start >= size:
            yield items[start : start + size]
            start += size
