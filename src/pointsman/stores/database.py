"""What every durable store is written against: one small SQL database, SQLite or Postgres.

SQL is written once, in the part that both understand: placeholders `$1`, `$2` …, `ON CONFLICT … DO UPDATE`,
`RETURNING`; no `?`, no `NOW()`, times and ids come from the caller. Columns are TEXT, BIGINT, DOUBLE PRECISION, BYTEA,
and BIGINT 0 or 1 for truth; lists and objects are JSON in TEXT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

from pointsman.core.errors import StoreError

Row = tuple[Any, ...]


class Statement(NamedTuple):
    """One statement of a transaction. `expect`: how many rows it must touch, or the whole transaction is undone."""

    sql: str
    values: tuple[Any, ...] = ()
    expect: int | None = None


class Conflict(StoreError):
    """Another change came first, or a row with this name exists."""

    code = "store_conflict"


class Database(Protocol):
    """Reads and writes. Every method may be called from many tasks at once; none blocks the loop.

    All raise StoreError: StoreUnavailable when the database is away, and the caller may try again, or another when a
    statement cannot be run. `Conflict` when a unique or foreign key forbids a change, or an `expect` is missed.
    """

    dialect: Literal["sqlite", "postgres"]

    @property
    def where(self) -> str:
        """The file, or the server without its password, as it may be shown."""

    async def open(self) -> None:
        """Connect and see that the schema is the one this version knows; a fresh embedded file is made at once."""

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        """Rows of a query."""

    async def execute(self, sql: str, *values: Any) -> int:
        """Run one statement; returns how many rows it touched."""

    async def transaction(self, statements: Sequence[Statement]) -> list[int]:
        """Run all or none, in order; returns how many rows each touched."""

    async def close(self) -> None: ...
